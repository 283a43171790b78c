"""The only place that picks the trainer's adapters."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import grpc
from roundhouse.trainer.v1 import cost_service_pb2 as costs
from roundhouse.trainer.v1 import cost_service_pb2_grpc as costs_grpc
from roundhouse.trainer.v1 import job_service_pb2 as jobs
from roundhouse.trainer.v1 import job_service_pb2_grpc as jobs_grpc
from roundhouse.trainer.v1 import queue_service_pb2 as queues
from roundhouse.trainer.v1 import queue_service_pb2_grpc as queues_grpc
from roundhouse.trainer.v1 import worker_service_pb2 as workers
from roundhouse.trainer.v1 import worker_service_pb2_grpc as workers_grpc
from sqlalchemy import Connection

from services.common.blobs.opening import open_configured_blob_store, s3_connection_of
from services.common.clock import Clock, utc_now
from services.common.rpc.client import connect
from services.common.rpc.events import event_api
from services.common.rpc.pins import RegistryPins, Reliance
from services.common.rpc.server import Api, RunningServer, ServerLimits, serving
from services.common.store.database import Database
from services.common.store.leadership import lead
from services.common.store.leases import Lease
from services.common.store.migrations import migrate
from services.common.telemetry import trace_sinks
from services.trainer.adapters.cleaner import Cleaner
from services.trainer.adapters.engine import Engine
from services.trainer.adapters.evaluation import RegistrySnapshots, RegistryVersionEvaluator
from services.trainer.adapters.learning.pretrained import open_encoders
from services.trainer.adapters.learning.recipe import Recipe
from services.trainer.adapters.nvidia import visible_gpus
from services.trainer.adapters.packages import package_behind
from services.trainer.adapters.prices import load_prices
from services.trainer.adapters.processes import WorkerProcesses
from services.trainer.adapters.pruners import PRUNERS, Pruner
from services.trainer.adapters.quantizers import QUANTIZERS, Quantizer
from services.trainer.adapters.ray.engine import RayEngine
from services.trainer.adapters.recipes import load_recipes
from services.trainer.adapters.registry_client import RegistryClient
from services.trainer.adapters.store.reads import SqlTrainerReads
from services.trainer.adapters.store.transaction import SqlTrainerTx
from services.trainer.adapters.supervisor import Supervisor
from services.trainer.adapters.version_records import RegistryVersionRecords
from services.trainer.adapters.worker.config import GpuPool, WorkerConfig
from services.trainer.api.admission import Admission
from services.trainer.api.cost_servicer import CostServicer
from services.trainer.api.job_servicer import JobServicer
from services.trainer.api.queue_servicer import QueueServicer
from services.trainer.api.reproductions import Reproductions
from services.trainer.api.transactions import Transactions
from services.trainer.api.worker_servicer import WorkerServicer
from services.trainer.core.jobs import TrainingJob
from services.trainer.core.queueing import Room
from services.trainer.core.queues import Amounts
from services.trainer.core.use_cases.spending import Terms
from services.trainer.settings import TrainerSettings

MIGRATIONS: Final = Path(__file__).parent / "adapters" / "migrations"
_JOBS: Final = "trainingJobs"
CALL_PATIENCE_S: Final = 3.0
"""How long a caller of this service waits for a registry that is away."""


@asynccontextmanager
async def trainer(settings: TrainerSettings, now: Clock = utc_now) -> AsyncIterator[RunningServer]:
    """A trainer that takes calls and runs jobs until the block ends, then drains.

    Args:
        settings: Where it listens and keeps its data.
        now: The clock.

    Raises:
        UnsafeStoreError: The blob store would lose writes.
        DatabaseUnavailable, BlobStoreUnavailable: One of them does not answer.
        UnusableRecipe, UnusableEncoder: One that is installed or configured can't be used.
    """
    gpus = _gpus(settings)
    async with (
        _engine(settings) as engine,
        _database(settings) as database,
        open_configured_blob_store(settings) as blobs,
        connect(settings.registry_address) as channel,
        serving(
            "trainer",
            settings.listen,
            _apis(
                settings,
                _machine(settings, gpus),
                database,
                channel,
                (pins := RegistryPins(channel, _JOBS, now)),
                now,
            ),
            ServerLimits(drain_timeout_s=settings.drain_timeout_s),
        ) as server,
    ):
        registry = RegistryClient(channel, patience_s=CALL_PATIENCE_S)
        lease_ttl = timedelta(seconds=settings.lease_ttl_s)
        cleaner = Cleaner(database, blobs, registry, now, rest=lease_ttl)
        supervisor = Supervisor(
            database,
            engine,
            now,
            config_of=_config_of(settings, gpus, server.port),
            room=Room(
                _machine(settings, gpus),
                settings.max_running_per_owner,
                settings.max_running_per_project,
            ),
            lease_ttl=lease_ttl,
        )

        async def keep(_: Lease) -> None:
            await pins.run(lambda: database.read(_reliances(now)))

        loops = {"jobs": supervisor.run, "cleanups": cleaner.run, "pins": keep}
        async with _led(database, now, loops):
            yield server


@asynccontextmanager
async def _database(settings: TrainerSettings) -> AsyncIterator[Database]:
    """The trainer's rows, by the newest schema."""
    database = Database(settings.database_url)
    try:
        await migrate(database, MIGRATIONS)
        yield database
    finally:
        database.close()


@asynccontextmanager
async def _engine(settings: TrainerSettings) -> AsyncIterator[Engine]:
    """Where workers run."""
    if settings.ray_address is not None:
        token = settings.ray_token.get_secret_value() if settings.ray_token else ""
        cluster = RayEngine(settings.ray_address, token)
        async with cluster.opened():
            yield cluster
        return
    processes = WorkerProcesses()
    processes.warm_up()
    try:
        yield processes
    finally:
        processes.close()


def _reliances(now: Clock) -> Callable[[Connection], list[Reliance]]:
    """What jobs that are not over rely on."""
    return lambda connection: [
        Reliance(job.name, target)
        for job in SqlTrainerTx(connection, now()).unfinished_jobs()
        for target in job.spec.relies_on.values()
    ]


@asynccontextmanager
async def _led(
    database: Database, now: Clock, loops: Mapping[str, Callable[[Lease], Awaitable[None]]]
) -> AsyncIterator[None]:
    """Runs controllers beside the block, each in one trainer at a time."""
    holder = f"trainer@{socket.gethostname()}"
    running = [
        asyncio.ensure_future(lead(database, name, holder, now, loop))
        for name, loop in loops.items()
    ]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _config_of(
    settings: TrainerSettings, gpus: Sequence[str], port: int
) -> Callable[[TrainingJob, str], WorkerConfig]:
    host = settings.listen.rpartition(":")[0]
    reachable = "127.0.0.1" if host in ("0.0.0.0", "[::]") else host  # noqa: S104 - compared only
    address = settings.worker_address or f"{reachable}:{port}"
    machine = _machine(settings, gpus)
    locks = settings.data_dir.resolve() / "gpus"
    pool = GpuPool() if settings.engine == "ray" else GpuPool(tuple(gpus), str(locks))

    def config_of(job: TrainingJob, worker: str) -> WorkerConfig:
        return WorkerConfig(
            job=job.name,
            worker=worker,
            lanes=job.spec.lanes,
            cores=job.spec.worker_threads(machine.threads),
            memory_mib=job.spec.memory_mib,
            reserved_memory_mib=job.spec.worker_memory_mib,
            trainer_address=address,
            registry_address=settings.registry_address,
            registry_patience_s=settings.registry_patience_s,
            blob_url=settings.blob_url,
            checkpoint_interval_s=settings.checkpoint_interval_s,
            s3=s3_connection_of(settings),
            log_level=settings.log_level,
            traces=trace_sinks(settings),
            encoders=settings.encoders,
            parallelism=job.spec.parallelism,
            helper_key=secrets.token_hex(32) if job.spec.workers > 1 else "",
            gpus=pool if job.spec.gpus else None,
            compiles=job.spec.acceleration is not None and job.spec.acceleration.compile,
        )

    return config_of


def _gpus(settings: TrainerSettings) -> tuple[str, ...]:
    """Those of this machine that workers may hold; none with Ray, which gives its own."""
    if settings.engine == "ray" or settings.gpus == "none":
        return ()
    return visible_gpus() if settings.gpus == "auto" else tuple(settings.gpus.split(","))


def _machine(settings: TrainerSettings, gpus: Sequence[str]) -> Amounts:
    """All that attempts have to share; of nodes that come and go, what one of them gets of it."""
    cores = settings.ray_worker_cores if settings.ray_address else len(os.sched_getaffinity(0))
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return Amounts(settings.max_workers, cores, memory_mib, settings.ray_gpus or len(gpus))


def _apis(
    settings: TrainerSettings,
    machine: Amounts,
    database: Database,
    channel: grpc.aio.Channel,
    pins: RegistryPins,
    now: Clock,
) -> list[Api]:
    transactions = Transactions(database, now, open_tx=SqlTrainerTx, open_reads=SqlTrainerReads)
    registry = RegistryClient(channel, patience_s=CALL_PATIENCE_S)
    terms = Terms(
        ttl=timedelta(seconds=settings.lease_ttl_s),
        prices=load_prices(settings.price_file),
        machine=machine,
    )
    installed = load_recipes()
    able: dict[str, Recipe | Quantizer] = {**installed, **QUANTIZERS}
    algorithms: dict[str, Recipe | Quantizer | Pruner] = {**able, **PRUNERS}
    recipes = {name: each.rules for name, each in algorithms.items()}
    encoders = open_encoders(settings.encoders)
    snapshots = RegistrySnapshots(registry, pins)
    admission = Admission(
        snapshots,
        recipes=recipes,
        modes={name: each.modes for name, each in algorithms.items()},
        abilities={name: each.ability for name, each in able.items()},
        encoders={name: each.shape.positions for name, each in encoders.items()},
        gpus=machine.gpus,
    )
    reproductions = Reproductions(
        transactions,
        admission,
        snapshots,
        RegistryVersionRecords(registry),
        terms=terms,
        packages={name: package_behind(name) for name in algorithms},
    )
    job_servicer = JobServicer(
        transactions,
        admission,
        reproductions,
        RegistryVersionEvaluator(registry),
        terms=terms,
        recipes=recipes,
    )
    worker_servicer = WorkerServicer(transactions, terms, recipes=recipes)
    cost_servicer = CostServicer(transactions, terms.prices)
    queue_servicer = QueueServicer(transactions, terms.machine)
    return [
        (
            jobs.DESCRIPTOR.services_by_name["JobService"].full_name,
            lambda server: jobs_grpc.add_JobServiceServicer_to_server(job_servicer, server),
        ),
        (
            costs.DESCRIPTOR.services_by_name["CostService"].full_name,
            lambda server: costs_grpc.add_CostServiceServicer_to_server(cost_servicer, server),
        ),
        (
            queues.DESCRIPTOR.services_by_name["QueueService"].full_name,
            lambda server: queues_grpc.add_QueueServiceServicer_to_server(queue_servicer, server),
        ),
        (
            workers.DESCRIPTOR.services_by_name["WorkerService"].full_name,
            lambda server: workers_grpc.add_WorkerServiceServicer_to_server(
                worker_servicer, server
            ),
        ),
        event_api(database),
    ]
