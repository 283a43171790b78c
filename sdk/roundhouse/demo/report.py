"""What the demo found: as one JSON document and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.tree import Tree
from roundhouse.cli.views.findings import measure_name, place_name
from roundhouse.cli.views.rollouts import phase_name
from roundhouse.client import AsyncClient
from roundhouse.common.v1.verdicts_pb2 import EvidenceVerdict, Finding
from roundhouse.demo import resources
from roundhouse.demo.follower import Follower, verdict_name
from roundhouse.demo.scores import MonthScores
from roundhouse.inference.v1.rollout_pb2 import Rollout
from roundhouse.monitor.v1.judgement_service_pb2 import Cause, ExplainServingRequest
from roundhouse.monitor.v1.monitor_pb2 import RetrainDecision
from roundhouse.monitor.v1.monitor_service_pb2 import ListDriftReportsRequest
from roundhouse.registry.v1.evaluation_service_pb2 import ListEvaluationsRequest
from roundhouse.registry.v1.model_service_pb2 import ListVersionsRequest
from roundhouse.trainer.v1.job_pb2 import Trial
from roundhouse.trainer.v1.job_service_pb2 import ListTrialsRequest

Json: TypeAlias = Any  # a JSON document has no narrower type

_ENDS: Final = {
    Rollout.STATE_SUCCEEDED: "PASS",
    Rollout.STATE_ROLLED_BACK: "FAIL",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the demo and how long it took."""

    name: str
    seconds: float


async def gather(
    client: AsyncClient, follower: Follower, stages: Sequence[Stage], months: Sequence[MonthScores]
) -> Json:
    """The content of `demo-report.json`, from the demo's own measurements and the services."""
    drifted = await _drifted_features(client)
    cause = (
        await client.judgements.ExplainServing(ExplainServingRequest(endpoint=resources.ENDPOINT))
    ).root
    return {
        "stages": [{"name": each.name, "seconds": round(each.seconds, 2)} for each in stages],
        "candidates": await _candidates(client),
        "versions": await _versions(client),
        "months": [_month(each, drifted.get(str(each.month), [])) for each in months],
        "decisions": [_decision(each) for each in follower.decisions],
        "rollouts": [_rollout(each) for each in follower.rollouts],
        "causal_record": _cause(cause),
    }


def show(console: Console, report: Json) -> None:
    """The report for people: the months, the cost of not retraining, and why what serves serves."""
    table = Table(title="What the year brought", title_justify="left", header_style="bold")
    before, after = ("n", "AUC", "log loss", "calib. error", "drifted"), ("frozen AUC", "log loss")
    table.add_column("month", no_wrap=True)
    for column in before:
        table.add_column(column, justify="right")
    table.add_column("serving")
    for column in after:
        table.add_column(column, justify="right")
    for month in report["months"]:
        table.add_row(
            month["month"],
            f"{month['n']:,}",
            f"{month['auc']:.3f}",
            f"{month['log_loss']:.3f}",
            f"{month['calibration_error']:.3f}",
            str(len(month["drifted_features"])),
            ", ".join(name.rpartition("/")[2] for name in month["serving"]),
            f"{month['frozen_auc']:.3f}",
            f"{month['frozen_log_loss']:.3f}",
        )
    console.print(table)
    if report["months"]:
        served = _mean(report["months"], "auc")
        frozen = _mean(report["months"], "frozen_auc")
        console.print(
            f"Mean AUC {served:.3f}; the first version, frozen, {frozen:.3f} on the same flights: "
            f"retraining was worth {served - frozen:+.3f}."
        )
    console.print()
    if report["rollouts"]:
        console.print(_rollout_table(report["rollouts"]))
        console.print()
    console.print(cause_tree(report["causal_record"]))


def cause_tree(cause: Mapping[str, Json]) -> Tree:
    """The causal record as a tree, consequences above their causes."""

    def branch(tree: Tree, node: Mapping[str, Json]) -> Tree:
        for each in node["causes"]:
            branch(tree.add(_line(each)), each)
        return tree

    return branch(Tree(_line(cause)), cause)


def _rollout_table(rollouts: Sequence[Mapping[str, Json]]) -> Table:
    """What each phase came to, and by how much the new version differed from the old one in it."""
    table = Table(title="How versions came into service", title_justify="left", header_style="bold")
    for column in ("version", "phase", "came to", "new less old (always-valid interval)"):
        table.add_column(column)
    for rollout in rollouts:
        version = "/".join(rollout["version"].split("/")[-3::2])
        for phase in rollout["phases"]:
            found = [_effect(each) for each in phase["findings"] if each["where"] == "all"]
            table.add_row(
                version, phase["phase"], phase["verdict"], "\n".join(found) or phase["reason"]
            )
            version = ""
    return table


def _effect(finding: Mapping[str, Json]) -> str:
    interval = (
        "no interval yet"
        if finding["lower"] is None
        else f"{finding['lower']:+.4f} to {finding['upper']:+.4f}"
    )
    return f"{finding['measure']} {finding['effect']:+.4f} ({interval})"


def _line(cause: Mapping[str, Json]) -> str:
    short = "/".join(cause["name"].split("/")[-2:])
    return f"[bold]{cause['kind']}[/bold] {short}: {cause['summary']}"


def _mean(months: Sequence[Mapping[str, Json]], key: str) -> float:
    return sum(float(month[key]) for month in months) / len(months)


async def _candidates(client: AsyncClient) -> Json:
    trials = await client.jobs.ListTrials(ListTrialsRequest(parent=resources.FIRST_JOB))
    return [
        {"algorithm": trial.algorithm, "validation_auc": trial.metrics["auc"]}
        for trial in trials.trials
        if trial.state == Trial.STATE_SUCCEEDED
    ]


async def _versions(client: AsyncClient) -> Json:
    versions = await client.models.ListVersions(
        ListVersionsRequest(parent=resources.MODEL, page_size=1000)
    )
    found = []
    for version in versions.versions:
        # One at most: later comparisons with later candidates are no tests of its own.
        tests = await client.evaluations.ListEvaluations(
            ListEvaluationsRequest(parent=version.name, filter="purpose = TEST")
        )
        found.append(
            {
                "name": version.name,
                "digest": version.digest,
                "test_auc": tests.evaluations[0].metrics["auc"] if tests.evaluations else None,
            }
        )
    return found


async def _drifted_features(client: AsyncClient) -> dict[str, list[str]]:
    """Features that had drifted in any window that ends in a month, by month."""
    reports = await client.monitors.ListDriftReports(
        ListDriftReportsRequest(parent=resources.MONITOR, page_size=1000)
    )
    drifted: dict[str, list[str]] = {}
    for report in reports.drift_reports:
        month = f"{report.window_end_time.ToDatetime():%Y-%m}"
        known = drifted.setdefault(month, [])
        known.extend(name for name in report.drifted_features if name not in known)
    return drifted


def _month(month: MonthScores, drifted: Sequence[str]) -> Json:
    return {
        "month": str(month.month),
        "n": month.n,
        "auc": month.auc,
        "log_loss": month.log_loss,
        "calibration_error": month.calibration_error,
        "drifted_features": list(drifted),
        "serving": list(month.serving),
        "frozen_auc": month.frozen_auc,
        "frozen_log_loss": month.frozen_log_loss,
    }


def _decision(decision: RetrainDecision) -> Json:
    return {
        "at": _iso(decision.event_time),
        "kind": RetrainDecision.Kind.Name(decision.kind).removeprefix("KIND_"),
        "reason": decision.reason,
        "explanation": decision.explanation,
        "numbers": dict(decision.numbers),
    }


def _rollout(rollout: Rollout) -> Json:
    return {
        "version": rollout.version,
        "phases": [
            {
                "phase": phase_name(rollout.phases[outcome.phase]),
                "percent": rollout.phases[outcome.phase].weight_basis_points / 100,
                "verdict": verdict_name(outcome.verdict),
                "reason": outcome.reason,
                "numbers": dict(outcome.numbers),
                "findings": [_finding(each) for each in outcome.findings],
            }
            for outcome in rollout.outcomes
        ],
        "verdict": _ENDS.get(rollout.state, "INCONCLUSIVE"),
        "state": Rollout.State.Name(rollout.state).removeprefix("STATE_"),
    }


def _finding(finding: Finding) -> Json:
    return {
        "measure": measure_name(finding),
        "where": place_name(finding),
        "candidate_n": finding.candidate_n,
        "champion_n": finding.champion_n,
        "candidate_value": finding.candidate_value,
        "champion_value": finding.champion_value,
        "effect": finding.effect,
        "lower": finding.lower if finding.HasField("lower") else None,
        "upper": finding.upper if finding.HasField("upper") else None,
        "tolerance": finding.tolerance,
        "verdict": EvidenceVerdict.Name(finding.verdict).removeprefix("EVIDENCE_VERDICT_"),
        "reason": finding.reason,
    }


def _cause(cause: Cause) -> Json:
    return {
        "kind": cause.kind,
        "name": cause.name,
        "summary": cause.summary,
        "time": _iso(cause.time) if cause.HasField("time") else None,
        "causes": [_cause(each) for each in cause.causes],
    }


def _iso(timestamp: Timestamp) -> str:
    return timestamp.ToDatetime(tzinfo=UTC).isoformat()
