"""Rollouts as people see them: their phases over time, and what a shadow would have answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from roundhouse.cli import names
from roundhouse.cli.failures import UsageFault
from roundhouse.cli.output import OUT, print_table, state_name, when
from roundhouse.cli.views.findings import print_findings
from roundhouse.inference.v1.drill_pb2 import RollbackDrill
from roundhouse.inference.v1.rollout_pb2 import Phase, PhaseOutcome, Rollout, ShadowPlan
from roundhouse.inference.v1.shadow_pb2 import ShadowReport

PHASE_HELP: Final = (
    "PERCENT[:MIN_OUTCOMES], shadow[:SAMPLE_PERCENT[:MIN_REQUESTS[:MIN_AGREEMENT_PERCENT]]] or "
    "dark; may be repeated. Default: 5, 50 and 100."
)
_WIDTH: Final = 48
_SPARKS: Final = " ▁▂▃▄▅▆▇█"


def phase_of(text: str) -> Phase:
    """The phase that an option describes.

    Raises:
        UsageFault: It describes none.
    """
    kind, *parts = text.split(":")
    try:
        match kind, parts:
            case "dark", []:
                return Phase(kind=Phase.KIND_DARK)
            case "shadow", [] | [_] | [_, _] | [_, _, _]:
                sample, requests, agreement = [*parts, "0", "0", "0"][:3]
                plan = ShadowPlan(
                    sample_basis_points=_basis_points(sample),
                    min_requests=int(requests),
                    min_agreement=float(agreement) / 100,
                )
                return Phase(kind=Phase.KIND_SHADOW, shadow=plan)
            case percent, [] | [_]:
                outcomes = int(parts[0]) if parts else 0
                return Phase(weight_basis_points=_basis_points(percent), min_outcomes=outcomes)
    except ValueError as error:
        raise UsageFault(f"{text!r} is no phase; write {PHASE_HELP}") from error
    raise UsageFault(f"{text!r} is no phase; write {PHASE_HELP}")


def phase_name(phase: Phase) -> str:
    """What a phase does, such as `5 %` or `shadow of 10 %`."""
    match phase.kind:
        case Phase.KIND_SHADOW:
            return f"shadow of {phase.shadow.sample_basis_points / 100:g} %"
        case Phase.KIND_DARK:
            return "dark"
        case _:
            return f"{phase.weight_basis_points / 100:g} %"


def state(rollout: Rollout) -> str:
    """The rollout's state in lower case."""
    return state_name(Rollout.State.Name(rollout.state)).lower()


def verdict_of(outcome: PhaseOutcome) -> str:
    """What a phase came to, in lower case, or `under way`."""
    if not outcome.HasField("end_time"):
        return "under way"
    return state_name(PhaseOutcome.Verdict.Name(outcome.verdict)).lower()


def latest_tested(outcomes: Sequence[PhaseOutcome]) -> Sequence[PhaseOutcome]:
    """The present phase, and from the last one with tests on what came before it."""
    tested = [place for place, outcome in enumerate(outcomes) if outcome.findings]
    return outcomes[tested[-1] if tested else -1 :]


def print_rollout(
    rollout: Rollout,
    told: Sequence[PhaseOutcome],
    shadows: Sequence[ShadowReport],
    now: datetime,
) -> None:
    """Its way so far as a picture, what some phases came to, and what its shadow answered.

    Args:
        rollout: With its evidence.
        told: Phases whose tests are printed.
        shadows: What differed in its shadow phases.
        now: Up to when the present phase is drawn.
    """
    OUT.print(
        f"{names.last(rollout.name)}: version {names.short(rollout.version)} after "
        f"{names.short(rollout.previous_version)}, {state(rollout)}"
        f"{f': {rollout.message}' if rollout.message else ''}"
    )
    print_timeline(rollout, now)
    for outcome in told:
        OUT.print(
            f"\nPhase {outcome.phase + 1}, {phase_name(rollout.phases[outcome.phase])}, since "
            f"{when(outcome.start_time)}: {verdict_of(outcome)}"
            f"{f'. {outcome.reason}' if outcome.reason else ''}"
        )
        print_findings(outcome)
    for report in shadows:
        OUT.print()
        print_shadow_report(report)


def print_timeline(rollout: Rollout, now: datetime) -> None:
    """A bar for each phase, from when it began to when it ended, or until now."""
    begun = list(rollout.outcomes)
    if not begun:
        return
    start = _moment(begun[0].start_time)
    ends = [_moment(each.end_time) if each.HasField("end_time") else now for each in begun]
    total_s = max((max(ends) - start).total_seconds(), 1e-9)
    label = max(len(phase_name(phase)) for phase in rollout.phases)
    for place, phase in enumerate(rollout.phases):
        bar, told = "", "to come"
        if place < len(begun):
            from_s = (_moment(begun[place].start_time) - start).total_seconds()
            took_s = (ends[place] - start).total_seconds() - from_s
            # The shortest phase is seen, too, and the last one stays within the picture.
            length = max(1, round(_WIDTH * took_s / total_s))
            before = min(round(_WIDTH * from_s / total_s), _WIDTH - length)
            bar = " " * before + "█" * length
            told = f"{verdict_of(begun[place])}, {_span(took_s)}"
        OUT.print(f"  {phase_name(phase):>{label}} │{bar:<{_WIDTH}}│ {told}", highlight=False)


def print_shadow_report(report: ShadowReport) -> None:
    """What differs between the two versions, with its uncertainty."""
    rows = [
        ("same decisions", _estimate(report.agreement, 100, " %")),
        ("candidate scores higher by", _estimate(report.score_shift)),
        ("mean distance of scores", f"{report.mean_score_distance:.4f}"),
        ("distance of distributions", f"{report.score_distribution_distance:.4f}"),
        ("champion p50, p99", _latency(report.champion_latency)),
        ("candidate p50, p99", _latency(report.candidate_latency)),
        ("champion's scores 0 to 1", _spark(report.champion_score_counts)),
        ("candidate's scores 0 to 1", _spark(report.candidate_score_counts)),
    ]
    print_table(
        ("", "95 % interval in brackets"),
        rows,
        title=(
            f"{names.short(report.version)} in the shadow of {names.short(report.champion)}: "
            f"{report.compared_requests:,} requests compared, {report.failed_requests:,} failed, "
            f"{report.dropped_requests:,} dropped, {report.expired_requests:,} expired"
        ),
    )


def print_drills(endpoint: str, drills: Sequence[RollbackDrill]) -> None:
    """What roll-backs took when they were drilled."""
    print_table(
        (
            "begun",
            "state",
            "champion",
            "stand-in",
            "last answer after",
            "failed",
            "p99 before",
            "p99 after",
            "why",
        ),
        [
            (
                when(drill.create_time),
                state_name(RollbackDrill.State.Name(drill.state)).lower(),
                names.short(drill.champion),
                names.short(drill.stand_in),
                _milliseconds(drill.measures.last_champion_answer) if seen else "",
                f"{drill.measures.failed:,} of {drill.measures.answers_after:,}" if seen else "",
                _milliseconds(drill.measures.p99_before) if seen else "",
                _milliseconds(drill.measures.p99_after) if seen else "",
                drill.message,
            )
            for drill in drills
            for seen in [drill.HasField("measures")]
        ],
        title=f"Drills of {endpoint}",
    )


def _basis_points(percent: str) -> int:
    return round(float(percent) * 100)


def _moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"


def _estimate(found: ShadowReport.Estimate, factor: int = 1, unit: str = "") -> str:
    if found == ShadowReport.Estimate():
        return "nothing yet"
    value, low, high = (factor * each for each in (found.value, found.low, found.high))
    digits = 4 if factor == 1 else 2
    return f"{value:.{digits}f}{unit}  [{low:.{digits}f}, {high:.{digits}f}]"


def _latency(found: ShadowReport.Latency) -> str:
    if found == ShadowReport.Latency():
        return "nothing yet"
    return f"{_milliseconds(found.p50)}, {_milliseconds(found.p99)}"


def _milliseconds(duration: Duration) -> str:
    return f"{duration.ToTimedelta().total_seconds() * 1000:.2f} ms"


def _spark(counts: Sequence[int]) -> str:
    most = max(counts, default=0) or 1
    return "".join(_SPARKS[-(-each * (len(_SPARKS) - 1) // most)] for each in counts)
