"""Registries, an MLflow and an S3 side by side; everything is measured on them in one run."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Report
from benchmarks.registry import metadata, scale
from benchmarks.registry.cycles import MlflowCycle, RoundhouseCycle
from benchmarks.registry.metadata import Server
from benchmarks.registry.mlflow import MlflowServer
from benchmarks.registry.transfers import Transfers
from benchmarks.registry.transfers import bars as transfer_bars
from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.registry.wiring import MIGRATIONS
from tests.support.postgres import PostgresServer
from tests.support.registry_process import RegistryProcess
from tests.support.seaweedfs import BUCKET, S3Server

_LIMITS = (
    "Callers, servers and databases share the machine's cores and its disk over loopback, so only "
    "ratios within one run mean anything. MLflow runs as it comes, with four workers, and is "
    "called without its own client. It neither hashes nor flushes files, keeps no events and "
    "remembers no answers: the registry does all that within the times shown, and writes each "
    "change into its blob store besides. The tests' PostgreSQL runs without fsync, for both. "
    "The bare SDK neither knows nor checks a digest; the registry reads a file again when its "
    "version is committed, which the upload's time does not include."
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    transfer_bytes: int
    transfer_rounds: int
    databases: tuple[str, ...]
    cycle_contents: tuple[str, ...]
    cycle_rounds: int
    cycle_s: float
    sizes: tuple[int, ...]
    scale_rounds: int
    scale_calls: int


_FULL = Effort(
    transfer_bytes=2**30,
    transfer_rounds=3,
    databases=("sqlite", "postgresql"),
    cycle_contents=("metadata", "files"),
    cycle_rounds=3,
    cycle_s=3.0,
    sizes=(100, 10_000, 100_000),
    scale_rounds=3,
    scale_calls=300,
)
_QUICK = Effort(
    transfer_bytes=2**25,
    transfer_rounds=2,
    databases=("sqlite",),
    cycle_contents=("metadata",),
    cycle_rounds=1,
    cycle_s=1.0,
    sizes=(100, 5_000),
    scale_rounds=1,
    scale_calls=50,
)


def measure(*, quick: bool) -> Report:
    """See the folder's README."""
    effort = _QUICK if quick else _FULL
    with tempfile.TemporaryDirectory(prefix="roundhouse-benchmark-") as name:
        folder = Path(name)
        with _mlflows(folder, effort) as mlflows:
            # MLflow's workers import for long; meanwhile nothing is measured.
            with _grown(folder, effort) as registries:
                for mlflow in mlflows.values():
                    mlflow.wait_until_ready()
                latencies = scale.latencies(
                    registries, rounds=effort.scale_rounds, calls=effort.scale_calls
                )
            with _servers(folder, mlflows) as servers:
                cycles = metadata.cycles_per_second(
                    servers,
                    effort.cycle_contents,
                    rounds=effort.cycle_rounds,
                    seconds=effort.cycle_s,
                )
        with _transfers(folder, effort) as transfers:
            moved = transfers.rows(effort.transfer_rounds)
    return Report(
        rows=[*moved, *cycles, *latencies],
        bars=[
            *transfer_bars(moved),
            *metadata.bars(cycles, effort.databases, effort.cycle_contents),
            *scale.bars(latencies, effort.sizes),
        ],
        limits=_LIMITS,
    )


@contextmanager
def _mlflows(folder: Path, effort: Effort) -> Iterator[dict[str, MlflowServer]]:
    """An MLflow per kind of database, not yet ready, each beside an empty one for a registry."""
    with ExitStack() as stack:
        found = {}
        for database in effort.databases:
            home = folder / f"mlflow-{database}"
            home.mkdir()
            url = f"sqlite:///{home}/mlflow.db"
            if database == "postgresql":
                postgres = PostgresServer()
                stack.callback(postgres.stop)
                url = postgres.url(postgres.create_database()).replace("+psycopg", "+psycopg2")
                registry_url = postgres.url(postgres.create_database())
                (folder / "postgresql-url").write_text(registry_url)
            found[database] = MlflowServer(home, url)
            stack.callback(found[database].stop)
        yield found


@contextmanager
def _servers(folder: Path, mlflows: dict[str, MlflowServer]) -> Iterator[list[Server]]:
    """Both kinds of server on each kind of database, with their models."""
    with ExitStack() as stack:
        servers = []
        for database, mlflow in mlflows.items():
            home = folder / f"registry-{database}"
            home.mkdir()
            settings = {}
            if database == "postgresql":
                settings["database_url"] = (folder / "postgresql-url").read_text()
            registry = RegistryProcess(home, settings)
            stack.callback(registry.stop)
            RoundhouseCycle.prepare(registry.address)
            MlflowCycle.prepare(mlflow.address)
            servers.append(Server("roundhouse", database, registry.address, registry.pid))
            servers.append(Server("mlflow", database, mlflow.address, mlflow.pid))
        yield servers


@contextmanager
def _grown(folder: Path, effort: Effort) -> Iterator[list[scale.Grown]]:
    with ExitStack() as stack:
        registries = []
        for size in effort.sizes:
            home = folder / f"grown-{size}"
            home.mkdir()
            url = f"sqlite:///{home}/metadata.db"
            database = Database(url)
            asyncio.run(migrate(database, MIGRATIONS))
            database.close()
            scale.fill(url, size)
            # No scrub of rows that have no bytes meanwhile.
            process = RegistryProcess(home, {"database_url": url, "scrub_period_s": "31536000"})
            stack.callback(process.stop)
            registries.append(scale.Grown(process.address, size))
        yield registries


@contextmanager
def _transfers(folder: Path, effort: Effort) -> Iterator[Transfers]:
    with ExitStack() as stack:
        for name in ("s3", "registry-s3", "files"):
            (folder / name).mkdir()
        s3 = S3Server(folder / "s3")
        stack.callback(s3.stop)
        connection = s3.connection
        settings = {
            "blob_url": f"s3://{BUCKET}/registry",
            "s3_endpoint": connection.endpoint,
            "s3_access_key": connection.access_key,
            "s3_secret_key": connection.secret_key,
            "s3_secure": "false",
        }
        registry = RegistryProcess(folder / "registry-s3", settings)
        stack.callback(registry.stop)
        transfers = Transfers(
            registry.address, registry.pid, s3, folder / "files", effort.transfer_bytes
        )
        stack.callback(transfers.close)
        yield transfers
