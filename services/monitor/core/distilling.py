"""When a smaller model is wanted, rather than a newer one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from services.common.money import MICROS, Money
from services.monitor.core.evidence import Evidence
from services.monitor.core.resources import Efficiency, RetrainPolicy
from services.monitor.core.triggers import Signal, measured_by, quality_signal


def distilling(policy: RetrainPolicy, evidence: Evidence) -> Iterator[Signal]:
    """That the version is good, but slow or dear: a smaller one is wanted, not a newer one."""
    measured = measured_by(policy.quality, evidence) if policy.quality is not None else None
    if policy.efficiency is None or policy.quality is None or measured is None:
        return
    if measured.drop > policy.quality.max_drop:
        return
    found = [*_slow(evidence), *_dear(policy.efficiency, evidence)]
    if found:
        words = " ".join(signal.words for signal in found)
        quality = quality_signal("DISTIL", policy.quality, measured)
        numbers = {name: value for signal in found for name, value in signal.numbers.items()}
        yield Signal(
            "DISTIL",
            f"Distil rather than retrain: {words} The quality is fine. {quality.words}",
            {**numbers, **quality.numbers},
            measured.report,
        )


def _slow(evidence: Evidence) -> Iterator[Signal]:
    slow = evidence.slow
    if slow is not None:
        bound_ms = slow.bound / timedelta(milliseconds=1)
        yield Signal(
            "DISTIL",
            f"{slow.slo} wants answers within {bound_ms:g} ms and burns its budget "
            f"{slow.burn_rate:.3g} times as fast as allowed, {slow.remaining:.1%} of it left.",
            {
                "latency_bound_ms": bound_ms,
                "burn_rate": slow.burn_rate,
                "budget_remaining": slow.remaining,
            },
        )


def _dear(efficiency: Efficiency, evidence: Evidence) -> Iterator[Signal]:
    price = efficiency.price
    if price is None or not evidence.predictions:
        return
    spent = price.per_hour.micros * (evidence.window / timedelta(hours=1))
    each_thousand = spent / evidence.predictions * 1000
    limit, currency = price.max_per_thousand.micros, price.max_per_thousand.currency
    if each_thousand > limit:
        yield Signal(
            "DISTIL",
            f"A thousand of {evidence.predictions:,} predictions cost "
            f"{Money(round(each_thousand), currency)}; {price.max_per_thousand} is allowed.",
            {
                "predictions": evidence.predictions,
                "price_per_thousand": each_thousand / MICROS,
                "max_price_per_thousand": limit / MICROS,
            },
        )
