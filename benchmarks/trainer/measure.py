"""A warm trainer beside bare scripts, and trainers whose stores are full; all in one run."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Report
from benchmarks.trainer import ingestion, kills, overhead, scale, search
from benchmarks.trainer.ingestion import CLAIM_S, Claimed, claimed_jobs
from benchmarks.trainer.scale import Grown, Size
from benchmarks.trainer.world import wait_until_warm, warm_world
from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.trainer.wiring import MIGRATIONS
from tests.support.postgres import PostgresServer
from tests.support.trainer_process import TrainerProcess

_LIMITS = (
    "Trainings, services, databases and callers share the machine's cores and its disk, so only "
    "ratios within one run mean anything; a script and the workers are equally nice. The script "
    "trains by the worker's own code: what is compared is everything around it. The tests' "
    "PostgreSQL runs without fsync. The retry pause of a lost worker, half a second to one, is "
    "part of the time to training again."
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    rows: int
    training_epochs: int
    training_rounds: int
    trial_epochs: int
    trials_per_core: int
    search_rounds: int
    kills: int
    kinds: tuple[str, ...]
    ingest_batches: int
    ingest_rounds: int
    sizes: tuple[int, int]
    scale_rounds: int
    scale_calls: int


_FULL = Effort(
    rows=50_000,
    training_epochs=150,
    training_rounds=3,
    trial_epochs=8,
    trials_per_core=12,
    search_rounds=3,
    kills=20,
    kinds=("sqlite", "postgresql"),
    ingest_batches=50,
    ingest_rounds=3,
    sizes=(100, 30_000),
    scale_rounds=3,
    scale_calls=200,
)
QUICK = Effort(
    rows=20_000,
    training_epochs=20,
    training_rounds=1,
    trial_epochs=8,
    trials_per_core=3,
    search_rounds=1,
    kills=3,
    kinds=("sqlite",),
    ingest_batches=10,
    ingest_rounds=1,
    sizes=(100, 10_000),
    scale_rounds=1,
    scale_calls=30,
)


def measure(*, quick: bool) -> Report:
    """See the folder's README."""
    effort = QUICK if quick else _FULL
    with tempfile.TemporaryDirectory(prefix="roundhouse-benchmark-") as name:
        folder = Path(name)
        with (
            _databases(folder, effort.kinds) as urls,
            _stores(folder, urls, effort.sizes) as (grown, claimed),
        ):
            # First: nobody renews the leases of the workers that report.
            ingested = ingestion.points_per_second(
                claimed, batches=effort.ingest_batches, rounds=effort.ingest_rounds
            )
            listed = scale.latencies(grown, rounds=effort.scale_rounds, calls=effort.scale_calls)
        home = folder / "world"
        home.mkdir()
        with warm_world(home, effort.rows) as world:
            trained = overhead.compare(
                world, epochs=effort.training_epochs, rounds=effort.training_rounds
            )
            searched = search.trials_per_hour(
                world,
                epochs=effort.trial_epochs,
                trials_per_core=effort.trials_per_core,
                rounds=effort.search_rounds,
            )
            killed = kills.rows(kills.kill(world, effort.kills))
    return Report(
        rows=[*trained, *searched, *killed, *ingested, *listed],
        bars=[
            *overhead.bars(trained),
            *search.bars(searched),
            *kills.bars(killed),
            *ingestion.bars(ingested, effort.kinds),
            *(bar for kind in effort.kinds for bar in scale.bars(listed, kind, effort.sizes)),
        ],
        limits=_LIMITS,
    )


class _Urls:
    """Migrated databases, each made when it is asked for."""

    def __init__(self, folder: Path, servers: dict[str, PostgresServer]) -> None:
        self._folder = folder
        self._servers = servers
        self.kinds = ("sqlite", *servers)

    def new(self, kind: str, name: str) -> str:
        """The URL of a new one."""
        server = self._servers.get(kind)
        url = (
            server.url(server.create_database())
            if server is not None
            else f"sqlite:///{self._folder}/{name}.db"
        )
        database = Database(url)
        try:
            asyncio.run(migrate(database, MIGRATIONS))
        finally:
            database.close()
        return url


@contextmanager
def _databases(folder: Path, kinds: tuple[str, ...]) -> Iterator[_Urls]:
    with ExitStack() as stack:
        servers = {}
        if "postgresql" in kinds:
            servers["postgresql"] = PostgresServer()
            stack.callback(servers["postgresql"].stop)
        yield _Urls(folder, servers)


@contextmanager
def _stores(
    folder: Path, urls: _Urls, sizes: tuple[int, int]
) -> Iterator[tuple[list[Grown], list[Claimed]]]:
    """A trainer for each kind and size, and claims on jobs of the smallest of each kind."""
    with ExitStack() as stack:
        grown, claimed, trainers = [], [], []
        for kind in urls.kinds:
            for jobs in sizes:
                home = folder / f"{kind}-{jobs}"
                home.mkdir()
                url = urls.new(kind, home.name)
                scale.fill(url, jobs)
                claims = claimed_jobs(url)
                # The workers that hold the claims send no heartbeats.
                settings = {"database_url": url, "lease_ttl_s": str(CLAIM_S)}
                trainer = TrainerProcess(home, settings)
                stack.callback(trainer.stop)
                trainers.append(trainer)
                grown.append(Grown(trainer.address, Size(kind, jobs)))
                if jobs == min(sizes):
                    claimed.append(Claimed(kind, trainer.address, trainer.pid, url, claims))
        for trainer in trainers:
            wait_until_warm(trainer)
        yield grown, claimed
