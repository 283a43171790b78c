"""Error budgets and burn rates, against their formulas and over a month of planted incidents."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.resources import Meta
from services.monitor.core.errors import BudgetNotKept
from services.monitor.core.resources import PerformanceReport
from services.monitor.core.slos.budgets import AsOf, Budget, Counts, burn_rate, read_slo
from services.monitor.core.slos.events import (
    KEPT_MINUTES,
    MinuteEvents,
    SingleEvents,
    judged_windows,
)
from services.monitor.core.slos.objectives import QualityBar, Sli, SliKind, Slo
from services.monitor.core.windows import to_us
from tests.support.monitor_values import MARCH, MONITOR

META = Meta(f"{MONITOR}/slos/s", "u", 1, MARCH, MARCH)
FIRST_MINUTE = to_us(MARCH) // 60_000_000
MINUTE = timedelta(minutes=1)
A_MINUTE = 100
MINUTES = 30 * 1440

counts = st.integers(0, 10**9).flatmap(
    lambda total: st.builds(Counts, st.integers(0, total), st.just(total))
)
targets = st.integers(1, 99_999).map(lambda share: share / 100_000)


def objective(kind=SliKind.AVAILABILITY, **fields):
    fields = {"meta": META, "sli": Sli(kind), "target": 0.999, "min_bad_events": 10, **fields}
    return Slo(**fields)


def events(minutes, good):
    counted = MinuteEvents()
    counted.count(np.asarray(minutes, np.int64), np.asarray(good, bool))
    return counted


@given(counts, targets)
def test_a_budget_is_what_the_formula_says(counted, target):
    budget = Budget(Fraction(repr(target)), counted)
    assert float(budget.allowed) == pytest.approx((1 - target) * counted.total, abs=1e-9, rel=1e-9)
    assert budget.consumed + budget.remaining == 1
    assert budget.consumed * budget.allowed == counted.bad or counted.total == 0
    if counted.total:
        expected = (counted.bad / counted.total) / (1 - target)
        assert float(budget.consumed) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert (budget.remaining < 0) == (budget.sli < Fraction(repr(target)))


@given(st.lists(counts, min_size=1, max_size=5), targets)
def test_spans_put_together_burn_as_their_mean_weighted_by_events(spans, target):
    exact = Fraction(repr(target))
    whole = Counts(sum(each.good for each in spans), sum(each.total for each in spans))
    weighted = sum(burn_rate(each, exact) * each.total for each in spans)
    assert burn_rate(whole, exact) * whole.total == weighted


def test_a_target_is_the_decimal_that_it_is_written_as():
    slo = objective(target=0.999)
    assert slo.exact_target == Fraction(999, 1000)
    assert Budget(slo.exact_target, Counts(999, 1000)).remaining == 0


@given(
    st.lists(st.tuples(st.integers(0, 3 * KEPT_MINUTES), st.booleans()), max_size=40),
    st.integers(1, KEPT_MINUTES),
)
def test_minutes_count_as_the_events_one_by_one_do(made, minutes):
    counted = MinuteEvents()
    for minute, good in made:
        counted.count(np.array([minute]), np.array([good]))
    newest = max((minute for minute, _ in made), default=0)
    inside = [good for minute, good in made if minute > newest - minutes]
    assert counted.over(minutes * MINUTE) == Counts(sum(inside), len(inside))


@given(
    st.lists(st.tuples(st.integers(0, 200), st.booleans()), min_size=1, max_size=40),
    st.integers(0, 200),
    st.integers(1, 300),
)
def test_a_budget_of_an_earlier_time_counts_what_was_there_then(made, end, minutes):
    times = [(MARCH + minute * MINUTE, good) for minute, good in made]
    grouped = events([FIRST_MINUTE + minute for minute, _ in made], [good for _, good in made])
    inside = [good for minute, good in made if end - minutes <= minute < end]
    moment = MARCH + end * MINUTE
    for counted in (SingleEvents(times), grouped):
        if counted.until > moment:
            earlier = AsOf(counted, moment)
            assert earlier.over(minutes * MINUTE) == Counts(sum(inside), len(inside))


def test_a_budget_of_a_time_that_is_forgotten_is_not_guessed():
    counted = events([FIRST_MINUTE, FIRST_MINUTE + KEPT_MINUTES], [False, True])
    oldest = MARCH + timedelta(days=30) + MINUTE
    assert read_slo(objective(), counted, oldest).time == oldest
    with pytest.raises(BudgetNotKept):
        read_slo(objective(), counted, oldest - MINUTE)


def test_a_window_that_equals_the_bar_is_good_and_one_with_few_outcomes_does_not_count():
    def report(week, outcomes, **metrics):
        end = MARCH + timedelta(weeks=week)
        return PerformanceReport(
            meta=META,
            version="",
            window_start=end - timedelta(weeks=1),
            window_end=end,
            predictions=outcomes,
            outcomes=outcomes,
            metrics=metrics,
            auc_half_width=0.0,
            log_loss_half_width=0.0,
        )

    reports = [
        report(1, 500, auc=0.85, log_loss=0.5),
        report(2, 500, auc=0.8499),
        report(3, 499, auc=0.1),
        report(4, 900),
    ]
    month = timedelta(days=30)
    assert judged_windows(reports, QualityBar("auc", 0.85, 500)).over(month) == Counts(1, 2)
    assert judged_windows(reports, QualityBar("log_loss", 0.5, 1)).over(month) == Counts(1, 1)


def test_where_events_are_few_a_ticket_tells_that_the_budget_is_overspent():
    slo = objective(SliKind.JOBS, target=0.5, min_bad_events=1)
    times = [MARCH + timedelta(days=day) for day in range(4)]

    def firing(*good):
        (rule,) = read_slo(slo, SingleEvents(zip(times, good, strict=True))).burning
        return rule.firing

    assert not firing(True, True, False, False)
    assert firing(True, False, False, False)
    early = [(MARCH - timedelta(days=40), False)] * 9
    assert not read_slo(slo, SingleEvents([*early, (MARCH, True)])).burning[0].firing


def test_few_bad_events_fire_nothing_however_fast_they_burn():
    bad = [FIRST_MINUTE + minute for minute in range(9)]
    assert not any(each.firing for each in read_slo(objective(), events(bad, [False] * 9)).burning)
    bad.append(FIRST_MINUTE + 9)
    assert all(each.firing for each in read_slo(objective(), events(bad, [False] * 10)).burning)


def bad_by_minute():
    """A month at 100 requests a minute; nearly always one of 10,000 fails, but three times more."""
    bad = np.zeros(MINUTES, np.int64)
    bad[::100] = 1
    bad[minute_of(day=3) :][:10] = 100  # everything for 10 minutes
    bad[minute_of(day=10) :][: 10 * 60 : 5] = 4  # 8 of 1,000 for 10 hours
    bad[minute_of(day=20) :][: 84 * 60 : 20] = (
        3  # 1.5 of 1,000 for 3.5 days: after 43.2 h, 3 days burn by more than 1
    )
    return bad


def minute_of(day):
    return day * 1440


def test_a_month_of_planted_incidents_spends_the_analytic_budget_and_fires_exactly_for_them():
    slo, counted, bad = objective(), MinuteEvents(), bad_by_minute()
    fired, before = [], set()
    for start in range(0, MINUTES, 5):
        chunk = bad[start : start + 5]
        good = np.concatenate([np.arange(A_MINUTE) >= each for each in chunk])
        counted.count(FIRST_MINUTE + np.repeat(np.arange(start, start + 5), A_MINUTE), good)
        reading = read_slo(slo, counted)
        spent = bad[: start + 5].sum() / (A_MINUTE * (start + 5) * 0.001)
        assert float(reading.budget.consumed) == pytest.approx(spent, rel=1e-9, abs=1e-9)
        firing = {each.rule for each in reading.burning if each.firing}
        fired += [
            (start // 1440, str(rule.severity), float(rule.factor)) for rule in firing - before
        ]
        before = firing
    assert sorted(fired) == [
        (3, "PAGE", 6.0),
        (3, "PAGE", 14.4),
        (3, "TICKET", 1.0),
        (10, "PAGE", 6.0),
        (10, "TICKET", 1.0),
        (21, "TICKET", 1.0),
    ]
    assert before == set()
