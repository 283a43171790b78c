"""A trainer and its workers, killed at random moments of searches; and what must hold after it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psutil
from roundhouse.registry.v1 import model_pb2
from roundhouse.trainer.v1 import job_pb2, job_service_pb2

from services.trainer.adapters.version_records import graph_digest
from services.trainer.core.search_space import FloatRange, NumberChoice, SearchParameter
from services.trainer.core.spec import Candidate
from services.trainer.core.tuning import Sampler, Tuning
from tests.support.calls import TIMEOUT_S
from tests.support.ray_cluster import RayCluster, driver_of, parents_of
from tests.support.trainer_api import TrainerCaller, state_name
from tests.support.trainer_process import TrainerProcess, workers_of
from tests.trainer.test_kill import killable

KILLS_PER_JOB = 4
"""More, and the growing pause before a retry is all that is waited for."""

LONGEST_REST_S = 2.5
"""Between two kills; evenly from 0."""

SHARE_OF_TRAINERS = 0.1
"""Of tries to kill: of the trainer, whose return costs seconds of two cores; the others find
nothing to kill where no worker runs."""

SHARE_AT_WORK = 0.8
"""Of kills on Ray that wait for a worker first: it takes longer to start there than any rest."""

PATIENCE_S = 1200.0
"""A search that is hit ten times pauses for minutes in all before its tries."""

LOOK_S = 0.2
"""Between two looks at a search that is left to end."""

_OVER = ("SUCCEEDED", "FAILED", "CANCELLED", "BUDGET_EXCEEDED")
_SPACE = (
    SearchParameter("learning_rate", FloatRange(1e-5, 1e-1, log=True)),
    SearchParameter("batch_rows", NumberChoice((64.0, 256.0))),
)
_CANDIDATES = (
    Candidate("decision_tree", {}),
    Candidate("mlp", {"hidden_units": 8, "epochs": 10}, _SPACE),
)
_SEARCHES = (
    Tuning(Sampler.TPE, None, max_trials=3),
    Tuning(Sampler.RANDOM, None, max_trials=4, parallel_trials=2),
)


@dataclass
class KilledWorkers:
    """What was killed, and what came of it.

    Attributes:
        kills: By what was killed, and the states of the searches that ran then.
        jobs: That were run to their end.
        checkpoints: That were restored from the store, at the moments of kills.
        violations: A sentence for each thing that must not be.
    """

    kills: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    checkpoints: int = 0
    violations: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """What a search came to, without how long it took; of its version, the graph's digest."""

    state: str
    trials: list[tuple[str, dict[str, object], int, dict[str, float]]]
    points: list[tuple[str, str, int, float]]
    graph: str | None


async def run_killed_workers(
    folder: Path,
    *,
    seed: int,
    kills: int,
    tell: Callable[[KilledWorkers], None],
    at_once: int = 1,
    cluster: RayCluster | None = None,
) -> KilledWorkers:
    """Run searches under so many kills; each must come to what it comes to unbroken.

    Args:
        folder: Of the services' data, empty.
        seed: Of every draw.
        kills: How many.
        tell: Is shown what was found so far, after each search.
        at_once: How many searches there are at any time; a kill hits any of them.
        cluster: Where workers run, if not on this machine; it runs already.
    """
    draw = random.Random(seed)
    engine = cluster.settings if cluster else {}
    async with killable(folder, **engine) as (trainer, caller):
        whole = []
        for number, tuning in enumerate(_SEARCHES):
            name = await _submit(caller, f"whole-{number}", tuning)
            await caller.until_over(name, within_s=PATIENCE_S)
            whole.append(await _outcome(caller, name))
        killing = _Killing(folder, trainer, caller, cluster, draw, kills, whole)
        async with asyncio.TaskGroup() as searches:
            for _ in range(at_once):
                searches.create_task(killing.run(tell))
        killing.found.violations += await _wrong_versions(caller, killing.found)
    return killing.found


class _Killing:
    """Searches, one after the other, and what is killed while they run.

    Args:
        folder: Of the services' data.
        trainer: That is killed.
        caller: Of it.
        cluster: Where workers run, if not on this machine.
        draw: Of moments and victims.
        kills: How many, at most.
        whole: What each of the searches comes to unbroken.
    """

    def __init__(
        self,
        folder: Path,
        trainer: TrainerProcess,
        caller: TrainerCaller,
        cluster: RayCluster | None,
        draw: random.Random,
        kills: int,
        whole: Sequence[Outcome],
    ) -> None:
        self.found = KilledWorkers()
        self._folder = folder
        self._trainer = trainer
        self._caller = caller
        self._cluster = cluster
        self._draw = draw
        self._kills = kills
        self._whole = whole
        self._numbers = count()

    async def run(self, tell: Callable[[KilledWorkers], None]) -> None:
        """Go on until there were enough kills; several may run at once."""
        found = self.found
        while found.kills.total() < self._kills:
            number = next(self._numbers)
            which = number % len(_SEARCHES)
            name = await _submit(self._caller, f"killed-{number}", _SEARCHES[which])
            await self._disturb(name)
            job = await self._caller.until_over(name, PATIENCE_S, LOOK_S)
            if await _outcome(self._caller, name) != self._whole[which]:
                found.violations.append(f"{name} came to something else: {state_name(job)}")
            found.violations += [
                *await _repeated_trials(self._caller, name),
                *_wrong_charges(self._folder, job),
            ]
            found.jobs += 1
            tell(found)

    async def _disturb(self, name: str) -> None:
        """Kill again and again while a search runs."""
        for _ in range(KILLS_PER_JOB):
            if self._cluster and self._draw.random() < SHARE_AT_WORK:
                await self._caller.until(
                    name, lambda job: state_name(job) != "QUEUED", within_s=PATIENCE_S
                )
            await asyncio.sleep(self._draw.uniform(0.0, LONGEST_REST_S))
            state = state_name(await self._caller.get(name))
            if state in _OVER or self.found.kills.total() >= self._kills:
                return
            states = _running(self._folder)
            killed = _kill(self._trainer, self._cluster, self._draw)
            if killed:
                self.found.kills[f"{killed}, {states}"] += 1
            self.found.violations += _lost_checkpoints(self._folder, self.found)


async def _submit(caller: TrainerCaller, name: str, tuning: Tuning) -> str:
    return await caller.submit(name, candidates=_CANDIDATES, tuning=tuning, max_attempts=20)


def _kill(trainer: TrainerProcess, cluster: RayCluster | None, draw: random.Random) -> str:
    """Kill the trainer, or something that it has its workers run by; gives what, if anything."""
    if draw.random() < SHARE_OF_TRAINERS:
        trainer.kill()
        trainer.restart()
        return "trainer"
    if cluster and draw.random() < 0.3:
        cluster.replace_node()
        return "node"
    workers = cluster.workers() if cluster else workers_of(trainer.pid)
    victims = [("worker", worker) for worker in workers]
    with suppress(psutil.NoSuchProcess):
        victims += [("trial", child) for worker in workers for child in worker.children()]
        if cluster:
            victims += [("Ray's process", parent) for parent in parents_of(workers)]
            victims += [("driver", driver) for driver in driver_of(trainer.pid)]
    if not victims:
        return ""
    what, victim = draw.choice(victims)
    with suppress(psutil.NoSuchProcess):
        victim.kill()
    return what


async def _outcome(caller: TrainerCaller, name: str) -> Outcome:
    request = job_service_pb2.ListTrialsRequest(parent=name, page_size=1000)
    listed = await caller.jobs.ListTrials(request, timeout=TIMEOUT_S, wait_for_ready=True)
    trials = [
        (each.name.rpartition("/")[2], dict(each.parameters), each.state, dict(each.metrics))
        for each in listed.trials
    ]
    job = await caller.get(name)
    versions = {version.name: version for version in await caller.versions()}
    graph = graph_digest(versions.get(job.model_version))
    return Outcome(state_name(job), trials, await caller.points(name), graph)


async def _repeated_trials(caller: TrainerCaller, name: str) -> list[str]:
    """Trials that ended more than once; that one of them won is told by each attempt."""
    ends = Counter(
        line.partition(" ")[0]
        for line in await caller.log(name)
        if " auc " in f" {line} " and not line.startswith("winner ")
    )
    return [f"{trial} of {name} ended {n} times" for trial, n in ends.items() if n > 1]


async def _wrong_versions(caller: TrainerCaller, found: KilledWorkers) -> list[str]:
    versions = Counter(version.training_job for version in await caller.versions())
    ready = {version.state for version in await caller.versions()}
    wrong = [f"{job} made {count} versions" for job, count in versions.items() if count > 1]
    if len(versions) != found.jobs + len(_SEARCHES):
        wrong.append(f"{found.jobs + len(_SEARCHES)} jobs made {len(versions)} versions")
    if ready != {model_pb2.ModelVersion.STATE_READY}:
        wrong.append(f"versions are left in the states {sorted(ready)}")
    return wrong


def _rows(folder: Path, query: str, *values: object) -> list[tuple[object, ...]]:
    database = next((folder / "trainer").glob("*.db"))
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query, values).fetchall()


def _running(folder: Path) -> str:
    """States of the searches that do not wait for a worker, such as `EVALUATING and RUNNING`."""
    query = f"SELECT DISTINCT state FROM training_job WHERE state NOT IN {('QUEUED', *_OVER)}"
    return " and ".join(sorted(str(state) for (state,) in _rows(folder, query))) or "all QUEUED"


def _lost_checkpoints(folder: Path, found: KilledWorkers) -> Iterator[str]:
    """Checkpoints that the trainer lists and that can't be restored."""
    # A job that is over is being cleared away: its checkpoints are of no more use.
    query = (
        "SELECT job_uid, trial, step, digest FROM checkpoint JOIN training_job ON uid = job_uid "
        "WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')"
    )
    listed = _rows(folder, query)
    damaged = [row for row in listed if not _restores(folder, row)]
    found.checkpoints += len(listed) - len(damaged)
    # One that was superseded meanwhile may be gone: it was forgotten first.
    for job_uid, trial, step, _ in set(damaged) & set(_rows(folder, query)):
        yield f"checkpoint {step} of {trial} of {job_uid} is listed and can't be restored"


def _restores(folder: Path, row: tuple[object, ...]) -> bool:
    job_uid, trial, _, digest = row
    name = f"checkpoints/{job_uid}/{trial}/{str(digest).removeprefix('sha256:')}"
    for blob in (folder / "trainer" / "blobs").rglob(name):
        with suppress(FileNotFoundError):
            if f"sha256:{hashlib.sha256(blob.read_bytes()).hexdigest()}" == digest:
                return True
    return False


def _wrong_charges(folder: Path, job: job_pb2.TrainingJob) -> Iterator[str]:
    """Attempts whose charges are not the seconds that they had begun, each once."""
    query = "SELECT attempt, sum(seconds), sum(amount_micros) FROM charge WHERE job = ? GROUP BY 1"
    ledger = {row[0]: row[1:] for row in _rows(folder, query, job.name)}
    for attempt in job.attempts:
        seconds, micros = ledger.get(attempt.number, (0, 0))
        cost = attempt.cost.units * 10**6 + attempt.cost.nanos // 1000
        if (seconds, micros) != (attempt.charged.seconds, cost):
            yield f"{job.name}, attempt {attempt.number}: ledger {seconds} s, {micros} millionths"
        lasted = attempt.end_time.ToMicroseconds() - attempt.start_time.ToMicroseconds()
        if seconds and not 0 < seconds <= lasted // 10**6 + 1:
            yield f"{job.name}, attempt {attempt.number}: {seconds} s charged, {lasted} us lasted"
