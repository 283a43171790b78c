"""The tests behind a phase's verdict, for people."""

from __future__ import annotations

from typing import Final

from roundhouse.cli.output import OUT, print_table
from roundhouse.common.v1.verdicts_pb2 import EvidenceVerdict, Finding, Measure
from roundhouse.inference.v1.rollout_pb2 import PhaseOutcome

_SAYS: Final = {
    EvidenceVerdict.EVIDENCE_VERDICT_PASS: "excluded",
    EvidenceVerdict.EVIDENCE_VERDICT_FAIL: "PROVEN",
    EvidenceVerdict.EVIDENCE_VERDICT_INCONCLUSIVE: "open",
}


def print_findings(outcome: PhaseOutcome) -> None:
    """A row and a sentence for each test of a phase; nothing if it has none."""
    if not outcome.findings:
        return
    print_table(
        ("measure", "where", "new (n)", "old (n)", "effect", "interval", "tolerated", "harm"),
        [_row(finding) for finding in outcome.findings],
        title=f"Always-valid tests; alpha {outcome.numbers['alpha']:.3g} over all of them",
    )
    for finding in outcome.findings:
        OUT.print(finding.reason, highlight=False)


def measure_name(finding: Finding) -> str:
    """What was measured, such as `log loss`."""
    return Measure.Name(finding.measure).removeprefix("MEASURE_").lower().replace("_", " ")


def place_name(finding: Finding) -> str:
    """Where it was measured: `all`, or a slice such as `carrier = AA`."""
    return f"{finding.slice_feature} = {finding.slice_value}" if finding.slice_feature else "all"


def _row(finding: Finding) -> tuple[object, ...]:
    interval = (
        f"{finding.lower:+.4f} to {finding.upper:+.4f}"
        if finding.HasField("lower") and finding.HasField("upper")
        else "not yet"
    )
    return (
        measure_name(finding),
        place_name(finding),
        f"{finding.candidate_value:.4f} ({finding.candidate_n:,})",
        f"{finding.champion_value:.4f} ({finding.champion_n:,})",
        f"{finding.effect:+.4f}",
        interval,
        f"{finding.tolerance:g}",
        _SAYS.get(finding.verdict, "unknown"),
    )
