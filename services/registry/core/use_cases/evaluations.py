"""Evaluations recorded, and who has seen which test set."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import FieldViolation, InvalidRequest
from services.registry.core.evaluations import Evaluation, ReliabilityBin, Scores
from services.registry.core.ledger import Touch, check_touch
from services.registry.core.lineage import Edge, Relation
from services.registry.core.measurements import OWN_PREFIXES
from services.registry.core.ports import RegistryTx
from services.registry.core.snapshots import DatasetSnapshot
from services.registry.core.use_cases.identities import new_child_meta
from services.registry.core.use_cases.lookup import the_snapshot, the_version
from services.registry.core.versions import ModelVersion


def record_evaluation(tx: RegistryTx, version_name: str, scores: Scores) -> Evaluation:
    """The scores, kept for good, and the look at the rows noted in the ledger.

    Raises:
        VersionNotFound, SnapshotNotFound: The version or snapshot doesn't exist.
        VersionNotReady, SnapshotNotSealed: What was scored isn't final.
        InvalidRequest: A metric has the name of one that the registry measures, or the
            intervals of the reliability overlap or don't hold each row once.
        SecondTouch, SelectionOnTestSet: The ledger forbids this look at the rows.
    """
    version = the_version(tx, version_name, "parent")
    version.need_ready()
    snapshot = the_snapshot(tx, scores.snapshot, "evaluation.snapshot")
    snapshot.need_sealed()
    _check_metrics(scores)
    _check_bins("evaluation.reliability", scores.reliability, scores.rows)
    if scores.uncalibrated is not None:
        before = scores.uncalibrated.reliability
        _check_bins("evaluation.uncalibrated.reliability", before, scores.rows)
    evaluation = Evaluation(
        meta=new_child_meta(tx, version_name, "evaluations"),
        artifact_digest=version.digest or "",
        scores=scores,
    )
    touch = _touch(tx, version, snapshot, evaluation)
    check_touch(touch, tx.touches_of(touch.data_digest, touch.split_digest))
    name = evaluation.meta.name
    tx.evaluations.add(evaluation)
    tx.record_touch(touch)
    tx.link(Edge(version_name, name, Relation.EVALUATED, tx.now))
    tx.link(Edge(scores.snapshot, name, Relation.EVALUATED, tx.now))
    tx.tell(
        "evaluation.recorded",
        name,
        {
            "version": version_name,
            "snapshot": scores.snapshot,
            "split": scores.split,
            "purpose": scores.purpose.value,
        },
    )
    return evaluation


def _check_bins(field: str, bins: Sequence[ReliabilityBin], scored: int) -> None:
    if not bins:
        return
    for place, each in enumerate(bins):
        if each.lower >= each.upper or (place and each.lower < bins[place - 1].upper):
            text = "must be ascending intervals that do not overlap"
            raise InvalidRequest([FieldViolation(f"{field}[{place}]", text)])
    rows = sum(each.rows for each in bins)
    if rows != scored:
        text = f"holds {rows} rows; {scored} were scored"
        raise InvalidRequest([FieldViolation(field, text)])


def _check_metrics(scores: Scores) -> None:
    faults = [
        FieldViolation(f"evaluation.metrics[{metric}]", "is measured by the registry")
        for metric in scores.metrics
        if metric.startswith(OWN_PREFIXES)
    ]
    faults += [
        FieldViolation(f"evaluation.standard_errors[{metric}]", "is of no metric that was measured")
        for metric in scores.standard_errors
        if metric not in scores.metrics
    ]
    if faults:
        raise InvalidRequest(faults)


def _touch(
    tx: RegistryTx, version: ModelVersion, snapshot: DatasetSnapshot, evaluation: Evaluation
) -> Touch:
    scores = evaluation.scores
    return Touch(
        snapshot=snapshot.meta.name,
        data_digest=snapshot.data_digest,
        split=scores.split,
        split_digest=scores.split_digest,
        purpose=scores.purpose,
        version=version.meta.name,
        training_job=version.ancestry.training_job,
        lineage=_lineage(tx, version),
        evaluation=evaluation.meta.name,
        evaluator=scores.evaluator,
        time=tx.now,
    )


def _lineage(tx: RegistryTx, version: ModelVersion) -> tuple[str, ...]:
    """The version, its ancestors, and the jobs of them all; what was deleted ends the line."""
    names: dict[str, None] = {}
    at: ModelVersion | None = version
    while at is not None and at.meta.name not in names:
        names[at.meta.name] = None
        if at.ancestry.training_job:
            names[at.ancestry.training_job] = None
        parent = at.ancestry.parent_version
        at = tx.versions.get(parent) if parent else None
        if parent and at is None:
            names[parent] = None
    return tuple(names)
