"""A month of failed requests, slow ones and failed jobs: exactly the alerts that it should have."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.core.alerts.alerting import AlertState, firing_of
from services.monitor.core.slos.budgets import Severity, read_slo
from services.monitor.core.slos.events import MinuteEvents, SingleEvents
from services.monitor.core.slos.objectives import Sli, SliKind, Slo
from services.monitor.core.use_cases.alerts import needs_settling, settle_alert
from services.monitor.core.use_cases.slos import create_slo
from services.monitor.core.windows import to_us
from tests.support.monitor_database import monitor_database
from tests.support.monitor_values import MARCH, MONITOR, watched

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
A_MINUTE = 100
MINUTES = 30 * 1440
EVENTFUL = {3, 10, 11, *range(20, 25), 27}
"""Days that are looked at every five minutes; the others hourly."""


def minute(day: float, hour: float = 0.0) -> int:
    return int(day * 1440 + hour * 60)


def failed() -> np.ndarray:
    """Of the requests of each minute."""
    bad = np.zeros(MINUTES, np.int64)
    bad[minute(3, 10) :][:80] = A_MINUTE  # nothing is answered for 80 minutes: 8,000
    bad[minute(10, 12.5) :][:30] = 20  # a fifth fails for half an hour: 600
    bad[minute(20) :][: 84 * 60 : 20] = 3  # 1.5 of 1,000 fail for three and a half days: 756
    return bad


def slow() -> np.ndarray:
    """Of the answers of each minute."""
    bad = np.zeros(MINUTES, np.int64)
    bad[minute(10, 12) :][:60] = A_MINUTE - failed()[minute(10, 12) :][:60]  # all: 5,400
    return bad


def jobs():
    """Forty a day, of which none fails but 24 in a row on the 27th: more than 1 in 100."""
    ends = [MARCH + minutes * MINUTE for minutes in range(0, MINUTES, 36)]
    broken = MARCH + 27 * DAY
    return [(end, not broken <= end < broken + 24 * 36 * MINUTE) for end in ends]


class Counted:
    """The events of an objective up to a minute, counted as they come."""

    def __init__(self, bad: np.ndarray, total: np.ndarray) -> None:
        self.events = MinuteEvents()
        self._bad, self._total, self._done = bad, total, 0

    def until(self, end: int) -> MinuteEvents:
        total = self._total[self._done : end]
        minutes = np.repeat(np.arange(self._done, end), total)
        place = np.arange(minutes.size) - np.repeat(np.cumsum(total) - total, total)
        self.events.count(to_us(MARCH) // 60_000_000 + minutes, place >= self._bad[minutes])
        self._done = end
        return self.events


def looks():
    """The minutes at which the objectives are read."""
    day = [
        range(start, start + 1440, 5 if start // 1440 in EVENTFUL else 60)
        for start in range(0, MINUTES, 1440)
    ]
    return [moment for moments in day for moment in moments if moment]


def objective(slo_id, kind, target, **sli):
    return f"{MONITOR}/slos/{slo_id}", lambda meta: Slo(
        meta=meta, sli=Sli(kind, **sli), target=target, min_bad_events=10
    )


@pytest.fixture
async def database(sqlite_url):
    async with monitor_database(sqlite_url) as database:
        yield database


def test_fifteen_thousand_failures_are_four_incidents_and_the_expected_alerts(database):
    def begun(tx):
        return [
            create_slo(tx, *objective("answers", SliKind.AVAILABILITY, 0.999)),
            create_slo(
                tx,
                *objective("fast", SliKind.LATENCY, 0.99, latency_bound=timedelta(seconds=1)),
            ),
            create_slo(tx, *objective("jobs", SliKind.JOBS, 0.99)),
        ]

    monitor, (answers, fast, trained) = database.write_now(
        lambda connection: (
            watched(tx := SqlMonitorTx(connection, MARCH), owner="ops"),
            begun(tx),
        )
    )
    asked, lost, late = np.full(MINUTES, A_MINUTE), failed(), slow()
    requests, replies = Counted(lost, asked), Counted(late, asked - lost)
    ended, spoken = jobs(), {}
    assert lost.sum() + late.sum() + sum(not good for _, good in ended) == 14_780

    for now in looks():
        moment = MARCH + now * MINUTE
        readings = {
            "answers": read_slo(answers, requests.until(now)),
            "fast": read_slo(fast, replies.until(now)),
        }
        if now % 360 == 0:
            known = SingleEvents(each for each in ended if each[0] < moment)
            readings["jobs"] = read_slo(trained, known)
        answered = now * A_MINUTE - lost[:now].sum()
        analytic = {
            "answers": lost[:now].sum() / (now * A_MINUTE * 0.001),
            "fast": late[:now].sum() / (answered * 0.01),
        }
        for name, spent in analytic.items():
            consumed = float(readings[name].budget.consumed)
            assert consumed == pytest.approx(spent, rel=1e-9, abs=1e-9)
        for name, reading in readings.items():
            firing = firing_of(reading)
            loud = firing and firing.severity
            if loud != spoken.get(name):

                def settle(connection, reading=reading, moment=moment):
                    tx = SqlMonitorTx(connection, moment)
                    settle_alert(tx, monitor, reading)
                    assert not needs_settling(tx, reading)

                database.write_now(settle)
                spoken[name] = loud

    alerts = database.write_now(
        lambda connection: list(SqlMonitorTx(connection, MARCH).alerts.under(MONITOR))
    )
    found = [
        (
            (each.meta.create_time - MARCH).days,
            each.resource.rpartition("/")[2],
            each.error_class,
            each.severity,
            [step.action.value for step in each.steps],
        )
        for each in alerts
    ]
    ends = ["OPENED", "RESOLVED"]
    assert found == [
        (3, "answers", "BURN_RATE", Severity.PAGE, ends),
        (10, "fast", "BURN_RATE", Severity.PAGE, ends),
        (10, "answers", "BURN_RATE", Severity.PAGE, ends),
        (22, "answers", "BURN_RATE", Severity.TICKET, ends),
        (27, "jobs", "BUDGET_SPENT", Severity.TICKET, ["OPENED"]),
    ]
    # What burnt together on the tenth is one thing to look at.
    assert len({each.incident for each in alerts}) == 4
    assert alerts[1].incident == alerts[2].incident
    assert {each.state for each in alerts[:-1]} == {AlertState.RESOLVED}
