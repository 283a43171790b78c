"""The gate held against what versions scored."""

from __future__ import annotations

from services.registry.core.errors import (
    BaselineRequired,
    EvaluationNotATest,
    EvaluationsNotComparable,
)
from services.registry.core.evaluations import Evaluation, Purpose
from services.registry.core.gates import GateResult, evidence_digest, judge, judge_readiness
from services.registry.core.lineage import Direction, Edge, Relation
from services.registry.core.measurements import (
    BUNDLE_SIZE_METRIC,
    EVALUATION_AGE_METRIC,
    SNAPSHOT_AGE_METRIC,
    Measurements,
)
from services.registry.core.models import Model
from services.registry.core.names import VERSION, id_of, parent_of
from services.registry.core.policies import BaselineBar
from services.registry.core.ports import RegistryTx
from services.registry.core.readiness import Rollback, readiness
from services.registry.core.use_cases.identities import new_child_meta
from services.registry.core.use_cases.lookup import (
    the_evaluation,
    the_model,
    the_version,
)
from services.registry.core.versions import ModelVersion, VersionState


def evaluate_gate(tx: RegistryTx, evaluation_name: str, baseline_name: str) -> GateResult:
    """The model's policy held against an evaluation, kept for good; failing is a result.

    Args:
        tx: The transaction.
        evaluation_name: The candidate's evaluation.
        baseline_name: The baseline's on the same rows; empty if no version serves yet.

    Raises:
        EvaluationNotFound: An evaluation doesn't exist.
        EvaluationNotATest: One was made for another purpose.
        EvaluationsNotComparable: They are of other models or rows, or of one version.
        BaselineRequired: The policy asks for a baseline, and a protected alias
            points at a version that isn't the one held against.
        VersionQuarantined: The candidate's bytes aren't whole.
    """
    candidate = the_evaluation(tx, evaluation_name, "evaluation")
    if candidate.scores.purpose is not Purpose.TEST:
        raise EvaluationNotATest("evaluation", evaluation_name, candidate.scores.purpose)
    version = the_version(tx, _version_of(evaluation_name))
    version.need_whole()
    model = the_model(tx, parent_of(version.meta.name))
    baseline = _comparable_baseline(tx, candidate, baseline_name) if baseline_name else None
    if any(isinstance(rule.bar, BaselineBar) for rule in model.policy.rules):
        _need_serving_baseline(tx, model, candidate, baseline)
    found = {
        item: readiness(item, version, model.accountability, _rollback(tx, model, version))
        for item in model.policy.readiness
    }
    verdicts = judge(
        model.policy.rules,
        _measured(tx, version, candidate),
        None
        if baseline is None
        else _measured(tx, the_version(tx, _version_of(baseline_name)), baseline),
    )
    result = GateResult(
        meta=new_child_meta(tx, version.meta.name, "gateResults"),
        evaluation=evaluation_name,
        baseline_evaluation=baseline_name,
        verdicts=(*verdicts, *judge_readiness(found)),
        evidence_digest=evidence_digest(model.policy.rules, candidate, baseline, found),
        artifact_digest=candidate.artifact_digest,
    )
    tx.gate_results.add(result)
    for evidence in filter(None, (evaluation_name, baseline_name)):
        tx.link(Edge(evidence, result.meta.name, Relation.GATED, tx.now))
    tx.tell(
        "gate.evaluated",
        result.meta.name,
        {
            "version": version.meta.name,
            "passed": result.passed,
            "evidence_digest": result.evidence_digest,
        },
    )
    return result


def _version_of(evidence_name: str) -> str:
    return parent_of(evidence_name)


def _measured(tx: RegistryTx, version: ModelVersion, evaluation: Evaluation) -> Measurements:
    scores = evaluation.scores
    own = {
        BUNDLE_SIZE_METRIC: float(version.size_bytes),
        EVALUATION_AGE_METRIC: (tx.now - evaluation.meta.create_time).total_seconds(),
    }
    snapshot = tx.snapshots.get(scores.snapshot)
    if snapshot is not None and snapshot.window is not None:
        own[SNAPSHOT_AGE_METRIC] = (tx.now - snapshot.window.end).total_seconds()
    return Measurements({**scores.metrics, **own}, scores.standard_errors, scores.slices)


def _rollback(tx: RegistryTx, model: Model, candidate: ModelVersion) -> Rollback:
    """Where the version that has, or had last, a protected alias stands."""
    aliases = [f"{model.meta.name}/aliases/{id_}" for id_ in model.policy.protected_aliases]
    holders = [
        edge.source
        for edge in tx.edges_at(aliases, Direction.UPSTREAM)
        if edge.relation is Relation.ALIASED and VERSION.matches(edge.source)
    ]
    holders += [alias.version for alias in map(tx.aliases.get, aliases) if alias is not None]
    others = [name for name in holders if name != candidate.meta.name]
    if not others:
        return Rollback("", False)
    target = tx.versions.get(others[-1])
    return Rollback(others[-1], target is not None and target.state is VersionState.READY)


def _comparable_baseline(tx: RegistryTx, candidate: Evaluation, baseline_name: str) -> Evaluation:
    baseline = the_evaluation(tx, baseline_name, "baseline_evaluation")
    if baseline.scores.purpose not in (Purpose.TEST, Purpose.BASELINE):
        raise EvaluationNotATest("baseline_evaluation", baseline_name, baseline.scores.purpose)
    names = candidate.meta.name, baseline_name
    if _version_of(names[0]) == _version_of(names[1]):
        raise EvaluationsNotComparable(*names, "both are of one version")
    if parent_of(_version_of(names[0])) != parent_of(_version_of(names[1])):
        raise EvaluationsNotComparable(*names, "they are of different models")
    if not candidate.scores.stands_on_the_rows_of(baseline.scores):
        raise EvaluationsNotComparable(*names, "they stand on different rows")
    return baseline


def _need_serving_baseline(
    tx: RegistryTx, model: Model, candidate: Evaluation, baseline: Evaluation | None
) -> None:
    candidate_version = _version_of(candidate.meta.name)
    held_against = "" if baseline is None else _version_of(baseline.meta.name)
    serving = {
        alias.version: alias.meta.name
        for alias in tx.aliases.under(model.meta.name)
        if id_of(alias.meta.name) in model.policy.protected_aliases
        and alias.version != candidate_version
    }
    if serving and held_against not in serving:
        version, alias = next(iter(serving.items()))
        raise BaselineRequired(candidate.meta.name, alias, version)
