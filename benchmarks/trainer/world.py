"""A registry with data, a warm trainer beside it, and bare scripts on the same data."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from benchmarks.trainer.jobs import Jobs
from services.trainer.core.spec import Candidate, JobSpec, spec_to_json
from tests.support.processes import interpreter_environment
from tests.support.registry_process import RegistryProcess
from tests.support.trainer_api import csv_rows
from tests.support.trainer_process import TrainerProcess, fork_servers_of
from tests.support.trainer_values import arrow_rows, spec

_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class World:
    """What trainings are measured in.

    Attributes:
        folder: On the disk that the services write to.
        registry: That holds the snapshot.
        trainer: That runs the jobs.
        jobs: Calls to it.
        data: The snapshot's rows as a Parquet file.
    """

    folder: Path
    registry: RegistryProcess
    trainer: TrainerProcess
    jobs: Jobs
    data: Path

    def script(self, what: str, asked: JobSpec) -> dict[str, Any]:
        """What `benchmarks.trainer.bare` prints for `what`, in a fresh process and folder."""
        home = self.folder / f"script-{next(_NUMBERS)}"
        home.mkdir()
        asked_path = home / "spec.json"
        asked_path.write_text(json.dumps(spec_to_json(asked)))
        command = [sys.executable, "-m", "benchmarks.trainer.bare", what]
        done = subprocess.run(
            [*command, str(asked_path), str(self.data), str(home)],
            cwd=_ROOT,
            env=interpreter_environment(),
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return printed


_NUMBERS: Final = count()
_IDLE_S: Final = 1.0
_IDLE_CPU_S: Final = 0.02


@contextmanager
def warm_world(folder: Path, rows: int) -> Iterator[World]:
    """A world whose workers have run a job.

    Args:
        folder: Empty; gets everything.
        rows: Of the snapshot.
    """
    registry = RegistryProcess(folder)
    try:
        asyncio.run(_prepare(registry, rows))
        data = folder / "data.parquet"
        pq.write_table(arrow_rows(rows), data)
        trainer = TrainerProcess(folder, {"registry_address": registry.address})
        jobs = Jobs(trainer.address)
        try:
            first = spec(candidates=(Candidate("mlp", {"epochs": 1}),))
            jobs.succeeded(jobs.submit("first", first))
            yield World(folder, registry, trainer, jobs, data)
        finally:
            jobs.close()
            trainer.stop()
    finally:
        registry.stop()


def wait_until_warm(trainer: TrainerProcess) -> None:
    """Block until the trainer has loaded what its workers need: its fork server sits idle."""
    used_s = -1.0
    while True:
        times = [server.cpu_times() for server in fork_servers_of(trainer.pid)]
        now_s = sum(each.user + each.system for each in times)
        if times and now_s - used_s <= _IDLE_CPU_S < now_s:
            return
        used_s = now_s
        time.sleep(_IDLE_S)


async def _prepare(registry: RegistryProcess, rows: int) -> None:
    async with registry.caller() as caller:
        await caller.sealed_snapshot("january", csv_rows(rows))
        await caller.create_model("delays")
