"""Two real Tritons, of which one fails."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as aio_client

from services.common.tasks import background_tasks
from services.inference.adapters.batching import BatchLimits
from services.inference.adapters.triton.pool import ReplicaPool
from services.inference.adapters.triton.repository import model_name
from services.inference.adapters.triton.runtime import TritonRuntime
from services.inference.core.errors import QueueDeadlineExceeded
from services.inference.core.rows import Rows
from tests.support.eventually import eventually
from tests.support.triton import TritonServer

pytestmark = pytest.mark.real

ROW = Rows(1, np.array([[100.0], [5.0]], dtype=np.float32), (["AA"],))


@pytest.fixture
def second_server(tmp_path: Path):
    """Not shared: what a test restarts from a thread dies with that thread."""
    server = TritonServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture
async def pool(triton_server: TritonServer, second_server: TritonServer):
    return ReplicaPool([triton_server.address, second_server.address])


@pytest.fixture
async def model(pool, bundle):
    """On both, with two runs at once."""
    async with background_tasks() as tasks:
        runtime = TritonRuntime(
            pool, tasks, BatchLimits(max_batch_rows=1, concurrency=2), probe_s=0.1
        )
        loaded = await runtime.load(bundle(0.5))
        yield loaded
        await loaded.unload()
        await runtime.close()


async def runs_on(server: TritonServer, bundle) -> int:
    client = aio_client.InferenceServerClient(server.address)
    statistics = await client.get_inference_statistics(model_name(bundle(0.5)), "1")
    await client.close()
    return statistics.model_stats[0].inference_count


async def test_a_version_is_loaded_on_both_and_the_load_is_shared(
    model, bundle, triton_server, second_server
):
    servers = (triton_server, second_server)
    before = [await runs_on(server, bundle) for server in servers]

    async def gained() -> list[int]:
        now = [await runs_on(server, bundle) for server in servers]
        return [new - old for old, new in zip(before, now, strict=True)]

    async with asyncio.timeout(60):
        while min(await gained()) < 10:
            await asyncio.gather(*(model.infer(ROW, None) for _ in range(20)))


async def test_no_caller_notices_that_one_was_killed_and_it_is_used_again_when_it_is_back(
    model, pool, bundle, second_server
):
    expected = (await model.infer(ROW, None))["probabilities"].tolist()
    _, second = pool.replicas
    answers, stopped = [], asyncio.Event()

    async def call() -> None:
        while not stopped.is_set():
            answers.append((await model.infer(ROW, None))["probabilities"].tolist())

    async def more_answers() -> None:
        reached = len(answers) + 50
        await eventually(lambda: len(answers) >= reached)

    async with asyncio.TaskGroup() as callers:
        for _ in range(4):
            callers.create_task(call())
        await more_answers()
        await asyncio.to_thread(second_server.kill)
        await eventually(lambda: not pool.balancer.is_admitted(second))
        await more_answers()
        await asyncio.to_thread(second_server.restart)
        await eventually(lambda: pool.balancer.is_admitted(second), within_s=60)
        await more_answers()
        stopped.set()
    assert all(answer == expected for answer in answers)
    assert await runs_on(second_server, bundle) > 1


async def test_one_that_hangs_is_ejected_and_its_callers_end_with_their_deadlines(
    model, pool, second_server
):
    _, second = pool.replicas
    os.kill(second_server.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(60):
            while pool.balancer.is_admitted(second):
                with suppress(QueueDeadlineExceeded):
                    await model.infer(ROW, time.monotonic() + 0.2)
        for _ in range(20):
            await model.infer(ROW, time.monotonic() + 30)
    finally:
        os.kill(second_server.pid, signal.SIGCONT)
    await eventually(lambda: pool.balancer.is_admitted(second), within_s=60)


async def test_a_version_is_loaded_though_one_is_away_which_gets_it_later(
    pool, bundle, second_server
):
    await asyncio.to_thread(second_server.kill)
    async with background_tasks() as tasks:
        runtime = TritonRuntime(pool, tasks, BatchLimits(), probe_s=0.1)
        model = await runtime.load(bundle(0.5))
        await model.infer(ROW, None)
        await asyncio.to_thread(second_server.restart)
        second = pool.replicas[1]
        await eventually(lambda: pool.balancer.is_admitted(second), within_s=60)
        assert await runs_on(second_server, bundle) >= 1
        await model.unload()
        await runtime.close()
