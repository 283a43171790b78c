"""Whether to retrain now: a pure function of the policy, the evidence and the history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from services.common.money import MICROS, Money
from services.monitor.core.distilling import distilling
from services.monitor.core.evidence import Evidence
from services.monitor.core.history import History
from services.monitor.core.resources import DecisionKind, RetrainPolicy
from services.monitor.core.triggers import (
    Signal,
    fault_signal,
    fired_triggers,
    measured_by,
    near_triggers,
    posing_faults,
)

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Choice:
    """What is decided; see `RetrainDecision` in monitor.proto."""

    kind: DecisionKind
    reason: str
    explanation: str
    numbers: Mapping[str, float]
    report: str


def decide(policy: RetrainPolicy, evidence: Evidence, history: History) -> Choice | None:
    """What to do about retraining; None if no trigger fired or came near.

    The first trigger to fire, in the order drift, quality, volume, schedule, event, new
    features, gives the reason. A fired trigger is declined, in this order, while an episode is
    under way (`EPISODE_ACTIVE`), while values are broken (`DATA_FAULT`), while nothing may be
    learned (`PRIVACY_HOLD`), while an error budget freezes training (`TRAINING_FROZEN`, unless
    the policy is critical), within the cool-down (`COOL_DOWN`), with too few new outcomes
    (`TOO_FEW_OUTCOMES`), without the money (`BUDGET`), and for less than it costs
    (`MARGINAL_GAIN`). What is not known of costs and gains is no ground to decline.

    Broken values look like drift, so a policy that retrains on drift is declined as
    `DATA_FAULT` for their sake alone. Where no trigger fired and the quality is fine, but answers
    are slow or dear, to distil is recommended (`DISTIL`). A trigger that only came near is
    declined as `MARGINAL`.
    """
    fired = next(fired_triggers(policy, evidence, history), None)
    if fired is None:
        near = (
            next(posing_faults(policy, evidence), None)
            or next(distilling(policy, evidence), None)
            or next(near_triggers(policy, evidence, history), None)
        )
        if near is None:
            return None
        return Choice(DecisionKind.DECLINED, near.reason, near.words, near.numbers, near.report)
    refusal = next(_refusals(policy, evidence, history), None)
    if refusal is None:
        return Choice(
            DecisionKind.TRIGGERED, fired.reason, fired.words, fired.numbers, fired.report
        )
    return Choice(
        DecisionKind.DECLINED,
        refusal.reason,
        f"{fired.words} {refusal.words}",
        {**fired.numbers, **refusal.numbers},
        fired.report,
    )


def _refusals(policy: RetrainPolicy, evidence: Evidence, history: History) -> Iterator[Signal]:
    if history.active_episode:
        yield Signal("EPISODE_ACTIVE", f"Declined: {history.active_episode} is under way.", {})
    if evidence.faults:
        yield fault_signal(evidence)
    if policy.privacy_hold:
        yield Signal(
            "PRIVACY_HOLD",
            f"Declined: nothing may be learned for the time being: {policy.privacy_hold}",
            {"new_outcomes": evidence.new_outcomes},
        )
    low = evidence.low_budget
    if low is not None and not policy.critical:
        yield Signal(
            "TRAINING_FROZEN",
            f"Declined: training is frozen since the error budget of {low.slo} was down to "
            f"{low.remaining:.1%}, until more than {low.until_above:.1%} of it is left.",
            {"budget_remaining": low.remaining, "budget_until_above": low.until_above},
        )
    if history.last_end is not None:
        rest = evidence.event_time - history.last_end
        if rest < policy.cool_down:
            yield Signal(
                "COOL_DOWN",
                f"Declined: the last episode ended {rest / _DAY:.1f} days ago; "
                f"the cool-down is {policy.cool_down / _DAY:.1f} days.",
                {"rest_days": rest / _DAY, "cool_down_days": policy.cool_down / _DAY},
            )
    if evidence.new_outcomes < policy.min_new_outcomes:
        yield Signal(
            "TOO_FEW_OUTCOMES",
            f"Declined: {evidence.new_outcomes:,} rows with outcomes are new; "
            f"a retraining needs {policy.min_new_outcomes:,}.",
            {
                "new_outcomes": evidence.new_outcomes,
                "min_new_outcomes": policy.min_new_outcomes,
            },
        )
    yield from _too_dear(policy, evidence, history)


def _too_dear(policy: RetrainPolicy, evidence: Evidence, history: History) -> Iterator[Signal]:
    budget, worth = policy.budget, policy.worth_of_hundredth
    if budget is not None:
        currency, limit = budget.limit.currency, budget.limit.micros
        spent = history.charged(currency, evidence.event_time - budget.period)
        expected = history.expected_cost(currency) or 0
        if spent + expected > limit:
            yield Signal(
                "BUDGET",
                f"Declined: {Money(spent, currency)} are spent in {budget.period / _DAY:.1f} days "
                f"and one more costs {Money(expected, currency)}; {budget.limit} is allowed.",
                {
                    "spent": spent / MICROS,
                    "expected_cost": expected / MICROS,
                    "budget": limit / MICROS,
                },
            )
    measured = measured_by(policy.quality, evidence) if policy.quality is not None else None
    if worth is not None and measured is not None:
        cost = history.expected_cost(worth.currency)
        gain = max(measured.drop, 0.0) * 100 * worth.micros
        if cost is not None and gain < cost:
            yield Signal(
                "MARGINAL_GAIN",
                f"Declined: to win back {max(measured.drop, 0.0):.4f} of {measured.metric} is "
                f"worth {Money(round(gain), worth.currency)}; "
                f"it costs {Money(cost, worth.currency)}.",
                {"gain": gain / MICROS, "expected_cost": cost / MICROS, "drop": measured.drop},
            )
