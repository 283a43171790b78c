"""The gate: a policy's rules held against evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.common.errors import PreconditionViolation
from services.common.resources import Meta
from services.registry.core.canonical import digest_of
from services.registry.core.evaluations import Evaluation
from services.registry.core.models import BaselineBar, FixedBar, GateRule

BUNDLE_SIZE_METRIC: Final = "bundle.size_bytes"
"""Every version has this metric: the size of its files together."""


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What one rule said.

    Attributes:
        value: The candidate's; None when it has no such metric.
        bar: What the value was held against; None when there was no baseline.
        explanation: The numbers in a sentence.
    """

    rule: GateRule
    passed: bool
    value: float | None
    bar: float | None
    explanation: str


@dataclass(frozen=True, slots=True)
class GateResult:
    """What the gate said about one version. Immutable.

    Attributes:
        meta: `…/versions/{n}/gateResults/{g}`.
        evaluation: The candidate's, by resource name.
        baseline_evaluation: The baseline's on the same rows; empty when there was none.
        evidence_digest: Over the rules and both evaluations.
        artifact_digest: Of the version that was judged.
    """

    meta: Meta
    evaluation: str
    baseline_evaluation: str
    verdicts: tuple[RuleVerdict, ...]
    evidence_digest: str
    artifact_digest: str

    @property
    def passed(self) -> bool:
        """Whether every rule passed."""
        return all(verdict.passed for verdict in self.verdicts)

    def failures(self) -> list[PreconditionViolation]:
        """The rules that did not pass."""
        return [
            PreconditionViolation("GATE", verdict.rule.metric, verdict.explanation)
            for verdict in self.verdicts
            if not verdict.passed
        ]


def judge(
    rules: Sequence[GateRule], candidate: Mapping[str, float], baseline: Mapping[str, float] | None
) -> tuple[RuleVerdict, ...]:
    """One verdict per rule.

    Args:
        rules: The policy's.
        candidate: The candidate's value of each metric.
        baseline: The baseline's on the same rows; None if no version serves yet.
    """
    return tuple(_judge_rule(rule, candidate, baseline) for rule in rules)


def evidence_digest(
    rules: Sequence[GateRule], candidate: Evaluation, baseline: Evaluation | None
) -> str:
    """What an approval is bound to: the rules and everything they were held against."""
    return digest_of(
        {
            "rules": [rule.as_json() for rule in rules],
            "candidate": candidate.as_json(),
            "baseline": None if baseline is None else baseline.as_json(),
        }
    )


def _judge_rule(
    rule: GateRule, candidate: Mapping[str, float], baseline: Mapping[str, float] | None
) -> RuleVerdict:
    value = candidate.get(rule.metric)
    if value is None:
        return RuleVerdict(rule, False, None, None, f"{rule.metric} was not measured")
    match rule.bar:
        case FixedBar(fixed):
            return _compare(rule, value, fixed, "")
        case BaselineBar(margin):
            if baseline is None:
                explanation = f"{rule.metric} is {value:.6g}; there is no baseline yet"
                return RuleVerdict(rule, True, value, None, explanation)
            reference = baseline.get(rule.metric)
            if reference is None:
                explanation = f"{rule.metric} of the baseline was not measured"
                return RuleVerdict(rule, False, value, None, explanation)
            return _compare(
                rule, value, reference + margin, f" (baseline {reference:.6g} {margin:+.6g})"
            )


def _compare(rule: GateRule, value: float, bar: float, origin: str) -> RuleVerdict:
    passed = rule.comparison.holds(value, bar)
    wanted = rule.comparison.value.lower().replace("_", " ")
    explanation = (
        f"{rule.metric} is {value:.6g}, {'as' if passed else 'not as'} asked "
        f"{wanted} {bar:.6g}{origin}"
    )
    return RuleVerdict(rule, passed, value, bar, explanation)
