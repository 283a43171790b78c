"""What rules that fire make of an alert."""

from __future__ import annotations

from datetime import timedelta

from services.common.resources import Meta
from services.monitor.core.alerts.alerting import Alert, AlertState, Firing, firing_of
from services.monitor.core.slos.budgets import Severity, read_slo
from services.monitor.core.slos.events import SingleEvents
from services.monitor.core.slos.objectives import Sli, SliKind, Slo
from tests.support.monitor_values import MARCH, MONITOR

PAGE = Firing("BURN_RATE", Severity.PAGE, "Much is bad.", MARCH)
TICKET = Firing("BURN_RATE", Severity.TICKET, "Some is bad.", MARCH)
LATER = MARCH + timedelta(hours=1)


def meta(name):
    return Meta(f"{MONITOR}/{name}", "u", 1, MARCH, MARCH)


def alert(severity):
    return Alert(
        meta=meta("alerts/u"),
        resource=f"{MONITOR}/slos/s",
        error_class="BURN_RATE",
        severity=severity,
        state=AlertState.OPEN,
        incident="u",
        summary="",
        event_time=MARCH,
        owner="",
        runbook="",
        steps=(),
    )


def reading(*bad_hours_ago, kind=SliKind.AVAILABILITY):
    slo = Slo(meta=meta("slos/s"), sli=Sli(kind), target=0.99, min_bad_events=1)
    bad = [(MARCH - timedelta(hours=hours), False) for hours in bad_hours_ago]
    return read_slo(slo, SingleEvents([*bad, (MARCH, True)]))


def test_only_what_is_louder_escalates_and_nobody_has_seen_to_a_page_yet():
    assert not alert(Severity.PAGE).outranked_by(TICKET)
    assert not alert(Severity.PAGE).outranked_by(PAGE)
    assert not alert(Severity.TICKET).outranked_by(TICKET)
    ticket = alert(Severity.TICKET).acknowledged("ann", "I look.", MARCH)
    assert ticket.outranked_by(PAGE)
    page = ticket.escalated(PAGE, LATER)
    assert (page.state, page.severity, page.summary) == (
        AlertState.OPEN,
        Severity.PAGE,
        "Much is bad.",
    )
    assert [step.action for step in page.steps] == ["ACKNOWLEDGED", "ESCALATED"]
    assert page.loud_since == LATER


def test_the_loudest_rule_speaks():
    paging = firing_of(reading(0, 0, 0.5))
    assert paging is not None
    assert (paging.severity, paging.error_class) == (Severity.PAGE, "BURN_RATE")
    assert "3 bad events in 1 h burn" in paging.summary
    assert "times in the last 5 min (" in paging.summary
    slow = firing_of(reading(1, 2, 5))
    assert slow is not None
    assert slow.severity is Severity.TICKET
    assert firing_of(reading()) is None


def test_a_spent_budget_is_a_class_of_its_own():
    spent = firing_of(reading(100, kind=SliKind.JOBS))
    assert spent is not None
    assert (spent.severity, spent.error_class) == (Severity.TICKET, "BUDGET_SPENT")
    # One of two, where one of a hundred may be.
    assert spent.summary.endswith("; it is spent 50 times over.")


def test_what_is_left_of_a_budget_is_told_while_there_is_some():
    good = [(MARCH - timedelta(minutes=15 * number), True) for number in range(1, 1998)]
    slo = Slo(meta=meta("slos/s"), sli=Sli(SliKind.AVAILABILITY), target=0.99, min_bad_events=1)
    burns = firing_of(read_slo(slo, SingleEvents([*good, *[(MARCH, False)] * 3])))
    assert burns is not None
    # Twenty of two thousand may be bad.
    assert burns.summary.endswith("; 85.0% of it is left.")


def test_an_alert_is_silent_until_its_time_and_then_no_longer():
    silenced = alert(Severity.PAGE).silenced("ann", "Known.", LATER, MARCH)
    assert silenced.is_silent(MARCH)
    assert not silenced.is_silent(LATER)
