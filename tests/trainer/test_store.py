"""One behaviour suite for the transaction port: in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from services.common.errors import InvalidRequest
from services.common.etags import EtagMismatch
from services.common.resources import Meta, PageQuery
from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.common.store.outbox import read_after
from services.common.store.tables import METADATA as COMMON_METADATA
from services.trainer.adapters.store.reads import SqlTrainerReads
from services.trainer.adapters.store.tables import METADATA
from services.trainer.adapters.store.transaction import SqlTrainerTx
from services.trainer.core.cross_validation import FoldScores
from services.trainer.core.errors import FreezeNotFound
from services.trainer.core.failures import ErrorClass
from services.trainer.core.freezes import Freeze
from services.trainer.core.gains import Gain
from services.trainer.core.jobs import (
    Attempt,
    JobError,
    MetricPoint,
    StoredCheckpoint,
    Trial,
)
from services.trainer.core.money import Charge
from services.trainer.core.ports import TrainerTx
from services.trainer.core.queues import Amounts, Queue, Usage
from services.trainer.core.reproduction import (
    Comparison,
    Difference,
    Outcome,
    Reproduction,
    Subject,
)
from services.trainer.core.states import AttemptState, JobState, TrialState
from services.trainer.core.use_cases.freezing import delete_freeze, set_freeze
from services.trainer.core.use_cases.queues import create_queue, delete_queue, update_queue
from services.trainer.wiring import MIGRATIONS
from tests.support.trainer_memory import MemoryTrainerTx
from tests.support.trainer_values import EPOCH, JOB, MODEL, job

Work: TypeAlias = Callable[[Any], Any]
Run: TypeAlias = Callable[[Work], Any]
TTL = timedelta(seconds=10)
SECOND = timedelta(seconds=1)
TRIALS = (
    Trial("mlp-1", 0, "mlp", {"epochs": 8.0}),
    Trial(
        "lightgbm-2",
        1,
        "lightgbm",
        {},
        candidate=1,
        folds=(FoldScores(200, 100, {"auc": 0.75}), FoldScores(200, 101, {"auc": 0.5})),
        gains={"auc": Gain(0.25, 0.125, 0.375)},
    ),
)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.real)])
async def run(request: pytest.FixtureRequest) -> AsyncIterator[Run]:
    """Runs work in one transaction after another over the same data."""
    if request.param == "memory":
        memory = MemoryTrainerTx()
        yield lambda work: work(memory)
        return
    database = Database(request.getfixturevalue(f"{request.param}_url"))
    await migrate(database, MIGRATIONS)
    yield lambda work: database.write_now(lambda tx: work(SqlTrainerTx(tx, EPOCH)))
    database.close()


def with_job(tx: TrainerTx) -> None:
    tx.add_job(job(), TRIALS)


def test_a_job_comes_back_as_it_was_stored(run: Run) -> None:
    run(with_job)
    assert run(lambda tx: tx.job(JOB)) == job()
    assert run(lambda tx: tx.trials(job().uid)) == TRIALS
    assert run(lambda tx: tx.job("projects/default/trainingJobs/other")) is None


def test_a_job_that_repeats_another_comes_back_with_how_it_compares(run: Run) -> None:
    first = Difference(Subject.POINTS, "mlp-1", "train_loss", 3, "0.5", "0.25")
    found = Comparison(Subject.POINTS, Outcome.DIFFERENT, 8, 1, 0.25, first, "a note")
    queued = job(reproduction=Reproduction(f"{JOB}-0", 1e-5))
    over = replace(queued, reproduction=Reproduction(f"{JOB}-0", 1e-5, (found,)))
    run(lambda tx: tx.add_job(queued, TRIALS))
    assert run(lambda tx: tx.job(JOB)) == queued
    run(lambda tx: tx.replace_job(over))
    assert run(lambda tx: tx.job(JOB)) == over


def test_a_replaced_job_keeps_its_attempts_and_its_error(run: Run) -> None:
    run(with_job)
    error = JobError(ErrorClass.WORKER_LOST, "killed")
    first = Attempt(
        1, "w1", 3, AttemptState.LOST, EPOCH, EPOCH + TTL, error, 7, node="n7", share=0.5
    )
    second = Attempt(2, "w2", 4, AttemptState.RUNNING, EPOCH)
    changed = replace(
        job(), revision=2, state=JobState.FAILED, error=error, attempts=(first, second)
    )
    run(lambda tx: tx.replace_job(changed))
    assert run(lambda tx: tx.job(JOB)) == changed
    run(lambda tx: tx.set_reported(changed.uid, 2, 9))
    assert run(lambda tx: tx.job(JOB)).attempts == (first, replace(second, reported=9))


def test_unfinished_jobs_are_those_that_are_not_over_oldest_first(run: Run) -> None:
    run(lambda tx: tx.add_job(job(name=JOB + "-b", uid="b", create_time=EPOCH + TTL), TRIALS))
    run(with_job)
    run(lambda tx: tx.add_job(job(name=JOB + "-c", uid="c", state=JobState.CANCELLED), TRIALS))
    assert [found.name for found in run(lambda tx: tx.unfinished_jobs())] == [JOB, JOB + "-b"]


def test_a_trial_is_replaced_by_its_place(run: Run) -> None:
    run(with_job)
    done = replace(
        TRIALS[1],
        state=TrialState.SUCCEEDED,
        progress=1.0,
        metrics={"auc": 0.7},
        duration_s=1.5,
        chosen_parameters={"rounds": 21.0},
    )
    run(lambda tx: tx.replace_trial(job().uid, done))
    assert run(lambda tx: tx.trials(job().uid)) == (TRIALS[0], done)
    assert run(lambda tx: tx.trial(job().uid, done.id)) == done
    assert run(lambda tx: tx.trial(job().uid, "mlp-9")) is None
    assert run(lambda tx: tx.trial("another", done.id)) is None


def test_a_removed_job_is_gone_with_its_trials_but_not_its_checkpoints(run: Run) -> None:
    run(with_job)
    checkpoint = StoredCheckpoint("mlp-1", 1, "sha256:" + "0" * 64, 10, EPOCH)
    run(lambda tx: tx.add_checkpoint(job().uid, checkpoint))
    run(lambda tx: tx.append_log(job().uid, 1, ["a line"]))
    run(lambda tx: tx.remove_job(JOB))
    assert run(lambda tx: (tx.job(JOB), tx.trials(job().uid))) == (None, ())
    assert run(lambda tx: tx.checkpoints(job().uid)) == (checkpoint,)


def test_checkpoints_are_newest_first_and_one_per_step(run: Run) -> None:
    stored = [
        StoredCheckpoint("mlp-1", step, f"sha256:{step:064}", 10, EPOCH + step * TTL, 0.5)
        for step in (1, 2, 3)
    ]
    for each in (*stored, stored[1]):
        run(lambda tx, each=each: tx.add_checkpoint("uid", each))
    assert run(lambda tx: tx.checkpoints("uid")) == tuple(reversed(stored))
    run(lambda tx: tx.remove_checkpoint("uid", stored[1]))
    assert run(lambda tx: tx.checkpoints("uid")) == (stored[2], stored[0])


def test_a_lease_has_one_holder_and_growing_fences(run: Run) -> None:
    first = run(lambda tx: tx.claim_lease("uid", "w1", TTL))
    assert run(lambda tx: tx.claim_lease("uid", "w2", TTL)) is None
    assert run(lambda tx: tx.holds_lease("uid", "w1", first))
    assert run(lambda tx: tx.prolong_lease("uid", "w1", first, TTL))
    assert not run(lambda tx: tx.lease_expired("uid"))
    run(lambda tx: tx.release_lease("uid", "w1", first))
    assert run(lambda tx: tx.lease_expired("uid"))
    second = run(lambda tx: tx.claim_lease("uid", "w2", TTL))
    assert second > first
    assert not run(lambda tx: tx.holds_lease("uid", "w1", first))
    assert not run(lambda tx: tx.prolong_lease("uid", "w1", first, TTL))


def charge(tick: int, seconds: int, **changes: Any) -> Charge:
    start = EPOCH + timedelta(minutes=tick)
    usual = Charge(JOB, job().uid, 1, tick, start, seconds, seconds * 7, "ann", MODEL, "v1")
    return replace(usual, **changes)


def test_an_entry_of_the_ledger_replaces_the_one_of_its_attempt_and_tick(run: Run) -> None:
    for entries in ([charge(0, 10)], [charge(0, 60), charge(1, 5)], [charge(1, 5)]):
        run(lambda tx, entries=entries: tx.put_charges(entries))
    run(lambda tx: tx.put_charges([charge(0, 9, owner="bob", attempt=2)]))
    assert run(lambda tx: tx.spent("projects/default", "ann", "2013-01")) == 65 * 7
    assert run(lambda tx: tx.spent("projects/default", "ann", "2013-02")) == 0


def test_an_owners_budget_is_changed_and_taken_away(run: Run) -> None:
    for micros in (5, 7, None):
        run(lambda tx, micros=micros: tx.set_owner_budget("projects/default", "ann", micros))
        assert run(lambda tx: tx.owner_budget("projects/default", "ann")) == micros
    assert run(lambda tx: tx.owner_budget("projects/default", "bob")) is None


def test_a_queue_and_what_was_taken_in_it_come_back_as_they_were_stored(run: Run) -> None:
    name = "projects/default/queues/bulk"
    wanted = Queue(
        Meta(name, "", 0, EPOCH, EPOCH, {"team": "ops"}), 3, Amounts(1, 2, 4096), Amounts(1), True
    )
    made: Queue = run(lambda tx: create_queue(tx, wanted))
    assert run(lambda tx: tx.queues.get(name)) == made == replace(wanted, meta=made.meta)
    assert list(run(lambda tx: tx.all_queues())) == [made]
    usage = Usage(1.5, EPOCH)
    assert run(lambda tx: tx.usage(name, "ann")) == Usage(0.0, EPOCH)
    run(lambda tx: tx.put_usage(name, "ann", Usage(0.5, EPOCH)))
    run(lambda tx: tx.put_usage(name, "ann", usage))
    assert run(lambda tx: tx.usages()) == {(name, "ann"): usage}
    changed = run(lambda tx: update_queue(tx, replace(wanted, weight=5), ["weight"], etag=""))
    assert run(lambda tx: tx.queues.get(name)) == changed
    run(lambda tx: delete_queue(tx, name, etag=changed.meta.etag))
    assert (list(run(lambda tx: tx.all_queues())), run(lambda tx: tx.usages())) == ([], {})


def test_a_freeze_is_set_anew_by_its_name_and_in_force_until_it_expires(run: Run) -> None:
    name = "projects/default/freezes/budget"

    def set_until(moment: datetime | None) -> Freeze:
        found: Freeze = run(lambda tx: set_freeze(tx, name, reason="Spent.", expire_time=moment))
        return found

    def in_force() -> list[Freeze]:
        return list(run(lambda tx: tx.freezes_in_force()))

    first = set_until(None)
    assert in_force() == [first]
    later = set_until(EPOCH + SECOND)
    assert (later.meta.uid, later.meta.revision) == (first.meta.uid, 2)
    assert in_force() == [later]
    run(lambda tx: tx.freezes.replace(later.set_anew("Spent.", EPOCH, EPOCH)))
    assert in_force() == []
    with pytest.raises(InvalidRequest):
        set_until(EPOCH)
    with pytest.raises(EtagMismatch):
        run(lambda tx: delete_freeze(tx, name, etag=first.meta.etag))
    run(lambda tx: delete_freeze(tx, name, etag=""))
    with pytest.raises(FreezeNotFound):
        run(lambda tx: delete_freeze(tx, name, etag=""))


def test_what_a_models_jobs_took_is_remembered_of_those_that_succeeded(run: Run) -> None:
    done = Attempt(1, "w1", 3, AttemptState.SUCCEEDED, EPOCH, EPOCH + TTL, charged_s=11)
    for number, state in enumerate((JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED)):
        one = job(name=f"{JOB}-{number}", uid=str(number), state=state)
        run(lambda tx, one=one: tx.add_job(one, TRIALS))
        changed = replace(one, attempts=(replace(done, charged_s=11 + number),))
        run(lambda tx, changed=changed: tx.replace_job(changed))
    assert sorted(run(lambda tx: tx.durations_of(MODEL, 5))) == [11, 13]
    assert list(run(lambda tx: tx.durations_of("projects/default/models/other", 5))) == []
    changed = replace(done, charged_s=20, granted_s=30)
    run(lambda tx: tx.set_metered("0", changed))
    assert run(lambda tx: tx.job(f"{JOB}-0")).attempts == (changed,)


async def test_migrations_leave_the_tables_that_the_code_expects(database: Database) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, kind, _: kind != "table" or name in METADATA.tables},
        )
        return compare_metadata(context, METADATA)

    assert await database.read(differences) == []
    assert not METADATA.tables.keys() & COMMON_METADATA.tables.keys()


async def test_an_event_is_written_in_the_transaction_of_its_change(database: Database) -> None:
    def fails(connection: Connection) -> None:
        tx = SqlTrainerTx(connection, EPOCH)
        tx.add_job(job(), TRIALS)
        tx.tell("job.queued", JOB, {})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.write(fails)
    events, _ = await database.read(lambda tx: read_after(tx, "", 10))
    assert events == []


def points(*steps: int) -> list[MetricPoint]:
    return [MetricPoint("mlp-1", "train_loss", step, step / 10, EPOCH) for step in steps]


async def test_a_watcher_sees_each_point_and_a_replaced_one_again(database: Database) -> None:
    await database.write(lambda tx: SqlTrainerTx(tx, EPOCH).put_points("uid", points(1, 2)))
    reads = lambda work: database.read(lambda tx: work(SqlTrainerReads(tx, EPOCH)))  # noqa: E731
    seen, position = await reads(lambda r: r.points_after("uid", 0, 10))
    assert seen == points(1, 2)
    await database.write(lambda tx: SqlTrainerTx(tx, EPOCH).put_points("uid", points(2, 3)))
    seen, _ = await reads(lambda r: r.points_after("uid", position, 10))
    assert seen == points(2, 3)
    page = await reads(lambda r: r.points(PageQuery(JOB, 0, ""), "uid", "train_loss"))
    assert list(page.items) == points(1, 2, 3)


async def test_a_report_replaces_the_steps_that_it_names_of_each_trial_and_series_and_no_other(
    database: Database,
) -> None:
    def of(trial: str, series: str, value: float, *steps: int) -> list[MetricPoint]:
        return [MetricPoint(trial, series, step, value, EPOCH) for step in steps]

    loss, auc = "loss", "auc"
    first = [*of("mlp-1", loss, 1, 1, 2, 3), *of("mlp-1", auc, 1, 2), *of("mlp-2", loss, 1, 2)]
    second = [*of("mlp-1", loss, 2, 3, 1), *of("mlp-2", loss, 2, 2), *of("mlp-2", loss, 3, 2)]
    for report in (first, second):
        await database.write(
            lambda tx, report=report: SqlTrainerTx(tx, EPOCH).put_points("uid", report)
        )
    page = await database.read(
        lambda tx: SqlTrainerReads(tx, EPOCH).points(PageQuery(JOB, 0, ""), "uid", "")
    )
    assert list(page.items) == [
        *of("mlp-1", auc, 1, 2),
        *of("mlp-1", loss, 2, 1),
        *of("mlp-1", loss, 1, 2),
        *of("mlp-1", loss, 2, 3),
        *of("mlp-2", loss, 3, 2),
    ]


async def test_log_lines_count_without_gaps(database: Database) -> None:
    for lines in (["one", "two"], [], ["three"]):
        await database.write(
            lambda tx, lines=lines: SqlTrainerTx(tx, EPOCH).append_log("uid", 1, lines)
        )
    found = await database.read(lambda tx: SqlTrainerReads(tx, EPOCH).log_after("uid", 1, 10))
    assert [(line.number, line.text) for line in found] == [(2, "two"), (3, "three")]


async def test_cleanups_of_failed_jobs_rest_first(database: Database) -> None:
    def add(connection: Connection) -> None:
        tx = SqlTrainerTx(connection, EPOCH)
        tx.add_cleanup(job(uid="good", state=JobState.SUCCEEDED))
        tx.add_cleanup(job(uid="bad", state=JobState.CANCELLED))

    await database.write(add)

    async def due(now: Any) -> list[str]:
        found = await database.read(lambda tx: SqlTrainerTx(tx, now).cleanups(TTL))
        return sorted(each.job_uid for each in found)

    assert await due(EPOCH) == ["good"]
    assert await due(EPOCH + TTL) == ["bad", "good"]
    await database.write(lambda tx: SqlTrainerTx(tx, EPOCH).end_cleanup("bad"))
    assert await due(EPOCH + TTL) == ["good"]
