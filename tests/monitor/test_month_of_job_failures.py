"""A month of failed attempts at training jobs, with planted causes: exactly their incidents."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import select

from services.common.store.tables import EVENT
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.core.alerts.failures import Findings
from services.monitor.core.alerts.incidents import incidents_of
from services.monitor.core.use_cases import failures
from tests.support.job_failures import PROJECT, job_failure
from tests.support.monitor_database import monitor_database
from tests.support.monitor_values import MARCH

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
MONTH = 30 * DAY
WIDE = f"{PROJECT}/datasets/flights/snapshots/wide"
ROTTEN = f"{PROJECT}/datasets/flights/snapshots/rotten"
SUCCEEDED = "The job succeeded."


@dataclass
class Month:
    """What happens in it, in the order of time."""

    happenings: list = field(default_factory=list)
    failed: int = 0
    _order: count = field(default_factory=count)

    def _at(self, time: datetime, work) -> None:
        heapq.heappush(self.happenings, (time, next(self._order), work))

    def fail(self, job, attempt, error_class, time, **facts):
        failure = job_failure(job, attempt, error_class, time, **facts)
        self.failed += 1
        self._at(time, lambda tx: failures.note_failure(tx, failure, Findings(log=("last line",))))
        if failure.is_final:
            self._at(time, lambda tx: failures.note_end(tx, failure.job, failure.line, ""))

    def succeed(self, job, time, line=""):
        name = f"{PROJECT}/trainingJobs/{job}"
        self._at(time, lambda tx: failures.note_end(tx, name, line or name, SUCCEEDED))

    def look(self, time):
        self._at(time, failures.settle_recovered)


def bad_node(month):
    """Whatever comes to n7 on the 4th loses its worker, over and over; elsewhere it succeeds."""
    for job in range(40):
        start = MARCH + 4 * DAY + job * MINUTE
        for attempt in range(12):
            month.fail(
                f"n7-{job}", attempt + 1, "WORKER_LOST", start + 20 * attempt * MINUTE, node="n7"
            )
        month.succeed(f"n7-{job}", start + 6 * HOUR)


def bad_data(month):
    """Thirty models are trained again on a rotten snapshot, every 20 minutes for three days."""
    for model in range(30):
        line = f"{PROJECT}/models/m{model}"
        start = MARCH + 9 * DAY + model * MINUTE / 2
        for run in range(216):
            month.fail(
                f"rotten-{model}-{run}", 1, "DATA_FAULT", start + 20 * run * MINUTE,
                line=line, model=line, snapshot=ROTTEN, node=f"n{run % 6}", is_final=True,
            )  # fmt: skip
        month.succeed(f"rotten-{model}-216", start + 3 * DAY, line)


def wide_release(month):
    """The data set gets ten times as wide: for two days, all that train on it lack memory."""
    for model in range(25):
        line = f"{PROJECT}/models/r{model}"
        for run in range(48):
            time = MARCH + 15 * DAY + run * HOUR + model * MINUTE
            facts = {"line": line, "model": line, "snapshot": WIDE, "node": f"n{(run + model) % 6}"}
            month.fail(f"oom-{model}-{run}", 1, "OUT_OF_MEMORY", time, **facts)
            month.fail(
                f"oom-{model}-{run}", 2, "OUT_OF_MEMORY", time + MINUTE, **facts, is_final=True
            )
        month.succeed(f"oom-{model}-48", MARCH + 17 * DAY + model * MINUTE, line)


def spot(month):
    """Spot machines go as they do, twice a job; four jobs lose theirs eight times in an hour."""
    for job in range(300):
        start = MARCH + 20 * DAY + job * 5 * MINUTE
        for attempt in range(2):
            time = start + attempt * 10 * MINUTE
            month.fail(
                f"spot-{job}", attempt + 1, "PREEMPTED", time, node="", progress=0.1 * attempt
            )
        month.succeed(f"spot-{job}", start + HOUR)
    for job in range(4):
        start = MARCH + 22 * DAY + job * MINUTE
        for attempt in range(8):
            time = start + attempt * 7 * MINUTE
            month.fail(f"starved-{job}", attempt + 1, "PREEMPTED", time, progress=0.1 * attempt)
        month.succeed(f"starved-{job}", start + 4 * HOUR)


def flapping(month):
    """A nightly bug comes and goes every other hour of the 13th."""
    line = f"{PROJECT}/models/flapping"
    for run in range(24):
        time = MARCH + 13 * DAY + run * HOUR
        if run % 2 == 0:
            month.fail(f"flap-{run}", 1, "INTERNAL", time, line=line, model=line, is_final=True)
        else:
            month.succeed(f"flap-{run}", time, line)


def registry_away(month):
    """For twenty minutes of the 26th, forty jobs can't reach it; then they go on."""
    for job in range(40):
        start = MARCH + 26 * DAY + job * 5 * timedelta(seconds=1)
        for attempt in range(4):
            time = start + attempt * 5 * MINUTE
            month.fail(
                f"away-{job}", attempt + 1, "DEPENDENCY_UNAVAILABLE", time, node=f"n{job % 6}"
            )
        month.succeed(f"away-{job}", start + HOUR)


def critical_loss(month):
    """One job that has to go on while all else is frozen fails for good."""
    time = MARCH + 28 * DAY
    month.fail("main", 1, "NAN_LOSS", time, critical=True, is_final=True)


def bad_luck(month):
    """A worker is lost once a day, on another node each time, and memory runs out once a week."""
    for day in range(30):
        time = MARCH + day * DAY + 3 * HOUR
        month.fail(f"unlucky-{day}", 1, "WORKER_LOST", time, node=f"n{day}")
        month.succeed(f"unlucky-{day}", time + HOUR)
    for week in range(4):
        time = MARCH + (7 * week + 5) * DAY
        month.fail(f"tight-{week}", 1, "OUT_OF_MEMORY", time, node="n2")
        month.succeed(f"tight-{week}", time + HOUR)


EXPECTED = [
    # day, class, what they share, how loud, alerts, failures that they stand for
    (4, "WORKER_LOST", "node n7", "PAGE", 40, 478),
    (9, "DATA_FAULT", ROTTEN, "TICKET", 30, 6480),
    (13, "INTERNAL", "node n1", "TICKET", 1, 12),
    (15, "OUT_OF_MEMORY", WIDE, "PAGE", 25, 2394),
    (22, "PREEMPTED", PROJECT, "TICKET", 4, 16),
    (26, "DEPENDENCY_UNAVAILABLE", PROJECT, "PAGE", 40, 148),
    (28, "NAN_LOSS", f"{PROJECT}/datasets/main/snapshots/s", "PAGE", 1, 1),
]


@pytest.fixture
async def database(sqlite_url):
    async with monitor_database(sqlite_url) as database:
        yield database


def test_ten_thousand_failed_attempts_are_seven_incidents_and_people_are_told_of_each_once(
    database,
):
    month = Month()
    for planted in (
        bad_node, bad_data, wide_release, spot, flapping, registry_away, critical_loss, bad_luck
    ):  # fmt: skip
        planted(month)
    for hours in range(30 * 24):
        month.look(MARCH + hours * HOUR + MINUTE)
    assert month.failed >= 10_000

    def lived(connection):
        while month.happenings:
            time, _, work = heapq.heappop(month.happenings)
            work(SqlMonitorTx(connection, time))
        return list(SqlMonitorTx(connection, MARCH).alerts.under(PROJECT))

    alerts = database.write_now(lived)
    found = sorted(incidents_of(alerts), key=lambda each: each.create_time)
    assert [
        (
            (each.create_time - MARCH).days,
            *each.error_classes,
            each.cause,
            each.severity.value,
            each.alerts,
            each.failures,
        )
        for each in found
    ] == EXPECTED
    # All but the job that failed for good has ended by itself.
    assert [each.state.value for each in found] == ["RESOLVED"] * 6 + ["OPEN"]

    def sent(connection):
        rows = connection.execute(select(EVENT.c.type, EVENT.c.data).order_by(EVENT.c.seq))
        return [
            (row.type.rpartition(".")[2], row.data["error_class"], row.data["severity"])
            for row in rows
            if not row.data["silent"]
        ]

    opened = [each[1:] for each in database.read_now(sent) if each[0] == "opened"]
    # People hear of each incident once, and again when it becomes a page.
    assert opened == [
        ("WORKER_LOST", "TICKET"),
        ("WORKER_LOST", "PAGE"),
        ("DATA_FAULT", "TICKET"),
        ("INTERNAL", "TICKET"),
        ("OUT_OF_MEMORY", "TICKET"),
        ("OUT_OF_MEMORY", "PAGE"),
        ("PREEMPTED", "TICKET"),
        ("DEPENDENCY_UNAVAILABLE", "TICKET"),
        ("DEPENDENCY_UNAVAILABLE", "PAGE"),
        ("NAN_LOSS", "PAGE"),
    ]
