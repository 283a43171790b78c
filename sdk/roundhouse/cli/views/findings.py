"""A rollout's phases and the tests behind their verdicts, for people."""

from __future__ import annotations

from roundhouse.cli import names
from roundhouse.cli.output import OUT, print_table, state_name, when
from roundhouse.common.v1.verdicts_pb2 import EvidenceVerdict, Finding, Measure
from roundhouse.inference.v1.rollout_pb2 import PhaseOutcome, Rollout

_SAYS = {
    EvidenceVerdict.EVIDENCE_VERDICT_PASS: "excluded",
    EvidenceVerdict.EVIDENCE_VERDICT_FAIL: "PROVEN",
    EvidenceVerdict.EVIDENCE_VERDICT_INCONCLUSIVE: "open",
}


def show_rollout(rollout: Rollout) -> None:
    """Print every begun phase with its tests."""
    state = state_name(Rollout.State.Name(rollout.state)).lower()
    OUT.print(
        f"{names.last(rollout.name)}: version {names.short(rollout.version)} after "
        f"{names.short(rollout.previous_version)}, {state}"
        f"{f': {rollout.message}' if rollout.message else ''}"
    )
    for outcome in rollout.outcomes:
        _show_phase(rollout, outcome)


def _show_phase(rollout: Rollout, outcome: PhaseOutcome) -> None:
    share = rollout.phases[outcome.phase].weight_basis_points / 100
    verdict = (
        state_name(PhaseOutcome.Verdict.Name(outcome.verdict)).lower()
        if outcome.HasField("end_time")
        else "under way"
    )
    OUT.print(
        f"\nPhase {outcome.phase + 1}, {share:g} % of the traffic, {when(outcome.start_time)}: "
        f"{verdict}. {outcome.reason}"
    )
    if not outcome.findings:
        return
    print_table(
        ("measure", "where", "new (n)", "old (n)", "effect", "interval", "tolerated", "harm"),
        [_row(finding) for finding in outcome.findings],
        title=f"Always-valid tests; alpha {outcome.numbers['alpha']:.3g} over all of them",
    )


def _row(finding: Finding) -> tuple[object, ...]:
    where = f"{finding.slice_feature} = {finding.slice_value}" if finding.slice_feature else "all"
    interval = (
        f"{finding.lower:+.4f} to {finding.upper:+.4f}"
        if finding.HasField("lower") and finding.HasField("upper")
        else "not yet"
    )
    return (
        Measure.Name(finding.measure).removeprefix("MEASURE_").lower().replace("_", " "),
        where,
        f"{finding.candidate_value:.4f} ({finding.candidate_n:,})",
        f"{finding.champion_value:.4f} ({finding.champion_n:,})",
        f"{finding.effect:+.4f}",
        interval,
        f"{finding.tolerance:g}",
        _SAYS.get(finding.verdict, "unknown"),
    )
