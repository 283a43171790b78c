"""The gate: a policy's rules held against evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.common.errors import PreconditionViolation
from services.common.resources import Meta
from services.registry.core.canonical import Json, digest_of
from services.registry.core.evaluations import Evaluation
from services.registry.core.measurements import (
    Measurements,
    Reading,
    Unmeasured,
    counting_slices,
    read,
)
from services.registry.core.policies import (
    BaselineBar,
    Comparison,
    FixedBar,
    GateRule,
    NamedSlice,
    ReadinessItem,
    Reduction,
    SlicesOf,
)
from services.registry.core.readiness import Finding


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What one rule said.

    Attributes:
        rule: A comparison, or an item of the readiness checklist.
        value: The candidate's; None when it has no such metric.
        bar: What the value was held against; None when there was no baseline.
        explanation: The numbers in a sentence.
    """

    rule: GateRule | ReadinessItem
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
        evidence_digest: Over the rules, both evaluations and the readiness found.
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
            PreconditionViolation("GATE", verdict.rule.subject, verdict.explanation)
            for verdict in self.verdicts
            if not verdict.passed
        ]


def judge(
    rules: Sequence[GateRule], candidate: Measurements, baseline: Measurements | None
) -> tuple[RuleVerdict, ...]:
    """One verdict per rule.

    Args:
        rules: The policy's.
        candidate: What is known of the candidate.
        baseline: What is known of the baseline on the same rows; None if no version serves yet.
    """
    return tuple(_judge_rule(rule, candidate, baseline) for rule in rules)


def judge_readiness(found: Mapping[ReadinessItem, Finding]) -> tuple[RuleVerdict, ...]:
    """One verdict per item of the checklist."""
    return tuple(
        RuleVerdict(item, finding.is_there, None, None, f"{item.subject}: {finding.words}")
        for item, finding in found.items()
    )


def evidence_digest(
    rules: Sequence[GateRule],
    candidate: Evaluation,
    baseline: Evaluation | None,
    found: Mapping[ReadinessItem, Finding],
) -> str:
    """What an approval is bound to: the rules and everything they were held against."""
    evidence: dict[str, Json] = {
        "rules": [rule.as_json() for rule in rules],
        "candidate": candidate.as_json(),
        "baseline": None if baseline is None else baseline.as_json(),
    }
    if found:
        evidence["readiness"] = {item.value: finding.words for item, finding in found.items()}
    return digest_of(evidence)


def _judge_rule(
    rule: GateRule, candidate: Measurements, baseline: Measurements | None
) -> RuleVerdict:
    if isinstance(rule.scope, SlicesOf) and rule.scope.reduction is Reduction.EVERY:
        return _judge_every(rule, rule.scope, candidate, baseline)
    return _judge_one(rule, rule, candidate, baseline)


def _judge_one(
    rule: GateRule, judged: GateRule, candidate: Measurements, baseline: Measurements | None
) -> RuleVerdict:
    """The verdict on `judged`, given in the name of `rule`."""
    reading = read(judged.metric, judged.scope, judged.comparison, candidate)
    if isinstance(reading, Unmeasured):
        return RuleVerdict(rule, False, None, None, f"{judged.subject} {reading.why}")
    match rule.bar:
        case FixedBar(fixed):
            return _compare(rule, judged, reading, bar=fixed, origin="")
        case BaselineBar() as against:
            return _judge_against(rule, judged, reading, against=against, baseline=baseline)


def _judge_against(
    rule: GateRule,
    judged: GateRule,
    reading: Reading,
    *,
    against: BaselineBar,
    baseline: Measurements | None,
) -> RuleVerdict:
    if baseline is None:
        words = f"{judged.subject} is {reading}; there is no baseline yet"
        return RuleVerdict(rule, True, reading.value, None, words)
    reference = read(judged.metric, judged.scope, judged.comparison, baseline)
    if isinstance(reference, Unmeasured):
        words = f"{judged.subject} of the baseline {reference.why}"
        return RuleVerdict(rule, False, reading.value, None, words)
    bar = reference.value + against.margin
    origin = f"baseline {reference} {against.margin:+.6g}"
    if against.noise_multiplier:
        noise = reading.error_of_difference(reference)
        if noise is None:
            words = f"{judged.subject} has no standard error, which noise_multiplier asks for"
            return RuleVerdict(rule, False, reading.value, None, words)
        bar += rule.comparison.sign * against.noise_multiplier * noise
        origin += f", {against.noise_multiplier:+g} standard errors of {noise:.3g}"
    return _compare(rule, judged, reading, bar=bar, origin=f" ({origin})")


def _compare(
    rule: GateRule, judged: GateRule, reading: Reading, *, bar: float, origin: str
) -> RuleVerdict:
    passed = judged.comparison.holds(reading.value, bar)
    wanted = judged.comparison.value.lower().replace("_", " ")
    words = (
        f"{judged.subject} is {reading}, {'as' if passed else 'not as'} asked "
        f"{wanted} {bar:.6g}{origin}"
    )
    return RuleVerdict(rule, passed, reading.value, bar, words)


def _judge_every(
    rule: GateRule, scope: SlicesOf, candidate: Measurements, baseline: Measurements | None
) -> RuleVerdict:
    """The verdict of the slice that is furthest below its bar, with how many passed."""
    counting = counting_slices(scope, candidate)
    if isinstance(counting, Unmeasured):
        return RuleVerdict(rule, False, None, None, f"{rule.subject} {counting.why}")
    verdicts = [
        _judge_one(
            rule,
            GateRule(
                rule.metric,
                rule.comparison,
                rule.bar,
                NamedSlice(scope.column, part.value, scope.min_rows),
            ),
            candidate,
            baseline,
        )
        for part in counting.slices
    ]
    worst = min(verdicts, key=lambda verdict: _slack(rule.comparison, verdict))
    passing = sum(verdict.passed for verdict in verdicts)
    words = (
        f"{rule.subject}: {passing} of {len(verdicts)} slices pass{counting.left_out}; "
        f"the closest: {worst.explanation}"
    )
    return RuleVerdict(rule, passing == len(verdicts), worst.value, worst.bar, words)


def _slack(comparison: Comparison, verdict: RuleVerdict) -> tuple[bool, float, float]:
    """How far a verdict is from failing; failures first, what could not be judged foremost."""
    if verdict.value is None or verdict.bar is None:
        return (verdict.passed, float("-inf"), 0.0)
    sign = comparison.sign
    return (verdict.passed, sign * (verdict.value - verdict.bar), sign * verdict.value)
