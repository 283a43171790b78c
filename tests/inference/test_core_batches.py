"""Batch prediction jobs, without anything outside."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidRequest
from services.common.etags import EtagMismatch
from services.inference.core.batch_worker import RUN_ROWS, RateLimit
from services.inference.core.batches import (
    MAX_PARTS,
    BatchState,
    InputColumn,
    InputFile,
    InputSnapshot,
    WrittenPart,
    check_columns,
    part_rows_for,
    parts_of,
)
from services.inference.core.errors import (
    BatchJobActive,
    BatchJobNotFound,
    BatchJobOver,
    SnapshotMismatch,
    VersionNotServable,
)
from services.inference.core.reliances import batch_inputs_needed
from services.inference.core.signature import parse_signature
from services.inference.core.use_cases import batches as cases
from tests.support.batches import JOB, SNAPSHOT, batch_job
from tests.support.bundles import TinyModel, tiny_files
from tests.support.inference_memory import MemoryInferenceTx
from tests.support.serving import T0, version_name

SIGNATURE = parse_signature(tiny_files(TinyModel())["signature.json"])
FITTING = (
    InputColumn("distance", "int64", 3),
    InputColumn("delay", "double", 0),
    InputColumn("carrier", "string", 1),
)


def file_of(rows: int, name: str = "a.parquet") -> InputFile:
    return InputFile(name, "sha256:" + "a" * 64, 100, rows)


def written(number: int, rows: int = 10) -> WrittenPart:
    path = f"part-{number:05}.parquet"
    return WrittenPart(path, "sha256:" + "b" * 64, 50, rows, "a.parquet", 10 * number)


def running(rows: int = 25) -> MemoryInferenceTx:
    tx = MemoryInferenceTx()
    cases.create_job(tx, batch_job(file_of(rows)))
    cases.begin(tx, JOB, "file:///out", T0)
    return tx


@given(st.lists(st.integers(0, 200), max_size=8), st.integers(1, 70))
def test_the_parts_hold_each_row_once_and_in_order(rows, part_rows):
    files = [file_of(count, f"{i}.parquet") for i, count in enumerate(rows)]
    parts = list(parts_of(files, part_rows))
    covered = [
        (part.source.path, row)
        for part in parts
        for row in range(part.first_row, part.first_row + part.rows)
    ]
    assert covered == [(file.path, row) for file in files for row in range(file.rows)]
    assert all(0 < part.rows <= part_rows for part in parts)
    assert [part.number for part in parts] == list(range(len(parts)))


@given(st.lists(st.integers(0, 10**8), max_size=50))
def test_a_job_that_leaves_the_size_of_parts_open_never_has_too_many(rows):
    files = [file_of(count) for count in rows]
    chosen = part_rows_for(files, 0)
    assert sum(-(-count // chosen) for count in rows) <= MAX_PARTS


def test_too_small_parts_are_refused_with_a_size_that_would_do():
    files = [file_of(10 * MAX_PARTS), file_of(5)]
    with pytest.raises(InvalidRequest) as refusal:
        part_rows_for(files, 1)
    assert refusal.value.violations[0].field == "batch_prediction_job.part_rows"
    assert part_rows_for(files, 11) == 11


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (None, "is missing"),
        (InputColumn("delay", "string", 0), "is string; the version takes bool or double or int64"),
        (InputColumn("delay", "double", 2), "has no value in 2 rows; the version needs one"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused_by_column(change, fault):
    columns = [*FITTING[:1], *([] if change is None else [change]), *FITTING[2:]]
    with pytest.raises(SnapshotMismatch) as refusal:
        check_columns(snapshot_of(*columns), version_name(1), SIGNATURE)
    assert refusal.value.metadata["column"] == "delay"
    assert [(each.subject, each.description) for each in refusal.value.violations] == [
        ("delay", fault)
    ]


def test_columns_beyond_the_version_s_are_left_alone_unless_they_hide_the_output_s():
    more = (*FITTING, InputColumn("score", "double", 0))
    check_columns(snapshot_of(*more), version_name(1), SIGNATURE)
    with pytest.raises(SnapshotMismatch) as refusal:
        check_columns(snapshot_of(*more, key="score"), version_name(1), SIGNATURE)
    assert refusal.value.metadata["column"] == "score"


def snapshot_of(*columns: InputColumn, key: str = "flight") -> InputSnapshot:
    return InputSnapshot(SNAPSHOT, "sha256:" + "5" * 64, (file_of(3),), columns, (key,))


def test_progress_is_what_is_durable_and_the_speed_is_that_of_work():
    tx = running()
    assert cases.get_job(tx, JOB).remaining is None
    cases.add_part(tx, JOB, written(0), 2.0, T0)
    job = cases.get_job(tx, JOB)
    assert (job.rows_done, job.rows_total, job.rows_per_s) == (10, 25, 5.0)
    assert job.remaining == timedelta(seconds=3)
    assert [part.path for part in job.todo] == ["part-00001.parquet", "part-00002.parquet"]


def test_a_part_counts_once_and_in_its_turn():
    tx = running()
    cases.add_part(tx, JOB, written(0), 1.0, T0)
    cases.add_part(tx, JOB, written(0), 1.0, T0)
    cases.add_part(tx, JOB, written(2, 5), 1.0, T0)
    assert cases.get_job(tx, JOB).rows_done == 10
    cases.add_part(tx, JOB, written(1), 1.0, T0)
    assert cases.add_part(tx, JOB, written(2, 5), 1.0, T0).state is BatchState.FINISHING
    done = cases.succeed(tx, JOB, "sha256:" + "c" * 64, T0)
    assert (done.state, done.rows_done, done.remaining) == (BatchState.SUCCEEDED, 25, None)


def test_a_snapshot_without_rows_needs_a_manifest_alone():
    assert cases.get_job(running(0), JOB).state is BatchState.FINISHING


def test_a_cancelled_job_is_over_once_its_files_are_gone():
    tx = running()
    cases.add_part(tx, JOB, written(0), 1.0, T0)
    assert cases.cancel_job(tx, JOB, "", T0).state is BatchState.CANCELLING
    # Who still works on it comes too late.
    assert cases.add_part(tx, JOB, written(1), 1.0, T0).rows_done == 10
    assert cases.succeed(tx, JOB, "", T0).state is BatchState.CANCELLING
    assert [each.meta.name for each in tx.unfinished_batch_jobs()] == [JOB]
    over = cases.end_removed(tx, JOB, T0)
    assert (over.state, over.written, over.end_time) == (BatchState.CANCELLED, (), T0)
    assert cases.cancel_job(tx, JOB, "", T0) == over
    assert not tx.unfinished_batch_jobs()


def test_a_job_that_waits_is_cancelled_at_once_and_a_complete_one_never():
    tx = MemoryInferenceTx()
    cases.create_job(tx, batch_job(file_of(5)))
    assert cases.cancel_job(tx, JOB, "", T0).state is BatchState.CANCELLED
    tx = running(5)
    cases.add_part(tx, JOB, written(0, 5), 1.0, T0)
    with pytest.raises(BatchJobOver) as refusal:
        cases.cancel_job(tx, JOB, "", T0)
    assert refusal.value.metadata["state"] == "FINISHING"


def test_a_paused_job_keeps_its_parts_and_goes_on_after_them():
    tx = running()
    cases.add_part(tx, JOB, written(0), 1.0, T0)
    paused = cases.pause_job(tx, JOB, "", T0)
    assert (paused.state, paused.rows_done, paused.remaining) == (BatchState.PAUSED, 10, None)
    assert cases.pause_job(tx, JOB, "", T0) == paused
    # Who still works on it comes too late.
    assert cases.add_part(tx, JOB, written(1), 1.0, T0) == paused
    # Its snapshot and version are kept for it.
    assert batch_inputs_needed(tx) == {(JOB, SNAPSHOT), (JOB, version_name(1))}
    resumed = cases.resume_job(tx, JOB, "", T0)
    assert (resumed.state, [part.number for part in resumed.todo]) == (BatchState.RUNNING, [1, 2])
    assert cases.resume_job(tx, JOB, "", T0) == resumed
    with pytest.raises(EtagMismatch):
        cases.pause_job(tx, JOB, paused.meta.etag, T0)


def test_a_job_that_waits_is_paused_waits_again_and_can_be_cancelled():
    tx = MemoryInferenceTx()
    cases.create_job(tx, batch_job(file_of(5)))
    cases.pause_job(tx, JOB, "", T0)
    assert cases.begin(tx, JOB, "file:///out", T0).state is BatchState.PAUSED
    assert cases.resume_job(tx, JOB, "", T0).state is BatchState.PENDING
    cases.pause_job(tx, JOB, "", T0)
    assert cases.cancel_job(tx, JOB, "", T0).state is BatchState.CANCELLING


@pytest.mark.parametrize("change", [cases.pause_job, cases.resume_job])
def test_what_ends_is_neither_paused_nor_resumed(change):
    tx = running(5)
    cases.add_part(tx, JOB, written(0, 5), 1.0, T0)
    for state in ("FINISHING", "SUCCEEDED"):
        with pytest.raises(BatchJobOver) as refusal:
            change(tx, JOB, "", T0)
        assert refusal.value.metadata["state"] == state
        cases.succeed(tx, JOB, "sha256:" + "c" * 64, T0)


def test_only_a_job_that_is_over_is_deleted_and_it_is_gone_once_its_output_is():
    tx = running(5)
    for pause in (False, True):
        if pause:
            cases.pause_job(tx, JOB, "", T0)
        with pytest.raises(BatchJobActive):
            cases.delete_job(tx, JOB, "", T0)
    cases.resume_job(tx, JOB, "", T0)
    cases.add_part(tx, JOB, written(0, 5), 1.0, T0)
    cases.succeed(tx, JOB, "sha256:" + "c" * 64, T0)
    cases.forget(tx, JOB)
    deleting = cases.delete_job(tx, JOB, "", T0)
    assert (deleting.state, deleting.output_url) == (BatchState.DELETING, "file:///out")
    assert cases.delete_job(tx, JOB, "", T0) == deleting
    assert batch_inputs_needed(tx) == set()
    assert [each.meta.name for each in tx.unfinished_batch_jobs()] == [JOB]
    cases.forget(tx, JOB)
    cases.forget(tx, JOB)
    with pytest.raises(BatchJobNotFound):
        cases.get_job(tx, JOB)


def test_a_job_that_can_t_succeed_says_why():
    tx = running()
    error = VersionNotServable(version_name(1), "it is gone")
    cases.give_up(tx, JOB, error, T0)
    failed = cases.end_removed(tx, JOB, T0)
    assert failed.state is BatchState.FAILED
    assert (failed.reason, failed.message) == (error.reason, str(error))


@given(st.integers(1, 2000), st.lists(st.integers(1, 300), min_size=1, max_size=30))
def test_a_limited_job_never_goes_faster(rows_per_s, runs):
    limit = RateLimit(rows_per_s)
    assert limit.run_rows == min(RUN_ROWS, rows_per_s)
    now_s = begun_s = 1000.0
    before = 0
    for rows in runs:
        now_s += limit.wait_s(rows, now_s)
        assert before <= rows_per_s * (now_s - begun_s) + 1e-3
        before += rows


def test_an_unlimited_job_never_waits():
    limit = RateLimit(0)
    assert limit.run_rows == RUN_ROWS
    assert limit.wait_s(10**9, 0.0) == limit.wait_s(1, 0.0) == 0.0
