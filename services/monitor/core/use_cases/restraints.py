"""Budget policies carried out: restraints that come into force and are lifted, and their alerts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from services.monitor.core.alerts.alerting import ErrorClass, Firing
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import Monitor
from services.monitor.core.slos.budgets import Severity, SloReading
from services.monitor.core.slos.objectives import BudgetAction, BudgetRule, Slo
from services.monitor.core.slos.restraints import Restraint
from services.monitor.core.use_cases.alerts import end_alert, open_alert
from services.monitor.core.use_cases.identities import new_meta

CLASSES: Final = {
    BudgetAction.FREEZE_TRAINING: ErrorClass.TRAINING_FROZEN,
    BudgetAction.STOP_ROLLOUTS: ErrorClass.ROLLOUTS_STOPPED,
}
"""What the alert of each action says is the matter."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """How one action stands.

    Attributes:
        rule: By which it is ordered now; None if it isn't.
        known: As it was left; None if it is not in force.
        alerted: Whether it has an unresolved alert.
    """

    action: BudgetAction
    rule: BudgetRule | None
    known: Restraint | None
    alerted: bool

    @property
    def is_settled(self) -> bool:
        in_force = self.known.rule if self.known else None
        return in_force == self.rule and self.alerted == (self.rule is not None)


def needs_restraining(tx: MonitorTx, reading: SloReading) -> bool:
    """Whether `settle_restraints` would change anything."""
    return not all(each.is_settled for each in _standings(tx, reading.slo, reading))


def settle_restraints(tx: MonitorTx, monitor: Monitor, reading: SloReading) -> None:
    """Put in force, or lift, what an objective's budget policy says; again changes nothing."""
    slo = tx.slos.get(reading.slo.meta.name)
    if slo is None or slo.meta.uid != reading.slo.meta.uid:
        return
    for each in list(_standings(tx, slo, reading)):
        if each.rule is None:
            _lift(tx, slo.meta.name, each.action)
        elif not each.is_settled:
            restraint = _put_in_force(tx, slo, each.rule, reading)
            if not each.alerted:
                error_class = CLASSES[each.action]
                firing = Firing(
                    error_class, Severity.TICKET, restraint.reason, restraint.event_time
                )
                open_alert(tx, monitor, slo, firing)


def lift_restraints(tx: MonitorTx, slo: str) -> None:
    """Lift what the budget policy of an objective that is deleted has ordered."""
    for action in BudgetAction:
        _lift(tx, slo, action)


def forget_lifted(tx: MonitorTx, restraint: Restraint) -> None:
    """Forget a restraint that is over once others know; nothing if it is in force again."""
    if tx.restraints.get(restraint.meta.name) == restraint and restraint.is_lifted:
        tx.restraints.remove(restraint.meta.name)


def in_force(tx: MonitorTx, action: BudgetAction, project: str) -> Restraint | None:
    """The oldest restraint of a project that orders this."""
    found = (each for each in tx.every_restraint() if not each.is_lifted)
    return next(
        (each for each in found if each.rule.action is action and each.project == project), None
    )


def restraints_of(tx: MonitorTx, slo: str) -> Sequence[Restraint]:
    """What the budget policy of an objective orders at present."""
    known = (tx.restraints.get(Restraint.name_of(slo, action)) for action in BudgetAction)
    return [each for each in known if each is not None and not each.is_lifted]


def rollout_hold(tx: MonitorTx, endpoint: str) -> str:
    """Why rollouts at an endpoint have to wait before their next phase; empty if they don't."""
    monitor = tx.monitor_of(endpoint)
    if monitor is None:
        return ""
    orders = (
        restraint
        for slo in tx.slos.under(monitor.meta.name)
        for restraint in restraints_of(tx, slo.meta.name)
        if restraint.rule.action is BudgetAction.STOP_ROLLOUTS
    )
    return next((restraint.reason for restraint in orders), "")


def _standings(tx: MonitorTx, slo: Slo, reading: SloReading) -> Iterator[_Standing]:
    rules = {rule.action: rule for rule in slo.budget_policy}
    orders = {each.rule.action: each for each in restraints_of(tx, slo.meta.name)}
    for action in BudgetAction:
        rule, known = rules.get(action), orders.get(action)
        if rule is not None and not (
            reading.time and rule.orders(reading.budget.remaining, in_force=known is not None)
        ):
            rule = None
        alert = tx.unresolved_alert(slo.meta.name, CLASSES[action])
        yield _Standing(action, rule, known, alert is not None)


def _put_in_force(tx: MonitorTx, slo: Slo, rule: BudgetRule, reading: SloReading) -> Restraint:
    name = Restraint.name_of(slo.meta.name, rule.action)
    known = tx.restraints.get(name)
    if known is not None and not known.is_lifted:
        if known.rule == rule:
            return known
        changed = known.by(rule, tx.now)
        tx.restraints.replace(changed)
        return changed
    assert reading.time is not None
    # What is lifted and not told yet goes on under its uid, so that others learn of one order.
    restraint = Restraint(
        meta=new_meta(tx, name) if known is None else known.meta.touched(tx.now),
        slo=slo.meta.name,
        rule=rule,
        since=tx.now,
        remaining=float(reading.budget.remaining),
        event_time=reading.time,
    )
    if known is None:
        tx.restraints.add(restraint)
    else:
        tx.restraints.replace(restraint)
    tx.tell("restraint.in_force", name, {"slo": slo.meta.name, "reason": restraint.reason})
    return restraint


def _lift(tx: MonitorTx, slo: str, action: BudgetAction) -> None:
    end_alert(tx, slo, CLASSES[action], "The budget policy does not order it any more.")
    known = tx.restraints.get(Restraint.name_of(slo, action))
    if known is None or known.is_lifted:
        return
    if action is BudgetAction.FREEZE_TRAINING:
        tx.restraints.replace(known.lifted(tx.now))
    else:
        tx.restraints.remove(known.meta.name)
    tx.tell("restraint.lifted", known.meta.name, {"slo": slo})
