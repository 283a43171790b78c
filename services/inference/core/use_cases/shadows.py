"""What comes of shadow traffic."""

from __future__ import annotations

from datetime import datetime

from services.common.criteria import Verdict
from services.inference.core.errors import ShadowReportNotFound
from services.inference.core.ports import InferenceTx
from services.inference.core.rollouts import Judgement, ShadowPlan
from services.inference.core.shadows import (
    ShadowReport,
    Tally,
    agreement,
    score_distance,
    score_shift,
)


def get_shadow_report(tx: InferenceTx, name: str) -> ShadowReport:
    """The report called `name`.

    Raises:
        ShadowReportNotFound: There is none.
    """
    report = tx.shadow_reports.get(name)
    if report is None:
        raise ShadowReportNotFound(name)
    return report


def add_tally(tx: InferenceTx, name: str, tally: Tally, now: datetime) -> None:
    """Count `tally` in; what is counted for a report that is gone is gone with it."""
    report = tx.shadow_reports.get(name)
    if report is not None:
        tx.shadow_reports.replace(report.with_more(tally, report.meta.touched(now)))


def judged(report: ShadowReport, plan: ShadowPlan) -> Judgement:
    """What a report says of its candidate, as often as one asks.

    It passes once enough requests are compared and the agreement is surely enough; it fails
    once the agreement is surely too little.
    """
    tally = report.tally
    same = agreement(tally)
    numbers = {
        "compared": float(tally.compared),
        "failed": float(tally.failed),
        "dropped": float(tally.dropped),
        "expired": float(tally.expired),
        "score_distance": score_distance(tally),
    }
    if same is None or tally.compared < plan.min_requests:
        reason = f"{tally.compared} of {plan.min_requests} requests are compared"
        return Judgement(Verdict.INCONCLUSIVE, reason, numbers)
    numbers |= {
        "agreement": same.value,
        "agreement_low": same.low,
        "agreement_high": same.high,
    }
    if (shift := score_shift(tally)) is not None:
        numbers |= {
            "score_shift": shift.value,
            "score_shift_low": shift.low,
            "score_shift_high": shift.high,
        }
    reason = (
        f"{same.value:.2%} of {tally.compared} requests have the same decisions "
        f"(95 %: {same.low:.2%} to {same.high:.2%}), {plan.min_agreement:.2%} are asked for"
    )
    if same.low >= plan.min_agreement:
        return Judgement(Verdict.PASS, reason, numbers)
    if same.high < plan.min_agreement:
        return Judgement(Verdict.FAIL, reason, numbers)
    return Judgement(Verdict.INCONCLUSIVE, reason, numbers)
