"""A trainer and its workers, killed at random moments of searches; and what must hold after it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from roundhouse.registry.v1 import model_pb2
from roundhouse.trainer.v1 import job_pb2, job_service_pb2

from services.trainer.adapters.version_records import graph_digest
from services.trainer.core.search_space import FloatRange, NumberChoice, SearchParameter
from services.trainer.core.spec import Candidate
from services.trainer.core.tuning import Sampler, Tuning
from tests.support.ray_cluster import RayCluster, driver_of, parents_of
from tests.support.registry_api import TIMEOUT_S
from tests.support.trainer_api import TrainerCaller, state_name
from tests.support.trainer_process import TrainerProcess, workers_of
from tests.trainer.test_kill import killable

KILLS_PER_JOB = 4
"""More, and the growing pause before a retry is all that is waited for."""

LONGEST_REST_S = 2.5
"""Between two kills; evenly from 0."""

SHARE_AT_WORK = 0.8
"""Of kills on Ray that wait for a worker first: it takes longer to start there than any rest."""

PATIENCE_S = 300.0

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
        kills: By what was killed in which state of its job.
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
    cluster: RayCluster | None = None,
) -> KilledWorkers:
    """Run searches under so many kills; each must come to what it comes to unbroken.

    Args:
        folder: Of the services' data, empty.
        seed: Of every draw.
        kills: How many.
        tell: Is shown what was found so far, after each search.
        cluster: Where workers run, if not on this machine; it runs already.
    """
    found = KilledWorkers()
    draw = random.Random(seed)
    engine = cluster.settings if cluster else {}
    async with killable(folder, **engine) as (trainer, caller):
        whole = []
        for number, tuning in enumerate(_SEARCHES):
            name = await _submit(caller, f"whole-{number}", tuning)
            await caller.until_over(name, within_s=PATIENCE_S)
            whole.append(await _outcome(caller, name))
        while found.kills.total() < kills:
            which = found.jobs % len(_SEARCHES)
            name = await _submit(caller, f"killed-{found.jobs}", _SEARCHES[which])
            left = min(KILLS_PER_JOB, kills - found.kills.total())
            for _ in range(left):
                if cluster and draw.random() < SHARE_AT_WORK:
                    await caller.until(
                        name, lambda job: state_name(job) != "QUEUED", within_s=PATIENCE_S
                    )
                await asyncio.sleep(draw.uniform(0.0, LONGEST_REST_S))
                state = state_name(await caller.get(name))
                if state in _OVER:
                    break
                killed = _kill(trainer, cluster, draw)
                if killed:
                    found.kills[f"{killed}, {state}"] += 1
                found.violations += _lost_checkpoints(folder, found)
            job = await caller.until_over(name, within_s=PATIENCE_S)
            if await _outcome(caller, name) != whole[which]:
                found.violations.append(f"{name} came to something else: {state_name(job)}")
            found.violations += [
                *await _repeated_trials(caller, name),
                *_wrong_charges(folder, job),
            ]
            found.jobs += 1
            tell(found)
        found.violations += await _wrong_versions(caller, found)
    return found


async def _submit(caller: TrainerCaller, name: str, tuning: Tuning) -> str:
    return await caller.submit(name, candidates=_CANDIDATES, tuning=tuning, max_attempts=20)


def _kill(trainer: TrainerProcess, cluster: RayCluster | None, draw: random.Random) -> str:
    """Kill the trainer, or something that it has its workers run by; gives what, if anything."""
    if draw.random() < 0.3:
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
