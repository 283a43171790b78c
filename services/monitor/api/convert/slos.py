"""Objectives and their budgets to and from their protos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from roundhouse.monitor.v1 import slo_pb2 as pb

from services.common.resources import Meta
from services.common.rpc.convert import to_duration, to_timestamp
from services.monitor.api.convert.monitors import span
from services.monitor.core.slos.budgets import Burning, SloReading
from services.monitor.core.slos.objectives import (
    BudgetAction,
    BudgetRule,
    QualityBar,
    Sli,
    SliKind,
    Slo,
)
from services.monitor.core.slos.restraints import Restraint

_WINDOW: Final = timedelta(days=30)
_MIN_BAD_REQUESTS: Final = 10
_MIN_OUTCOMES: Final = 500

CHANGEABLE: Final = (
    *("target", "window", "min_bad_events"),
    *("description", "owner", "runbook", "budget_policy"),
)
"""The fields that an update may change, which are attributes of the same names."""

SETTABLE: Final = (*CHANGEABLE, *(kind.lower() for kind in SliKind))
"""The fields that a caller sets."""


def slo_maker(message: pb.Slo) -> Callable[[Meta], Slo]:
    """Gives the wanted objective its identity; what is unset gets its default."""
    sli = _sli(message)
    return lambda meta: Slo(
        meta=meta,
        sli=sli,
        target=message.target,
        window=span(message.window) if message.HasField("window") else _WINDOW,
        min_bad_events=message.min_bad_events
        or (_MIN_BAD_REQUESTS if sli.kind.counts_requests else 1),
        description=message.description,
        owner=message.owner,
        runbook=message.runbook,
        budget_policy=tuple(
            BudgetRule(_action_from_proto(rule.action), rule.below, rule.until_above)
            for rule in message.budget_policy
        ),
    )


def _sli(message: pb.Slo) -> Sli:
    kind = SliKind[(message.WhichOneof("sli") or "").upper()]
    if kind is SliKind.LATENCY:
        return Sli(kind, latency_bound=span(message.latency.bound))
    if kind is SliKind.QUALITY:
        bar = message.quality
        return Sli(kind, quality=QualityBar(bar.metric, bar.bar, bar.min_outcomes or _MIN_OUTCOMES))
    return Sli(kind)


def slo_to_proto(slo: Slo) -> pb.Slo:
    """The objective on the wire."""
    meta, sli = slo.meta, slo.sli
    message = pb.Slo(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        target=slo.target,
        window=to_duration(slo.window.total_seconds()),
        min_bad_events=slo.min_bad_events,
        description=slo.description,
        owner=slo.owner,
        runbook=slo.runbook,
        budget_policy=[
            pb.Slo.BudgetRule(
                action=_action_to_proto(rule.action),
                below=rule.below,
                until_above=rule.until_above,
            )
            for rule in slo.budget_policy
        ],
    )
    if sli.latency_bound is not None:
        message.latency.bound.FromTimedelta(sli.latency_bound)
    elif sli.quality is not None:
        message.quality.metric = sli.quality.metric
        message.quality.bar = sli.quality.bar
        message.quality.min_outcomes = sli.quality.min_outcomes
    else:
        getattr(message, sli.kind.lower()).SetInParent()
    return message


def budget_to_proto(reading: SloReading, restraints: Sequence[Restraint]) -> pb.ErrorBudget:
    """The budget on the wire; each number is the double nearest to the exact one.

    Args:
        reading: How the objective stands.
        restraints: What its budget policy orders.
    """
    budget = reading.budget
    return pb.ErrorBudget(
        slo=reading.slo.meta.name,
        time=None if reading.time is None else to_timestamp(reading.time),
        good_events=budget.counts.good,
        total_events=budget.counts.total,
        sli=float(budget.sli),
        allowed_events=float(budget.allowed),
        consumed=float(budget.consumed),
        remaining=float(budget.remaining),
        burn_rates=[_burning_to_proto(each) for each in reading.burning],
        restraints=[
            pb.ErrorBudget.Restraint(
                action=_action_to_proto(each.rule.action),
                since_time=to_timestamp(each.since),
                reason=each.reason,
            )
            for each in restraints
        ],
    )


def _burning_to_proto(burning: Burning) -> pb.ErrorBudget.BurnRate:
    rule = burning.rule
    return pb.ErrorBudget.BurnRate(
        severity=pb.ErrorBudget.Severity.Value(f"SEVERITY_{rule.severity.value}"),
        long_window=to_duration(rule.long.total_seconds()),
        short_window=to_duration(rule.short.total_seconds()),
        factor=float(rule.factor),
        long_rate=float(burning.long_rate),
        short_rate=float(burning.short_rate),
        bad_events=burning.bad_events,
        firing=burning.firing,
    )


def _action_from_proto(action: pb.Slo.BudgetAction.ValueType) -> BudgetAction:
    return BudgetAction(pb.Slo.BudgetAction.Name(action).removeprefix("BUDGET_ACTION_"))


def _action_to_proto(action: BudgetAction) -> pb.Slo.BudgetAction.ValueType:
    return pb.Slo.BudgetAction.Value(f"BUDGET_ACTION_{action.value}")
