"""Two monitors on one PostgreSQL: one episode for a window, and one job for an episode."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack

import pytest
from roundhouse.trainer.v1 import job_pb2
from roundhouse.trainer.v1 import job_service_pb2_grpc as job_grpc
from sqlalchemy import select

from services.common.clock import utc_now
from services.common.rpc.server import serving
from services.common.store.tables import LEASE
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.core.evidence import Evidence
from services.monitor.core.loop.episodes import EpisodeState
from services.monitor.core.use_cases.retraining import consider_retraining, save_episode
from tests.contracts.minimal_requests import minimal_request
from tests.support.monitor_api import NOBODY
from tests.support.monitor_database import monitor_database, written
from tests.support.monitor_values import (
    CHAMPION,
    DATASET,
    JOB,
    MARCH,
    MONITOR,
    new_episode,
    policy_of,
    watched,
)
from tests.support.processes import ServerProcess, free_ports, interpreter_environment

pytestmark = pytest.mark.timeout(240)

_TAKE_OVER_S = 60.0


class Trainer(job_grpc.JobServiceServicer):
    """Makes one job for a request id; the first call's answer never arrives."""

    def __init__(self) -> None:
        self.jobs: dict[str, job_pb2.TrainingJob] = {}
        self.calls = 0
        self.called = asyncio.Event()

    async def GetTrainingJob(self, request, _):
        if request.name == JOB:
            spec = minimal_request(job_pb2.JobSpec.DESCRIPTOR)
            return job_pb2.TrainingJob(name=JOB, spec=spec)
        return next(job for job in self.jobs.values() if job.name == request.name)

    async def CreateTrainingJob(self, request, _):
        self.calls += 1
        name = f"{request.parent}/trainingJobs/{request.training_job_id}"
        running = job_pb2.TrainingJob(name=name, state=job_pb2.TrainingJob.STATE_RUNNING)
        job = self.jobs.setdefault(request.request_id, running)
        self.called.set()
        if self.calls == 1:
            await asyncio.Event().wait()
        return job


def replica(folder, name: str, **settings: str) -> ServerProcess:
    """A monitor as a process, with its own folder and id."""
    port, metrics_port = free_ports(2)
    own = folder / name
    own.mkdir()
    settings = {
        "listen": f"127.0.0.1:{port}",
        "metrics_listen": f"127.0.0.1:{metrics_port}",
        "dashboard_listen": "",
        "data_dir": str(own / "data"),
        "registry_address": NOBODY,
        "inference_address": NOBODY,
        "replica_id": name,
        **settings,
    }
    process = ServerProcess(
        [sys.executable, "-m", "services.monitor"],
        log=own / "monitor.log",
        environment={
            **interpreter_environment(),
            **{f"ROUNDHOUSE_MONITOR_{key.upper()}": value for key, value in settings.items()},
        },
    )
    process.wait_until_ready(lambda: True, ports=[port])
    return process


def snapshot_built(tx):
    """An episode whose next step is to submit its job."""
    episode = new_episode(tx)
    moved = episode.moved_to(EpisodeState.SNAPSHOT_BUILT, tx.now, snapshot=f"{DATASET}/snapshots/n")
    return save_episode(tx, moved, {})


def leader(connection) -> str:
    """Who carries episodes round the loop."""
    holder = select(LEASE.c.holder).where(LEASE.c.name == "episodes")
    return str(connection.execute(holder).scalar_one())


async def test_a_leader_killed_while_it_submits_leaves_one_job_to_the_other(tmp_path, postgres_url):
    trainer = Trainer()
    api = (
        "roundhouse.trainer.v1.JobService",
        lambda server: job_grpc.add_JobServiceServicer_to_server(trainer, server),
    )
    async with (
        serving("trainer", "127.0.0.1:0", [api]) as server,
        monitor_database(postgres_url) as database,
    ):
        server.set_serving()
        address = f"127.0.0.1:{server.port}"
        with ExitStack() as stack:
            replicas = {}
            for name in ("a", "b"):
                replicas[f"monitor@{name}"] = await asyncio.to_thread(
                    replica, tmp_path, name, database_url=postgres_url, trainer_address=address
                )
                stack.callback(replicas[f"monitor@{name}"].kill)
            begun = await written(database, snapshot_built)
            async with asyncio.timeout(_TAKE_OVER_S):
                await trainer.called.wait()
                replicas[await database.read(leader)].kill()
                episode = begun
                while episode.state is EpisodeState.SNAPSHOT_BUILT:
                    await asyncio.sleep(0.1)
                    episode = await written(database, lambda tx: tx.episodes.get(begun.meta.name))
    (job,) = trainer.jobs.values()
    assert trainer.calls == 2
    assert (episode.state, episode.training_job) == (EpisodeState.TRAINING, job.name)


async def test_replicas_that_judge_one_window_at_once_start_one_episode(postgres_url):
    async with monitor_database(postgres_url) as first, monitor_database(postgres_url) as second:
        policy = await written(first, lambda tx: (watched(tx), policy_of(tx))[1])
        evidence = Evidence(event_time=MARCH, drifted=("wind",), new_outcomes=5000)

        def judge(connection):
            return consider_retraining(
                SqlMonitorTx(connection, utc_now()), policy, evidence, CHAMPION
            )

        databases = (first, second)
        made = await asyncio.gather(*(databases[index % 2].write(judge) for index in range(16)))
        assert len({decision.meta.uid for decision in made}) == 1
        assert await written(second, lambda tx: tx.episodes.count(MONITOR)) == 1
