"""What happened in the registry as OpenLineage 2-0-2 run events (openlineage.io/spec)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from services.registry.core.canonical import Json
from services.registry.core.deployments import DeploymentState
from services.registry.core.evaluations import Evaluation
from services.registry.core.names import parent_of
from services.registry.core.ports import RegistryTx
from services.registry.core.snapshots import DatasetSnapshot
from services.registry.core.versions import ModelVersion

PRODUCER: Final = "https://roundhouse.dev/registry"
SCHEMA_URL: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
SCORES_FACET: Final = "roundhouse_scores"

_FACETS: Final = "https://openlineage.io/spec/facets"
_SCORES_SCHEMA: Final = "https://roundhouse.dev/spec/1-0-0/ScoresRunFacet.json"

Document: TypeAlias = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the registry.

    Attributes:
        kind: Such as `version.ready`.
        subject: Resource name it happened to.
    """

    kind: str
    subject: str
    time: datetime
    data: Mapping[str, object]


_ENDS: Final[Mapping[str, str]] = {
    DeploymentState.ROLLING_OUT: "START",
    DeploymentState.SUCCEEDED: "COMPLETE",
    DeploymentState.ROLLED_BACK: "FAIL",
    DeploymentState.FAILED: "FAIL",
    DeploymentState.CANCELLED: "ABORT",
}


def run_event(tx: RegistryTx, happened: Happened) -> Document | None:
    """The run event of what happened; None if that tells nothing of a run, or is forgotten."""
    subject = happened.subject
    match happened.kind:
        case "snapshot.created" | "snapshot.sealed":
            snapshot = tx.snapshots.get(subject)
            return None if snapshot is None else _of_snapshot(happened, snapshot)
        case "version.begun" | "version.ready" | "version.rejected":
            version = tx.versions.get(subject)
            return None if version is None else _of_version(tx, happened, version)
        case "evaluation.recorded":
            evaluation = tx.evaluations.get(subject)
            return None if evaluation is None else _of_evaluation(tx, happened, evaluation)
        case "deployment.recorded":
            return _of_deployment(tx, happened)
        case _:
            return None


def _of_snapshot(happened: Happened, snapshot: DatasetSnapshot) -> Document:
    is_sealed = happened.kind == "snapshot.sealed"
    job = f"{_local(parent_of(happened.subject))}/import"
    return _event(
        happened,
        "COMPLETE" if is_sealed else "START",
        job=job,
        run=happened.subject,
        inputs=[_dataset(parent) for parent in snapshot.origin.parents],
        outputs=[_snapshot_output(snapshot)] if is_sealed else [],
    )


def _of_version(tx: RegistryTx, happened: Happened, version: ModelVersion) -> Document:
    ancestry = version.ancestry
    job = ancestry.training_job or f"{parent_of(happened.subject)}/import"
    run = ancestry.training_job or happened.subject
    ends = {"version.begun": "START", "version.ready": "COMPLETE", "version.rejected": "ABORT"}
    inputs = [_snapshot_input(tx, snapshot) for snapshot in ancestry.snapshots]
    if ancestry.parent_version:
        inputs.append(_dataset(ancestry.parent_version))
    return _event(
        happened,
        ends[happened.kind],
        job=_local(job),
        run=run,
        inputs=inputs,
        outputs=[_version_output(version)] if happened.kind == "version.ready" else [],
    )


def _of_evaluation(tx: RegistryTx, happened: Happened, evaluation: Evaluation) -> Document:
    scores = evaluation.scores
    version = parent_of(happened.subject)
    facet: Document = {
        **_facet(f"{_SCORES_SCHEMA}#/$defs/ScoresRunFacet"),
        "split": scores.split,
        "splitDigest": scores.split_digest,
        "rowCount": scores.rows,
        "metrics": dict(scores.metrics),
    }
    return _event(
        happened,
        "COMPLETE",
        job=f"{_local(parent_of(version))}/evaluate",
        run=happened.subject,
        inputs=[
            _dataset(version, version=evaluation.artifact_digest),
            _snapshot_input(tx, scores.snapshot),
        ],
        outputs=[],
        run_facets={SCORES_FACET: facet},
    )


def _of_deployment(tx: RegistryTx, happened: Happened) -> Document | None:
    data = {key: str(value) for key, value in happened.data.items()}
    end = _ENDS.get(data["state"])
    if end is None:
        return None
    facets: Document = {}
    if end == "FAIL":
        facets["errorMessage"] = {
            **_facet(f"{_FACETS}/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet"),
            "message": data["message"] or data["state"],
            "programmingLanguage": "Python",
        }
    version = tx.versions.get(data["version"])
    digest = "" if version is None or version.digest is None else version.digest
    return _event(
        happened,
        end,
        job=f"{_local(data['endpoint'])}/deploy",
        run=happened.subject,
        inputs=[_dataset(data["version"], version=digest)],
        outputs=[_dataset(data["endpoint"])] if end == "COMPLETE" else [],
        run_facets=facets,
    )


def _event(
    happened: Happened,
    event_type: str,
    *,
    job: str,
    run: str,
    inputs: Sequence[Document],
    outputs: Sequence[Document],
    run_facets: Document | None = None,
) -> Document:
    namespace = _namespace(happened.subject)
    job_type: Document = {
        **_facet(f"{_FACETS}/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet"),
        "processingType": "BATCH",
        "integration": "ROUNDHOUSE",
        "jobType": job.rpartition("/")[2].upper() if "trainingJobs/" not in job else "TRAINING",
    }
    return {
        "eventType": event_type,
        "eventTime": happened.time.isoformat(),
        "producer": PRODUCER,
        "schemaURL": SCHEMA_URL,
        "run": {
            # Derived, so that all events of one run agree and a repeat is the same event.
            "runId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PRODUCER}/{run}")),
            "facets": run_facets or {},
        },
        "job": {"namespace": namespace, "name": job, "facets": {"jobType": job_type}},
        "inputs": list(inputs),
        "outputs": list(outputs),
    }


def _dataset(name: str, *, version: str = "") -> Document:
    facets: Document = {}
    if version:
        schema = "DatasetVersionDatasetFacet"
        facets["version"] = {
            **_facet(f"{_FACETS}/1-0-1/{schema}.json#/$defs/{schema}"),
            "datasetVersion": version,
        }
    return {"namespace": _namespace(name), "name": _local(name), "facets": facets}


def _snapshot_input(tx: RegistryTx, name: str) -> Document:
    snapshot = tx.snapshots.get(name)
    return _dataset(name, version="" if snapshot is None else snapshot.digest or "")


def _snapshot_output(snapshot: DatasetSnapshot) -> Document:
    output = _dataset(snapshot.meta.name, version=snapshot.digest or "")
    fields = [{"name": column.name, "type": column.type.value} for column in snapshot.schema]
    schema: Document = {
        **_facet(f"{_FACETS}/1-2-0/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet"),
        "fields": fields,
    }
    facets = output["facets"]
    output["facets"] = {**(facets if isinstance(facets, Mapping) else {}), "schema": schema}
    output["outputFacets"] = {
        "outputStatistics": _statistics(
            snapshot.size_bytes, len(snapshot.files), rowCount=snapshot.counts.rows_kept
        )
    }
    return output


def _version_output(version: ModelVersion) -> Document:
    output = _dataset(version.meta.name, version=version.digest or "")
    output["outputFacets"] = {
        "outputStatistics": _statistics(version.size_bytes, len(version.files))
    }
    return output


def _statistics(size_bytes: int, files: int, **more: int) -> Document:
    schema = "OutputStatisticsOutputDatasetFacet"
    return {
        **_facet(f"{_FACETS}/1-0-2/{schema}.json#/$defs/{schema}"),
        "size": size_bytes,
        "fileCount": files,
        **more,
    }


def _facet(schema: str) -> Document:
    return {"_producer": PRODUCER, "_schemaURL": schema}


def _namespace(name: str) -> str:
    """`roundhouse://default` for everything in that project."""
    return f"roundhouse://{name.split('/')[1]}"


def _local(name: str) -> str:
    """The name within its project."""
    return "/".join(name.split("/")[2:])
