"""Lists of jobs on SQLite and on PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection

from services.common.resources import PageQuery
from services.common.store.database import Database
from services.trainer.adapters.store.reads import SqlTrainerReads
from services.trainer.adapters.store.tables import JOB_LABEL
from services.trainer.adapters.store.transaction import SqlTrainerTx
from services.trainer.core.jobs import Trial
from services.trainer.core.reproduction import Reproduction
from services.trainer.core.states import JobState
from services.trainer.core.tuning import Sampler, Tuning
from tests.support.trainer_values import EPOCH, JOB, job, spec

TTL = timedelta(seconds=10)
TRIALS = (Trial("mlp-1", 0, "mlp", {"epochs": 8.0}),)


async def test_jobs_are_listed_by_filter_in_pages(database: Database) -> None:
    def add(connection: Connection) -> None:
        tx = SqlTrainerTx(connection, EPOCH)
        for number in range(5):
            state = JobState.FAILED if number % 2 else JobState.QUEUED
            created = EPOCH + number * TTL
            name = f"{JOB}-{number}"
            tx.add_job(job(name=name, uid=str(number), state=state, create_time=created), TRIALS)

    await database.write(add)
    query = PageQuery(
        "projects/default", 2, "", "state = QUEUED AND labels.team = ops AND queue = default"
    )
    names = []
    while True:
        page = await database.read(lambda tx, q=query: SqlTrainerReads(tx, EPOCH).jobs(q))
        names += [found.name for found in page.items]
        if not page.next_page_token:
            break
        query = replace(query, page_token=page.next_page_token)
    assert names == [f"{JOB}-4", f"{JOB}-2", f"{JOB}-0"]


async def test_jobs_are_found_by_a_label_in_each_order_also_beside_other_conditions(
    database: Database,
) -> None:
    labels = {
        number: {"team": "ops" if number % 3 else "lab", "run": str(number)} for number in range(9)
    }
    wide = {"team": "ops", "note": "x" * 10_000}

    def add(connection: Connection) -> None:
        tx = SqlTrainerTx(connection, EPOCH)
        for number, mine in labels.items():
            state = JobState.FAILED if number % 2 else JobState.QUEUED
            created = EPOCH + (number * 5 % 9) * TTL
            changes = {"name": f"{JOB}-{number}", "uid": str(number), "labels": mine}
            tx.add_job(job(**changes, state=state, create_time=created), TRIALS)
        elsewhere = "projects/other/trainingJobs/first"
        tx.add_job(job(name=elsewhere, uid="other", labels=wide), TRIALS)
        tx.remove_job(f"{JOB}-4")

    await database.write(add)

    async def found(filter_: str, order_by: str) -> list[int]:
        query = PageQuery("projects/default", 2, "", filter_, order_by)
        numbers: list[int] = []
        while True:
            page = await database.read(lambda tx, q=query: SqlTrainerReads(tx, EPOCH).jobs(q))
            numbers += [int(each.uid) for each in page.items]
            if not page.next_page_token:
                return numbers
            query = replace(query, page_token=page.next_page_token)

    ops = [number for number in labels if number % 3 and number != 4]
    newest = sorted(ops, key=lambda number: -(number * 5 % 9))
    assert await found("labels.team = ops", "") == newest
    assert await found("labels.team = ops", "name desc") == ops[::-1]
    assert await found("labels.team = ops", "state,create_time desc") == sorted(
        newest, key=lambda number: number % 2 == 0
    )
    assert await found("labels.run = 7 AND labels.team = ops", "") == [7]
    assert await found("labels.run = 3 AND labels.team = ops", "") == []
    assert await found("labels.run = 4", "") == []
    assert await found("labels.team = ops AND state = FAILED", "name") == [1, 5, 7]
    assert await found("labels.team = lab OR labels.run = 1", "name") == [0, 1, 3, 6]
    assert await found("NOT labels.team = ops", "name") == [0, 3, 6]

    await database.write(lambda connection: connection.execute(JOB_LABEL.delete()))
    for narrow in ("labels.team = ops", "state = FAILED AND (labels.run = 7 AND state = FAILED)"):
        assert await found(narrow, "") == [], "it was found without the index"


async def test_a_job_that_repeats_another_is_as_far_as_the_trials_that_it_has(
    database: Database,
) -> None:
    searching = spec(tuning=Tuning(Sampler.RANDOM, None, 99))
    done = replace(TRIALS[0], progress=1.0)
    fields = {"spec": searching, "state": JobState.RUNNING}
    jobs = [
        job(uid="0", **fields),
        job(uid="1", name=f"{JOB}-1", reproduction=Reproduction(JOB, 1e-5), **fields),
    ]

    def add(connection: Connection) -> None:
        for each in jobs:
            SqlTrainerTx(connection, EPOCH).add_job(each, [done])

    await database.write(add)
    progress = await database.read(lambda tx: SqlTrainerReads(tx, EPOCH).progress_of(jobs))
    assert progress == {JOB: 0.75 / 100, f"{JOB}-1": 0.75}
