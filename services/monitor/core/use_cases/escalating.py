"""Alerts that go up: by hand, and because nobody sees to them."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import FieldViolation, InvalidRequest
from services.monitor.core.alerts.alerting import MONITOR_ACTOR, Alert
from services.monitor.core.alerts.escalation import Escalation, reason_of
from services.monitor.core.errors import NobodyToEscalateTo
from services.monitor.core.ports import MonitorTx
from services.monitor.core.slos.budgets import Severity
from services.monitor.core.use_cases.alerts import save_alert, unresolved


def escalate_alert(
    tx: MonitorTx, name: str, escalation: Escalation, *, actor: str, reason: str, receiver: str
) -> Alert:
    """The alert: a ticket becomes a page, a page goes up to a receiver.

    Args:
        tx: The transaction.
        name: Of the alert.
        escalation: Whom there is to tell.
        actor: Who wants it.
        reason: Why.
        receiver: Who is told; empty: of a page, whoever is next, of a ticket nobody more.

    Raises:
        AlertNotFound, AlertResolved: There is none, or it is over.
        InvalidRequest: There is no such receiver.
        NobodyToEscalateTo: It is a page, and there is no receiver at all.
    """
    alert = unresolved(tx, name)
    if receiver and receiver not in escalation.receivers:
        known = ", ".join(escalation.receivers) or "and no receiver is configured"
        fault = f"must be one of: {known}" if escalation.receivers else f"must be empty, {known}"
        raise InvalidRequest([FieldViolation("receiver", fault)])
    is_page = alert.severity is Severity.PAGE
    wanted = receiver or (escalation.next_receiver(alert) if is_page else "")
    if is_page and not wanted:
        raise NobodyToEscalateTo(name)
    if not is_page:
        alert = save_alert(tx, alert.raised(actor, reason, tx.now))
    return save_alert(tx, alert.handed_up(wanted, actor, reason, tx.now)) if wanted else alert


def overdue(tx: MonitorTx, escalation: Escalation) -> Sequence[Alert]:
    """The pages that `escalate_overdue` would take up."""
    return [alert for alert in tx.alerts_since(tx.now) if escalation.due(alert, tx.now) is not None]


def escalate_overdue(tx: MonitorTx, name: str, escalation: Escalation) -> str:
    """Tell the next level of a page that nobody sees to; again changes nothing.

    Returns:
        The receiver that is told; empty if nobody is.
    """
    alert = tx.alerts.get(name)
    level = None if alert is None else escalation.due(alert, tx.now)
    if alert is None or level is None:
        return ""
    save_alert(tx, alert.handed_up(level.receiver, MONITOR_ACTOR, reason_of(level), tx.now))
    return level.receiver
