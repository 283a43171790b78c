"""Joining concurrent callers."""

from __future__ import annotations

import asyncio
import contextlib
import time

import numpy as np
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from services.common.tasks import background_tasks
from services.inference.adapters.batching import BatchLimits, MicroBatcher
from services.inference.core.errors import (
    ModelFailed,
    ModelUnavailable,
    QueueDeadlineExceeded,
    QueueFull,
)
from services.inference.core.rows import Rows

POISON = -1.0


def rows_of(*values: float) -> Rows:
    return Rows(len(values), np.array([values], dtype=np.float32), ())


class Model:
    """Doubles its rows; holds each run until released; refuses poison."""

    def __init__(self, held: bool = False) -> None:
        self.runs: list[list[float]] = []
        self.released = asyncio.Event()
        if not held:
            self.released.set()

    async def run(self, rows: Rows, deadline: float | None):
        values = rows.numeric[0].tolist()
        self.runs.append(values)
        await self.released.wait()
        if POISON in values:
            raise ModelFailed("v", "poison")
        return {"doubled": rows.numeric[0] * 2}


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@given(
    st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=7), min_size=1, max_size=30),
    st.integers(1, 20),
    st.integers(1, 3),
)
def test_each_caller_gets_exactly_its_own_rows(callers, max_batch_rows, concurrency):
    async def scenario() -> None:
        model = Model()
        limits = BatchLimits(max_batch_rows, 10_000, concurrency)
        batcher = MicroBatcher("v", model.run, limits)
        async with background_tasks() as tasks:
            tasks.create_task(batcher.serve())
            answers = await asyncio.gather(
                *(batcher.infer(rows_of(*values), None) for values in callers)
            )
        assert [a["doubled"].tolist() for a in answers] == [
            [2.0 * value for value in values] for values in callers
        ]
        assert all(len(run) <= max(max_batch_rows, 7) for run in model.runs)

    asyncio.run(scenario())


@pytest.fixture
async def held():
    """A model whose first run is under way and held, with two rows as the largest batch."""
    model = Model(held=True)
    batcher = MicroBatcher("v", model.run, BatchLimits(2, 4, 1))
    async with background_tasks() as tasks:
        tasks.create_task(batcher.serve())
        first = tasks.create_task(batcher.infer(rows_of(9.0), None))
        await until(lambda: model.runs)
        yield model, batcher, tasks
        model.released.set()
        await first


async def test_callers_of_one_moment_share_a_run():
    model = Model()
    batcher = MicroBatcher("v", model.run, BatchLimits())
    async with background_tasks() as tasks:
        tasks.create_task(batcher.serve())
        await asyncio.gather(*(batcher.infer(rows_of(float(i)), None) for i in range(5)))
    assert model.runs == [[0.0, 1.0, 2.0, 3.0, 4.0]]


async def test_rows_that_a_model_refuses_fail_their_own_caller_alone():
    model = Model()
    batcher = MicroBatcher("v", model.run, BatchLimits())
    async with background_tasks() as tasks:
        tasks.create_task(batcher.serve())
        good, bad, other = await asyncio.gather(
            batcher.infer(rows_of(1.0), None),
            batcher.infer(rows_of(POISON), None),
            batcher.infer(rows_of(2.0), None),
            return_exceptions=True,
        )
    assert isinstance(bad, ModelFailed)
    assert good["doubled"].tolist() == [2.0]
    assert other["doubled"].tolist() == [4.0]


async def test_a_caller_whose_deadline_passes_in_the_queue_is_told_so_and_not_run(held):
    model, batcher, tasks = held
    deadline = time.monotonic() + 0.02
    late = tasks.create_task(_outcome(batcher.infer(rows_of(1.0), deadline)))
    await until(lambda: batcher.waiting_rows and time.monotonic() > deadline)
    model.released.set()
    assert isinstance(await late, QueueDeadlineExceeded)
    assert [1.0] not in model.runs


async def test_a_caller_whose_deadline_has_passed_never_enters_the_queue(held):
    _, batcher, _ = held
    with pytest.raises(QueueDeadlineExceeded):
        await batcher.infer(rows_of(1.0), time.monotonic() - 1)
    assert batcher.waiting_rows == 0


async def test_a_caller_that_left_is_not_run(held):
    model, batcher, tasks = held
    left = tasks.create_task(batcher.infer(rows_of(1.0), None))
    stays = tasks.create_task(batcher.infer(rows_of(2.0), None))
    await until(lambda: batcher.waiting_rows == 2)
    left.cancel()
    model.released.set()
    assert (await stays)["doubled"].tolist() == [4.0]
    assert model.runs[1:] == [[2.0]]


async def test_more_rows_than_may_wait_are_turned_away(held):
    model, batcher, tasks = held
    waiting = [tasks.create_task(batcher.infer(rows_of(1.0, 2.0), None)) for _ in range(2)]
    await until(lambda: batcher.waiting_rows == 4)
    with pytest.raises(QueueFull):
        await batcher.infer(rows_of(3.0), None)
    model.released.set()
    await asyncio.gather(*waiting)


@pytest.fixture
async def crowded():
    """Starts a batcher with one held run and one row that waits behind it."""
    async with background_tasks() as tasks, contextlib.AsyncExitStack() as stack:

        async def start(limits: BatchLimits):
            model = Model(held=True)
            stack.callback(model.released.set)
            batcher = MicroBatcher("v", model.run, limits)
            tasks.create_task(batcher.serve())
            tasks.create_task(batcher.infer(rows_of(9.0), None))
            await until(lambda: model.runs)
            tasks.create_task(batcher.infer(rows_of(1.0), None))
            await until(lambda: batcher.waiting_rows)
            return model, batcher, tasks

        yield start


@pytest.mark.parametrize(
    ("limits", "rows", "unit"),
    [
        (BatchLimits(max_waiting_rows=4), rows_of(*[1.0] * 4), "rows"),
        (BatchLimits(max_waiting_bytes=40), rows_of(*[1.0] * 10), "bytes"),
        (BatchLimits(max_waiting_bytes=40), Rows(1, rows_of(1.0).numeric, (["x" * 40],)), "bytes"),
    ],
    ids=["rows", "bytes_of_numbers", "bytes_of_texts"],
)
async def test_what_would_overfill_the_queue_is_refused_with_a_time_to_come_back(
    crowded, limits, rows, unit
):
    _, batcher, _ = await crowded(limits)
    with pytest.raises(QueueFull) as caught:
        await batcher.infer(rows, None)
    assert f"limit_{unit}" in caught.value.metadata
    assert 0.05 <= caught.value.retry_after_s <= 5.0


async def test_callers_are_refused_while_the_first_has_waited_too_long(crowded):
    model, batcher, _tasks = await crowded(BatchLimits(max_waiting_s=0.01))
    long_after = time.monotonic() + 0.02
    await until(lambda: time.monotonic() > long_after)
    with pytest.raises(QueueFull) as caught:
        await batcher.infer(rows_of(2.0), None)
    assert "waiting_ms" in caught.value.metadata
    model.released.set()
    await until(lambda: not batcher.waiting_rows)
    assert (await batcher.infer(rows_of(2.0), None))["doubled"].tolist() == [4.0]


async def test_a_run_is_bounded_by_the_bytes_of_its_rows(crowded):
    model, batcher, tasks = await crowded(BatchLimits(max_batch_bytes=8))
    more = [tasks.create_task(batcher.infer(rows_of(float(i)), None)) for i in (2, 3)]
    await until(lambda: batcher.waiting_rows == 3)
    model.released.set()
    await asyncio.gather(*more)
    assert model.runs[1:] == [[1.0, 2.0], [3.0]]


async def test_a_run_that_is_not_full_waits_for_company_while_another_is_under_way(crowded):
    model, batcher, tasks = await crowded(BatchLimits(3, 100, 2, linger_s=60.0))
    more = [tasks.create_task(batcher.infer(rows_of(float(i)), None)) for i in (2, 3)]
    await until(lambda: len(model.runs) == 2)
    assert model.runs[1] == [1.0, 2.0, 3.0]
    model.released.set()
    await asyncio.gather(*more)


async def test_what_lingered_runs_when_the_other_run_ends(crowded):
    model, _batcher, _ = await crowded(BatchLimits(3, 100, 2, linger_s=60.0))
    assert len(model.runs) == 1
    model.released.set()
    await until(lambda: model.runs[1:] == [[1.0]])


async def test_nobody_lingers_beyond_the_time_given(crowded):
    model, _, _ = await crowded(BatchLimits(3, 100, 2, linger_s=0.01))
    await until(lambda: model.runs[1:] == [[1.0]])


@pytest.mark.parametrize("linger_s", [0.0, 0.0003, 0.001, 0.01])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_callers_that_come_and_go_are_answered_whatever_the_loop_and_the_lingering(run, linger_s):
    async def double(rows: Rows, _: float | None):
        await asyncio.sleep(0.0002)
        return {"doubled": rows.numeric[0] * 2}

    async def call(batcher: MicroBatcher, caller: int) -> None:
        for number in range(30):
            value = float(100 * caller + number)
            answer = await batcher.infer(rows_of(value), time.monotonic() + 60)
            assert answer["doubled"].tolist() == [2 * value]

    async def scenario() -> None:
        batcher = MicroBatcher("v", double, BatchLimits(5, 100, 2, linger_s=linger_s))
        async with background_tasks() as tasks:
            tasks.create_task(batcher.serve())
            async with asyncio.timeout(60):
                await asyncio.gather(*(call(batcher, caller) for caller in range(9)))

    run(scenario())


async def test_a_caller_in_a_hurry_ends_the_lingering(crowded):
    model, batcher, tasks = await crowded(BatchLimits(3, 100, 2, linger_s=60.0))
    late = time.monotonic() + 0.05
    hurried = tasks.create_task(_outcome(batcher.infer(rows_of(2.0), late)))
    await until(lambda: len(model.runs) == 2 or hurried.done())
    model.released.set()
    await hurried
    assert model.runs[1][0] == 1.0


async def test_draining_answers_those_who_wait_and_refuses_the_next(held):
    model, batcher, tasks = held
    waiting = tasks.create_task(batcher.infer(rows_of(1.0), None))
    await until(lambda: batcher.waiting_rows)
    draining = tasks.create_task(batcher.drain())
    await asyncio.sleep(0)
    with pytest.raises(ModelUnavailable):
        await batcher.infer(rows_of(2.0), None)
    assert not draining.done()
    model.released.set()
    await draining
    assert (await waiting)["doubled"].tolist() == [2.0]


async def _outcome(call):
    try:
        return await call
    except Exception as error:
        return error
