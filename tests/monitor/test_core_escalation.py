"""Which pages go up, to whom and when, whatever was done about them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.resources import Meta
from services.monitor.adapters.alertmanager import as_posted
from services.monitor.core.alerts.alerting import (
    Alert,
    AlertAction,
    AlertState,
    AlertStep,
    ErrorClass,
)
from services.monitor.core.alerts.escalation import Escalation, Level, reason_of
from services.monitor.core.slos.budgets import Severity
from tests.support.monitor_values import MARCH, MONITOR

MINUTE = timedelta(minutes=1)
FIRST = Level(15 * MINUTE, "managers")
SECOND = Level(60 * MINUTE, "directors")
POLICY = Escalation(("managers", "directors"), (SECOND, FIRST))


def page(severity=Severity.PAGE, error_class=ErrorClass.BURN_RATE):
    return Alert(
        meta=Meta(f"{MONITOR}/alerts/a", "a", 1, MARCH, MARCH),
        resource=f"{MONITOR}/slos/s",
        error_class=error_class,
        severity=severity,
        state=AlertState.OPEN,
        incident="i",
        summary="It burns.",
        event_time=MARCH,
        owner="ops",
        runbook="r.md",
        steps=(AlertStep(AlertAction.OPENED, "monitor", "It burns.", MARCH),),
    )


def at(minutes):
    return MARCH + minutes * MINUTE


def test_each_level_is_told_once_when_its_time_has_come():
    alert = page()
    assert POLICY.due(alert, at(14)) is None
    assert POLICY.due(alert, at(15)) == FIRST
    alert = alert.handed_up("managers", "monitor", reason_of(FIRST), at(15))
    assert POLICY.due(alert, at(59)) is None
    assert POLICY.due(alert, at(60)) == SECOND
    alert = alert.handed_up("directors", "monitor", reason_of(SECOND), at(60))
    assert POLICY.due(alert, at(600)) is None
    assert alert.receivers == ("managers", "directors")
    assert alert.steps[1].reason == "Nobody has acknowledged it for 15 min."


def test_after_a_long_stop_the_levels_that_were_missed_are_told_in_their_order():
    alert, told = page(), []
    while (level := POLICY.due(alert, at(600))) is not None:
        told.append(level.receiver)
        alert = alert.handed_up(level.receiver, "monitor", "late", at(600))
    assert told == ["managers", "directors"]


@pytest.mark.parametrize(
    "alert",
    [
        page(Severity.TICKET),
        page().acknowledged("ann", "I look.", at(1)),
        page().resolved("ann", "Over.", at(1)),
        page().silenced("ann", "Known.", at(1000), at(1)),
    ],
)
def test_tickets_and_what_somebody_sees_to_go_up_to_nobody(alert):
    assert POLICY.due(alert, at(600)) is None


def test_the_end_of_a_silence_lets_a_page_go_up():
    alert = page().silenced("ann", "Known.", at(100), at(1))
    assert POLICY.due(alert, at(100)) == FIRST


def test_the_time_runs_from_when_it_became_a_page_or_was_taken_up_again():
    raised = page(Severity.TICKET).raised("ann", "It is worse than it looks.", at(100))
    assert (raised.severity, raised.loud_since) == (Severity.PAGE, at(100))
    assert POLICY.due(raised, at(114)) is None
    assert POLICY.due(raised, at(115)) == FIRST
    again = page().acknowledged("ann", "", at(5)).handed_up("managers", "bob", "Help.", at(200))
    assert (again.state, again.loud_since) == (AlertState.OPEN, MARCH)
    assert POLICY.due(again, at(259)) is None
    assert POLICY.due(again, at(260)) == SECOND


def test_a_level_for_some_classes_is_for_no_other():
    some = Level(MINUTE, "managers", frozenset({ErrorClass.BUDGET_SPENT}))
    policy = Escalation(("managers",), (some,))
    assert policy.due(page(), at(600)) is None
    assert policy.due(page(error_class=ErrorClass.BUDGET_SPENT), at(600)) == some


def test_by_hand_it_goes_to_the_next_level_and_after_the_last_to_that_again():
    alert, told = page(), []
    for minute in range(3):
        told.append(POLICY.next_receiver(alert))
        alert = alert.handed_up(told[-1], "ann", "Help.", at(minute))
    assert told == ["managers", "directors", "directors"]
    assert Escalation(("managers",)).next_receiver(page()) == "managers"
    assert Escalation().next_receiver(page()) == ""


def test_alertmanager_hears_of_no_ticket_that_a_page_never_was():
    up = page().handed_up("managers", "ann", "Help.", at(1))
    (posted,) = as_posted([up], at(2), at(3))
    assert posted["labels"]["severity"] == "page"
    assert posted["annotations"]["escalated_to"] == "managers"
    raised = page(Severity.TICKET).raised("ann", "Worse.", at(1))
    assert [each["labels"]["severity"] for each in as_posted([raised], at(2), at(3))] == [
        "ticket",
        "page",
    ]


_STEPS = st.lists(
    st.tuples(st.sampled_from(["acknowledge", "silence", "up", "wait"]), st.integers(1, 90)),
    max_size=12,
)


@given(_STEPS)
def test_nobody_is_told_twice_while_nobody_sees_to_it_and_never_while_somebody_does(steps):
    alert, minute = page(), 0
    told = set()
    for action, minutes in steps:
        minute += minutes
        match action:
            case "acknowledge":
                alert, told = alert.acknowledged("ann", "", at(minute)), None
            case "silence":
                alert = alert.silenced("ann", "Known.", at(minute + 30), at(minute))
            case "up":
                told = {"managers"} if told is None else {*told, "managers"}
                alert = alert.handed_up("managers", "ann", "Help.", at(minute))
            case _:
                pass
        level = POLICY.due(alert, at(minute))
        if level is not None:
            assert told is not None
            assert level.receiver not in told
            assert not alert.is_silent(at(minute))
            told.add(level.receiver)
            alert = alert.handed_up(level.receiver, "monitor", "late", at(minute))
