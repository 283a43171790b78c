"""Budget policies that act: in force below one bar, lifted above another, told once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidRequest
from services.monitor.core.alerts.alerting import AlertState
from services.monitor.core.slos.budgets import read_slo
from services.monitor.core.slos.events import SingleEvents
from services.monitor.core.slos.objectives import BudgetAction, BudgetRule, Sli, SliKind, Slo
from services.monitor.core.slos.restraints import Restraint
from services.monitor.core.use_cases.monitors import delete_monitor
from services.monitor.core.use_cases.restraints import (
    forget_lifted,
    in_force,
    needs_restraining,
    restraints_of,
    rollout_hold,
    settle_restraints,
)
from services.monitor.core.use_cases.slos import create_slo, delete_slo, update_slo
from tests.support.monitor_database import monitor_database, written
from tests.support.monitor_values import ENDPOINT, MARCH, MONITOR, watched

SLO = f"{MONITOR}/slos/jobs"
FREEZE, STOP = BudgetAction.FREEZE_TRAINING, BudgetAction.STOP_ROLLOUTS
POLICY = (BudgetRule(FREEZE, 0.2, 0.5), BudgetRule(STOP, 0.0, 0.1))
PROJECT = "projects/default"

shares = st.integers(0, 100).map(lambda share: share / 100)


@pytest.fixture
async def database(database_url):
    async with monitor_database(database_url) as database:
        yield database


def promised(tx, policy=POLICY):
    watched(tx)
    return create_slo(
        tx,
        SLO,
        lambda meta: Slo(
            meta=meta, sli=Sli(SliKind.JOBS), target=0.9, min_bad_events=1, budget_policy=policy
        ),
    )


def settled(tx, bad):
    """The objective's restraints after it was seen with so many of 100 jobs failed."""
    times = [(MARCH + timedelta(hours=hour), hour >= bad) for hour in range(100)]
    monitor, slo = tx.monitors.get(MONITOR), tx.slos.get(SLO)
    reading = read_slo(slo, SingleEvents(times))
    settle_restraints(tx, monitor, reading)
    assert not needs_restraining(tx, reading)
    return [each.rule.action for each in restraints_of(tx, SLO)]


def alerts(tx):
    return [(each.error_class, each.state) for each in tx.alerts.under(MONITOR)]


@given(st.lists(st.integers(-100, 100), max_size=30), shares, shares)
def test_an_action_changes_only_beyond_its_two_bars(budgets, one, other):
    rule = BudgetRule(FREEZE, min(one, other), max(one, other))
    orders = False
    for left in budgets:
        remaining = Fraction(left, 100)
        before, orders = orders, rule.orders(remaining, in_force=orders)
        if orders and not before:
            assert remaining < Fraction(repr(rule.below))
        if before and not orders:
            assert remaining > Fraction(repr(rule.until_above))
        if Fraction(repr(rule.below)) <= remaining <= Fraction(repr(rule.until_above)):
            assert orders == before


async def test_a_falling_budget_freezes_then_stops_and_a_rising_one_lifts_in_turn(database):
    def fall_and_rise(tx):
        promised(tx)
        return [settled(tx, bad) for bad in (8, 9, 10, 11, 10, 9, 8, 6, 5, 4, 8)]

    # Ten bad jobs of 100 spend the whole budget.
    assert await written(database, fall_and_rise) == [
        *([], [FREEZE], [FREEZE], [FREEZE, STOP]),
        *([FREEZE, STOP], [FREEZE, STOP], [FREEZE], [FREEZE], [FREEZE]),
        *([], []),
    ]
    resolved = AlertState.RESOLVED
    assert await written(database, alerts) == [
        ("TRAINING_FROZEN", resolved),
        ("ROLLOUTS_STOPPED", resolved),
    ]


async def test_what_is_in_force_says_since_when_why_and_until_when(database):
    await written(database, lambda tx: (promised(tx), settled(tx, 12)))

    def look(tx):
        return in_force(tx, FREEZE, PROJECT), in_force(tx, FREEZE, "projects/other")

    found, elsewhere = await written(database, look)
    assert elsewhere is None
    assert found.remaining == pytest.approx(-0.2)
    assert "-20.0%" in found.reason
    assert "more than 50.0% is left" in found.reason
    assert "10.0%" in await written(database, lambda tx: rollout_hold(tx, ENDPOINT))
    assert await written(database, lambda tx: rollout_hold(tx, f"{ENDPOINT}-2")) == ""
    # The next process finds it as it was, and the same reading changes nothing.
    again = await written(database, lambda tx: (settled(tx, 12), look(tx)[0]))
    assert again == ([FREEZE, STOP], found)
    assert len(await written(database, alerts)) == 2


async def test_what_is_lifted_is_kept_until_the_trainer_knows_and_goes_on_under_its_uid(database):
    def lifted(tx):
        promised(tx)
        settled(tx, 9)
        first = in_force(tx, FREEZE, PROJECT)
        settled(tx, 0)
        (kept,) = tx.every_restraint()
        return first, kept

    first, kept = await written(database, lifted)
    assert kept.is_lifted
    assert in_force_now(await written(database, lambda tx: tx.every_restraint())) == []

    def again(tx):
        settled(tx, 9)
        forget_lifted(tx, kept)  # told too late: it is in force again
        return in_force(tx, FREEZE, PROJECT)

    back = await written(database, again)
    assert (back.meta.uid, back.is_lifted) == (first.meta.uid, False)

    def forgotten(tx):
        settled(tx, 0)
        (known,) = tx.every_restraint()
        forget_lifted(tx, known)
        return tx.every_restraint()

    assert await written(database, forgotten) == []


def in_force_now(restraints):
    return [each for each in restraints if not each.is_lifted]


async def test_an_alert_that_a_person_ends_is_opened_again_while_the_policy_is_in_force(database):
    def ended(tx):
        promised(tx)
        settled(tx, 9)
        (alert,) = tx.alerts.under(MONITOR)
        tx.alerts.replace(alert.resolved("ann", "I don't like it.", tx.now))
        settled(tx, 9)
        return alerts(tx)

    assert await written(database, ended) == [
        ("TRAINING_FROZEN", AlertState.RESOLVED),
        ("TRAINING_FROZEN", AlertState.OPEN),
    ]


async def test_a_changed_policy_is_in_force_as_changed_and_one_taken_away_is_lifted(database):
    def changed(tx, policy):
        slo = tx.slos.get(SLO)
        wanted = replace(slo, budget_policy=policy)
        update_slo(tx, SLO, lambda meta: replace(wanted, meta=meta), ["budget_policy"], etag="")
        settled(tx, 9)
        return [each.rule for each in in_force_now(tx.every_restraint())]

    await written(database, lambda tx: (promised(tx), settled(tx, 9)))
    later = BudgetRule(FREEZE, 0.2, 0.9)
    assert await written(database, lambda tx: changed(tx, (later,))) == [later]
    assert await written(database, lambda tx: changed(tx, ())) == []


@pytest.mark.parametrize("delete", [delete_slo, delete_monitor])
async def test_what_is_deleted_restrains_nobody(database, delete):
    def deleted(tx):
        promised(tx)
        settled(tx, 12)
        delete(tx, SLO if delete is delete_slo else MONITOR, etag="")
        return [(each.rule.action, each.is_lifted) for each in tx.every_restraint()]

    assert await written(database, deleted) == [(FREEZE, True)]


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ((BudgetRule(STOP, 0.5, 0.4),), "slo.budget_policy[0].until_above"),
        ((BudgetRule(STOP, 0, 0), BudgetRule(STOP, 0, 1)), "slo.budget_policy[1].action"),
    ],
)
async def test_a_policy_that_contradicts_itself_is_refused(database, policy, field):
    with pytest.raises(InvalidRequest) as refusal:
        await written(database, lambda tx: promised(tx, policy))
    assert [fault.field for fault in refusal.value.violations] == [field]


def test_names_of_restraints_are_told_apart_by_objective_and_action():
    assert Restraint.name_of(SLO, FREEZE) == f"{MONITOR}/restraints/jobs-freeze-training"
