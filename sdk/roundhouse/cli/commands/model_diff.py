"""`roundhouse models diff`: what sets two versions apart."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from roundhouse.cli import names
from roundhouse.cli.output import as_dict, print_json
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.cli.views.version_diff import VersionFacts, difference, print_difference
from roundhouse.client import Client
from roundhouse.client.errors import NotFound
from roundhouse.registry.v1.dataset_service_pb2 import GetSnapshotRequest
from roundhouse.registry.v1.evaluation_service_pb2 import (
    ListEvaluationsRequest,
    ListGateResultsRequest,
)
from roundhouse.registry.v1.model_pb2 import ModelVersion
from roundhouse.registry.v1.model_service_pb2 import DownloadArtifactRequest, GetVersionRequest

_VERSION_HELP = "MODEL/NUMBER, MODEL@ALIAS or resource name."


def diff_command(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help=_VERSION_HELP)],
    b: Annotated[str, typer.Argument(help=_VERSION_HELP)],
    as_json: Json = False,
) -> None:
    """Compare two versions: files, signature, data, parameters, scores and the gate's verdicts."""
    session = session_of(context)
    with session.client() as client:
        found = difference(
            _facts(client, names.version(session.project, a)),
            _facts(client, names.version(session.project, b)),
        )
    if as_json:
        print_json(found)
    else:
        print_difference(found)


def _facts(client: Client, name: str) -> VersionFacts:
    version = client.models.GetVersion(GetVersionRequest(name=name))
    evaluations = every(
        client.evaluations.ListEvaluations,
        ListEvaluationsRequest(parent=version.name),
        "evaluations",
    )
    gates = client.evaluations.ListGateResults(
        ListGateResultsRequest(parent=version.name, page_size=1)
    ).gate_results
    return VersionFacts(
        version=as_dict(version),
        signature=_document(client, version, "signature.json"),
        training=_document(client, version, "training.json"),
        snapshots=[_snapshot(client, each) for each in version.snapshots],
        evaluations=[as_dict(each) for each in evaluations],
        gate=as_dict(gates[0]) if gates else {},
    )


def _document(client: Client, version: ModelVersion, path: str) -> Any:
    if path not in {file.path for file in version.files}:
        return {}
    request = DownloadArtifactRequest(version=version.name, path=path)
    return json.loads(b"".join(part.chunk for part in client.models.DownloadArtifact(request)))


def _snapshot(client: Client, name: str) -> dict[str, Any]:
    try:
        found = client.datasets.GetSnapshot(GetSnapshotRequest(name=name))
    except NotFound:
        return {"name": name}
    document = as_dict(found)
    keys = ("name", "digest", "start_time", "end_time")
    rows = found.cleaning.rows_kept
    return {**{key: document[key] for key in keys if key in document}, "rows": rows}
