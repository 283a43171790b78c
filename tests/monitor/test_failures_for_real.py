"""Failed jobs of a real trainer, and a real monitor that is killed while it hears of failures."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing, contextmanager

import pytest
from roundhouse.monitor.v1 import alert_service_pb2

from services.common.clock import utc_now
from services.common.store.database import Database
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.trainer.core.spec import Feature, FeatureKind
from tests.support.calls import TIMEOUT_S
from tests.support.eventually import eventually
from tests.support.monitor_api import NOBODY, running_monitor
from tests.support.processes import interpreter_environment
from tests.support.scripted_trainer import PROJECT, scripted_trainer
from tests.support.trainer_api import running_trainer

pytestmark = pytest.mark.real

JOBS = 90
DEADLINE_S = 60.0
ONE_LABEL = b"event_time,distance,late\n" + b"".join(
    b"2013-01-%02dT00:00:00Z,%d.5,0\n" % (day, day) for day in range(1, 29)
)


async def test_a_real_trainer_s_failure_is_an_alert_with_the_end_of_its_log(tmp_path):
    async with (
        running_trainer(tmp_path) as trainer,
        running_monitor(tmp_path / "monitor", trainer.address) as monitor,
    ):
        database = tmp_path / "monitor" / "metadata.db"
        await eventually(lambda: counted(database, "outbox_cursor") > 0)
        snapshot = await trainer.registry.sealed_snapshot("calm", ONE_LABEL)
        distance = Feature("distance", FeatureKind.NUMERIC)
        name = await trainer.submit("first", snapshot=snapshot, features=(distance,), slices=())
        await trainer.until_over(name)
        await eventually(lambda: counted(database, "alert") == 1)
        request = alert_service_pb2.ListAlertsRequest(parent=PROJECT)
        (alert,) = (await monitor.alerts.ListAlerts(request, timeout=TIMEOUT_S)).alerts
        failure = alert.trouble.failure
        assert (alert.resource, alert.error_class) == (name, "DATA_FAULT")
        assert (failure.attempt, failure.final, failure.snapshot) == (1, True, snapshot)
        assert failure.node
        assert len(alert.trouble.evidence.log) > 0


def counted(database, table):
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(f"select count(*) from {table}").fetchone()[0]


@contextmanager
def monitor_process(folder, trainer):
    """One that is killed at the end of the block, with all that it holds in memory."""
    settings = {
        "LISTEN": "127.0.0.1:0",
        "METRICS_LISTEN": "127.0.0.1:0",
        "DASHBOARD_LISTEN": "",
        "DATA_DIR": str(folder),
        "TRAINER_ADDRESS": trainer,
        "REGISTRY_ADDRESS": NOBODY,
        "INFERENCE_ADDRESS": NOBODY,
        "REPLICA_ID": "m",
    }
    environment = {f"ROUNDHOUSE_MONITOR_{name}": value for name, value in settings.items()}
    with (folder.parent / "monitor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.monitor"],
            env={**interpreter_environment(), **environment},
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


async def test_a_monitor_killed_while_it_hears_notes_each_failure_once(tmp_path):
    folder = tmp_path / "monitor"
    database = folder / "metadata.db"
    async with scripted_trainer() as trainer:
        with monitor_process(folder, trainer.address):
            async with asyncio.timeout(DEADLINE_S):
                await trainer.first_look.wait()
        for job in range(JOBS):
            name = trainer.submit(f"job-{job}", utc_now())
            trainer.fail(name, "WORKER_LOST", utc_now(), node="n1")
            trainer.fail(name, "DATA_FAULT", utc_now(), node="n1", final=True)
        for share in (0.2, 0.6, 1.0):
            with monitor_process(folder, trainer.address):
                await eventually(
                    lambda wanted=2 * JOBS * share: counted(database, "job_failure") >= wanted,
                    within_s=DEADLINE_S,
                )

    opened = Database(f"sqlite:///{database}")
    try:
        alerts = opened.read_now(lambda tx: SqlMonitorTx(tx, utc_now()).alerts.under(PROJECT))
    finally:
        opened.close()
    assert counted(database, "job_failure") == 2 * JOBS
    told = Counter((alert.resource, alert.error_class) for alert in alerts)
    assert set(told.values()) == {1}
    by_class = Counter()
    for alert in alerts:
        by_class[alert.error_class] += alert.trouble.failures
    # The first two workers that were lost called nobody.
    assert by_class == {"DATA_FAULT": JOBS, "WORKER_LOST": JOBS - 2}
    assert len({alert.incident for alert in alerts}) == 2
