"""Whether to retrain now: a pure function of the policy, the evidence and the history."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.common.money import MICROS, Money
from services.monitor.core.evidence import Evidence, MeasuredQuality
from services.monitor.core.resources import DecisionKind, QualityTrigger, RetrainPolicy

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class History:
    """What the loop is at, and was.

    Attributes:
        active_episode: Of the monitor, by resource name; empty if none is under way.
        last_end: Event time at which the newest finished episode ended.
        last_start: Event time of the decision that started the newest episode.
        charges: What episodes cost, where that is known, with the event time of the decision;
            oldest first.
        new_features: Columns that were new already when an earlier episode was decided on.
    """

    active_episode: str = ""
    last_end: datetime | None = None
    last_start: datetime | None = None
    charges: Sequence[tuple[datetime, Money]] = ()
    new_features: Collection[str] = ()

    def after_new_features(self, columns: Collection[str]) -> tuple[str, ...]:
        """What an episode has seen to, that is decided on while these columns are new."""
        return tuple(sorted({*self.new_features, *columns}))

    def charged(self, currency: str, since: datetime) -> int:
        """Millionths of a unit that episodes decided on after `since` cost."""
        return sum(
            cost.micros
            for moment, cost in self.charges
            if cost.currency == currency and moment > since
        )

    def expected_cost(self, currency: str) -> int | None:
        """Millionths of a unit that the newest episode cost; None if none is known."""
        known = [cost.micros for _, cost in self.charges if cost.currency == currency]
        return known[-1] if known else None


@dataclass(frozen=True, slots=True)
class Choice:
    """What is decided; see `RetrainDecision` in monitor.proto."""

    kind: DecisionKind
    reason: str
    explanation: str
    numbers: Mapping[str, float]
    report: str


@dataclass(frozen=True, slots=True)
class _Signal:
    reason: str
    words: str
    numbers: Mapping[str, float]
    report: str = ""


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
    `DATA_FAULT` for their sake alone. A trigger that only came near is declined as `MARGINAL`.
    """
    fired = next(_fired(policy, evidence, history), None)
    if fired is None:
        near = next(_posing(policy, evidence), None) or next(_near(policy, evidence, history), None)
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


def _fired(policy: RetrainPolicy, evidence: Evidence, history: History) -> Iterator[_Signal]:
    if policy.min_drifted_features is not None:
        drifted = len(evidence.drifted)
        if drifted >= policy.min_drifted_features:
            yield _drift_signal("DATA_DRIFT", policy.min_drifted_features, evidence)
    trigger = policy.quality
    if trigger is not None:
        measured = _measured(trigger, evidence)
        if measured is not None and measured.drop - measured.half_width > trigger.max_drop:
            yield _quality_signal("QUALITY", trigger, measured)
    wanted = policy.volume_min_new_outcomes
    if wanted is not None and evidence.new_outcomes >= wanted:
        yield _Signal(
            "VOLUME",
            f"{evidence.new_outcomes:,} rows with outcomes are new; {wanted:,} suffice.",
            {"new_outcomes": evidence.new_outcomes, "min_new_outcomes": wanted},
        )
    yield from _scheduled(policy, evidence, history)
    yield from _happened(policy, evidence, history)
    columns = _new_columns(policy, evidence, history)
    if policy.new_features is not None and len(columns) >= policy.new_features.min_columns:
        yield _column_signal("NEW_FEATURES", policy.new_features.min_columns, columns)


def _scheduled(policy: RetrainPolicy, evidence: Evidence, history: History) -> Iterator[_Signal]:
    period = policy.schedule_period
    if period is not None and evidence.trained_until is not None:
        age = evidence.event_time - evidence.trained_until
        if age >= period:
            yield _Signal(
                "SCHEDULE",
                f"The training data ended {age / _DAY:.1f} days ago; "
                f"the period is {period / _DAY:.1f} days.",
                {"age_days": age / _DAY, "period_days": period / _DAY},
            )
    done = [moment for moment in (evidence.trained_until, history.last_start) if moment]
    if policy.schedule_cron is not None and done:
        due = policy.schedule_cron.next_after(max(done))
        if due is not None and due <= evidence.event_time:
            overdue = (evidence.event_time - due) / _DAY
            yield _Signal(
                "SCHEDULE",
                f"Due since {due:%Y-%m-%d %H:%M} UTC by {policy.schedule_cron.expression!r} "
                f"in {policy.schedule_cron.time_zone}.",
                {"overdue_days": overdue},
            )


def _happened(policy: RetrainPolicy, evidence: Evidence, history: History) -> Iterator[_Signal]:
    if policy.events is None:
        return
    done = [moment for moment in (evidence.trained_until, history.last_start) if moment]
    wanted = {*policy.events.kinds, *policy.events.datasets}
    for event in evidence.events:
        if event.source in wanted and all(event.event_time >= moment for moment in done):
            age = (evidence.event_time - event.event_time) / _DAY
            yield _Signal(
                "EVENT",
                f"{event.source} at {event.event_time:%Y-%m-%d %H:%M} UTC: {event.description}",
                {"event_age_days": age},
            )


def _new_columns(policy: RetrainPolicy, evidence: Evidence, history: History) -> list[str]:
    if policy.new_features is None:
        return []
    seen = {*policy.new_features.ignored, *history.new_features}
    return [column for column in evidence.new_features if column not in seen]


def _column_signal(reason: str, wanted: int, columns: Sequence[str]) -> _Signal:
    return _Signal(
        reason,
        f"The serving version was not trained beside {', '.join(columns)} "
        f"({len(columns)} new, {wanted} suffice).",
        {"new_features": len(columns), "min_new_features": wanted},
    )


def _posing(policy: RetrainPolicy, evidence: Evidence) -> Iterator[_Signal]:
    if policy.min_drifted_features is not None and evidence.faults:
        yield _fault_signal(evidence)


def _near(policy: RetrainPolicy, evidence: Evidence, history: History) -> Iterator[_Signal]:
    wanted = policy.min_drifted_features
    if wanted is not None and (
        len(evidence.significant) >= wanted or (evidence.drifted and wanted > 1)
    ):
        yield _drift_signal("MARGINAL", wanted, evidence)
    trigger = policy.quality
    if trigger is not None:
        measured = _measured(trigger, evidence)
        if measured is not None and measured.drop > trigger.max_drop:
            yield _quality_signal("MARGINAL", trigger, measured)
    columns = _new_columns(policy, evidence, history)
    if policy.new_features is not None and columns:
        yield _column_signal("MARGINAL", policy.new_features.min_columns, columns)


def _drift_signal(reason: str, wanted: int, evidence: Evidence) -> _Signal:
    if evidence.drifted:
        words = f"Drifted: {', '.join(evidence.drifted)}"
    else:
        words = f"Different in this window alone: {', '.join(evidence.significant)}"
    return _Signal(
        reason,
        f"{words} ({len(evidence.drifted)} drifted, {wanted} suffice).",
        {
            "drifted_features": len(evidence.drifted),
            "significant_features": len(evidence.significant),
            "min_drifted_features": wanted,
        },
        evidence.drift_report,
    )


def _fault_signal(evidence: Evidence) -> _Signal:
    numbers = {
        f"{fault.feature}.{name}": value
        for fault in evidence.faults
        for name, value in fault.numbers.items()
    }
    return _Signal(
        "DATA_FAULT",
        f"Declined: broken data look like drift and would be learned. "
        f"{' '.join(fault.reason for fault in evidence.faults)}",
        {"data_faults": len(evidence.faults), **numbers},
        evidence.drift_report,
    )


def _measured(trigger: QualityTrigger, evidence: Evidence) -> MeasuredQuality | None:
    measured = evidence.quality.get(trigger.metric)
    if measured is None or measured.outcomes < trigger.min_outcomes:
        return None
    return measured


def _quality_signal(reason: str, trigger: QualityTrigger, measured: MeasuredQuality) -> _Signal:
    return _Signal(
        reason,
        f"The {measured.metric} is {measured.value:.4f} +- {measured.half_width:.4f}, worse by "
        f"{measured.drop:.4f} than the version's test value {measured.test_value:.4f}; "
        f"{trigger.max_drop:.4f} is allowed.",
        {
            measured.metric: measured.value,
            "half_width": measured.half_width,
            "test_value": measured.test_value,
            "drop": measured.drop,
            "max_drop": trigger.max_drop,
            "outcomes": measured.outcomes,
        },
        measured.report,
    )


def _refusals(policy: RetrainPolicy, evidence: Evidence, history: History) -> Iterator[_Signal]:
    if history.active_episode:
        yield _Signal("EPISODE_ACTIVE", f"Declined: {history.active_episode} is under way.", {})
    if evidence.faults:
        yield _fault_signal(evidence)
    if policy.privacy_hold:
        yield _Signal(
            "PRIVACY_HOLD",
            f"Declined: nothing may be learned for the time being: {policy.privacy_hold}",
            {"new_outcomes": evidence.new_outcomes},
        )
    low = evidence.low_budget
    if low is not None and not policy.critical:
        yield _Signal(
            "TRAINING_FROZEN",
            f"Declined: training is frozen since the error budget of {low.slo} was down to "
            f"{low.remaining:.1%}, until more than {low.until_above:.1%} of it is left.",
            {"budget_remaining": low.remaining, "budget_until_above": low.until_above},
        )
    if history.last_end is not None:
        rest = evidence.event_time - history.last_end
        if rest < policy.cool_down:
            yield _Signal(
                "COOL_DOWN",
                f"Declined: the last episode ended {rest / _DAY:.1f} days ago; "
                f"the cool-down is {policy.cool_down / _DAY:.1f} days.",
                {"rest_days": rest / _DAY, "cool_down_days": policy.cool_down / _DAY},
            )
    if evidence.new_outcomes < policy.min_new_outcomes:
        yield _Signal(
            "TOO_FEW_OUTCOMES",
            f"Declined: {evidence.new_outcomes:,} rows with outcomes are new; "
            f"a retraining needs {policy.min_new_outcomes:,}.",
            {
                "new_outcomes": evidence.new_outcomes,
                "min_new_outcomes": policy.min_new_outcomes,
            },
        )
    yield from _too_dear(policy, evidence, history)


def _too_dear(policy: RetrainPolicy, evidence: Evidence, history: History) -> Iterator[_Signal]:
    budget, worth = policy.budget, policy.worth_of_hundredth
    if budget is not None:
        currency, limit = budget.limit.currency, budget.limit.micros
        spent = history.charged(currency, evidence.event_time - budget.period)
        expected = history.expected_cost(currency) or 0
        if spent + expected > limit:
            yield _Signal(
                "BUDGET",
                f"Declined: {Money(spent, currency)} are spent in {budget.period / _DAY:.1f} days "
                f"and one more costs {Money(expected, currency)}; {budget.limit} is allowed.",
                {
                    "spent": spent / MICROS,
                    "expected_cost": expected / MICROS,
                    "budget": limit / MICROS,
                },
            )
    measured = _measured(policy.quality, evidence) if policy.quality is not None else None
    if worth is not None and measured is not None:
        cost = history.expected_cost(worth.currency)
        gain = max(measured.drop, 0.0) * 100 * worth.micros
        if cost is not None and gain < cost:
            yield _Signal(
                "MARGINAL_GAIN",
                f"Declined: to win back {max(measured.drop, 0.0):.4f} of {measured.metric} is "
                f"worth {Money(round(gain), worth.currency)}; "
                f"it costs {Money(cost, worth.currency)}.",
                {"gain": gain / MICROS, "expected_cost": cost / MICROS, "drop": measured.drop},
            )
