"""What the monitor makes of a trainer's failing jobs, whatever happens to it meanwhile."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import timedelta

import pytest

from services.common.store import leases
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.adapters.failure_watch import FailureWatch
from services.monitor.core.alerts.alerting import AlertState
from services.monitor.core.alerts.incidents import QUIET
from tests.support.monitor_database import monitor_database
from tests.support.monitor_values import MARCH
from tests.support.scripted_trainer import PROJECT, scripted_trainer

MINUTE = timedelta(minutes=1)
TTL = timedelta(days=365)
MODEL = f"{PROJECT}/models/delays"


class Killed(Exception):
    """The process is gone."""


class DyingDatabase:
    """A database whose process is killed in every other write, before or after it is durable."""

    def __init__(self, database, luck):
        self._database = database
        self._luck = luck
        self.deaths = 0

    async def read(self, work):
        return await self._database.read(work)

    async def write(self, work):
        fate = self._luck.random()
        if fate < 0.25:
            self.deaths += 1
            raise Killed
        done = await self._database.write(work)
        if fate < 0.5:
            self.deaths += 1
            raise Killed
        return done


class Watched:
    """A watch on a scripted trainer, at a time that the test sets."""

    def __init__(self, database, channel, dying=None):
        self.now = MARCH
        self._database = database
        self._watch = FailureWatch(dying or database, channel, lambda: self.now)

    async def look(self):
        """Once, from the beginning to the end."""
        lease = await self._database.write(
            lambda tx: leases.claim(tx, "job-failures", "m", TTL, MARCH)
        )
        alive = False
        while not alive:
            with suppress(Killed):
                await self._watch.look(lease)
                alive = True

    async def read(self, work):
        return await self._database.read(lambda tx: work(SqlMonitorTx(tx, self.now)))

    async def alerts(self):
        return list(await self.read(lambda tx: tx.alerts.under(PROJECT)))


@pytest.fixture
async def database(database_url):
    async with monitor_database(database_url) as database:
        yield database


@pytest.fixture
async def trainer():
    async with scripted_trainer() as trainer:
        yield trainer


@pytest.fixture
async def watched(database, trainer):
    watched = Watched(database, trainer.channel)
    await watched.look()
    return watched


async def test_a_failed_job_is_an_alert_with_owner_runbook_and_what_lies_around_it(
    watched, trainer
):
    name = trainer.submit("one", MARCH)
    trainer.fail(name, "DATA_FAULT", MARCH, final=True)
    await watched.look()
    (alert,) = await watched.alerts()
    assert (alert.resource, alert.error_class, alert.owner) == (name, "DATA_FAULT", "ann")
    assert alert.runbook == "docs/runbooks/training/data-fault.md"
    assert "DATA_FAULT it is, <!here>." in alert.summary
    failure, found = alert.trouble.failure, alert.trouble.findings
    assert (failure.node, failure.trace_id[:4], failure.is_final) == ("n7", "0af7", True)
    assert failure.snapshot.endswith("flights/snapshots/s")
    assert (len(found.log), found.log[-1]) == (40, "line 100")
    assert [(each.series, each.step, each.value) for each in found.metrics] == [
        ("train_loss", 3, 0.25)
    ]
    assert found.checkpoint == "mlp-1, step 3, sha256:ab"


async def test_what_failed_before_the_first_look_and_what_is_tried_again_calls_nobody(
    database, trainer
):
    old = trainer.submit("old", MARCH)
    trainer.fail(old, "INTERNAL", MARCH, final=True)
    watched = Watched(database, trainer.channel)
    await watched.look()
    lost = trainer.submit("lost", MARCH)
    trainer.fail(lost, "WORKER_LOST", MARCH)
    trainer.fail(lost, "WORKER_LOST", MARCH + MINUTE, node="n8")
    await watched.look()
    assert await watched.alerts() == []
    trainer.fail(lost, "WORKER_LOST", MARCH + 2 * MINUTE, node="n9")
    await watched.look()
    assert [alert.resource for alert in await watched.alerts()] == [lost]


async def test_an_alert_ends_once_its_job_has_succeeded_and_all_has_been_quiet(watched, trainer):
    name = trainer.submit("one", MARCH)
    for minute in range(3):
        trainer.fail(name, "OUT_OF_MEMORY", MARCH + minute * MINUTE)
    await watched.look()
    trainer.end(name, "succeeded", MARCH + 5 * MINUTE)
    watched.now = MARCH + 5 * MINUTE
    await watched.look()
    (alert,) = await watched.alerts()
    assert (alert.state, alert.trouble.failures) == (AlertState.OPEN, 2)
    watched.now += QUIET
    await watched.look()
    (alert,) = await watched.alerts()
    assert alert.state is AlertState.RESOLVED
    assert alert.steps[-1].reason == "The job succeeded."


@pytest.mark.parametrize("way", ["cancelled", "deleted"])
async def test_nobody_is_called_for_a_job_that_nobody_wants_any_more(watched, trainer, way):
    name = trainer.submit("one", MARCH)
    trainer.fail(name, "INTERNAL", MARCH)
    await watched.look()
    if way == "deleted":
        del trainer.jobs[name]
        trainer.tell("deleted", name, MARCH)
    else:
        trainer.end(name, way, MARCH)
    await watched.look()
    watched.now += QUIET
    await watched.look()
    (alert,) = await watched.alerts()
    assert (alert.state, alert.steps[-1].reason) == (
        AlertState.RESOLVED,
        f"The job was {way}.",
    )


async def test_runs_that_come_again_share_an_alert_about_their_model(watched, trainer):
    for run in range(3):
        labels = {"recurring": "nightly"} if run else {"episode": "e"}
        name = trainer.submit(f"run-{run}", MARCH, labels=labels)
        trainer.fail(name, "NAN_LOSS", MARCH + run * MINUTE, final=True)
    await watched.look()
    (alert,) = await watched.alerts()
    assert (alert.resource, alert.trouble.failures) == (MODEL, 3)
    cancelled = trainer.submit("run-4", MARCH, labels={"recurring": "nightly"})
    trainer.end(cancelled, "cancelled", MARCH)
    await watched.look()
    assert (await watched.alerts())[0].trouble.recovered_time is None


async def test_a_job_that_gets_no_further_after_a_preemption_calls_somebody_in_the_end(
    watched, trainer
):
    stuck, slow = (trainer.submit(job, MARCH) for job in ("stuck", "slow"))
    for name in (stuck, slow):
        trainer.fail(name, "PREEMPTED", MARCH, node="")
    await watched.look()
    watched.now = MARCH + timedelta(hours=1, minutes=59)
    await watched.look()
    assert await watched.alerts() == []
    trainer.jobs[slow].progress = 0.4
    watched.now += MINUTE
    await watched.look()
    await watched.look()
    (alert,) = await watched.alerts()
    assert (alert.resource, alert.error_class) == (stuck, "PREEMPTED")
    assert "no further than 0%" in alert.summary


def script(trainer, luck):
    """Sixty jobs on four nodes, failing as luck has it; some succeed."""
    for job in range(60):
        name = trainer.submit(f"job-{job}", MARCH)
        node = f"n{luck.randint(1, 4)}"
        for attempt in range(luck.randint(0, 4)):
            kind = luck.choice(["WORKER_LOST", "OUT_OF_MEMORY", "PREEMPTED"])
            trainer.fail(name, kind, MARCH + (job + attempt) * MINUTE, node=node)
        match luck.randint(0, 2):
            case 0:
                trainer.fail(name, "DATA_FAULT", MARCH + job * MINUTE, node=node, final=True)
            case 1:
                trainer.end(name, "succeeded", MARCH + job * MINUTE)


async def story(watched):
    """All that can be told apart of what was noted and opened."""
    alerts = await watched.alerts()
    numbers = {incident: n for n, incident in enumerate(dict.fromkeys(a.incident for a in alerts))}
    told = [
        (
            each.resource,
            each.error_class,
            each.severity,
            each.trouble.failures,
            each.trouble.speaks,
            each.trouble.recovery,
            numbers[each.incident],
            [step.action for step in each.steps],
        )
        for each in alerts
    ]
    failures = await watched.read(lambda tx: tx.job_failures.under(PROJECT))
    return told, [(each.failure.name, each.is_over) for each in failures]


async def test_kills_in_the_midst_of_it_lose_nothing_and_note_nothing_twice(
    tmp_path, trainer, database
):
    async with monitor_database(f"sqlite:///{tmp_path}/dying.db") as second:
        dying = DyingDatabase(second, random.Random(1))
        calm = Watched(database, trainer.channel)
        killed = Watched(second, trainer.channel, dying)
        for watched in (calm, killed):
            await watched.look()
        luck = random.Random(7)
        script(trainer, luck)
        for watched in (calm, killed):
            await watched.look()
            watched.now += QUIET + timedelta(hours=2)
            await watched.look()
        assert dying.deaths > 30
        told = await story(calm)
        assert await story(killed) == told
        assert len(told[0]) > 5
        assert len(told[1]) > 60
