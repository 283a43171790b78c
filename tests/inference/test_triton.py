"""What only Triton does: stubs crash, servers forget."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as aio_client

from services.common.tasks import background_tasks
from services.inference.adapters.batching import BatchLimits
from services.inference.adapters.triton.pool import ReplicaPool
from services.inference.adapters.triton.repository import Backend
from services.inference.adapters.triton.runtime import TritonRuntime
from services.inference.core.endpoints import Runtime
from services.inference.core.errors import ModelUnavailable
from services.inference.core.rows import Rows
from tests.support.processes import living_children
from tests.support.serving import data_plane, oip_server
from tests.support.triton import TritonServer

pytestmark = pytest.mark.real

ROW = Rows(1, np.array([[100.0], [5.0]], dtype=np.float32), (["AA"],))


@pytest.fixture
async def pool(triton_server: TritonServer):
    return ReplicaPool([triton_server.address])


@pytest.fixture
async def runtime(pool: ReplicaPool):
    async with background_tasks() as tasks:
        running = TritonRuntime(pool, tasks, BatchLimits(), probe_s=0.2)
        yield running
        await running.close()


async def until(condition, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_a_server_without_an_onnxruntime_backend_is_found_out(runtime, pool, bundle):
    model = await runtime.load(bundle(1.0))
    (replica,) = pool.replicas
    assert pool.backend_of(replica) is Backend.PYTHON
    await model.unload()


async def test_a_crashed_stub_is_revived_and_its_caller_answered(runtime, bundle, triton_server):
    others = living_children(triton_server.pid)
    model = await runtime.load(bundle(1.0))
    expected = await model.infer(ROW, None)
    (stub,) = living_children(triton_server.pid) - others
    os.kill(stub, signal.SIGKILL)
    answers = await asyncio.gather(*(model.infer(ROW, None) for _ in range(8)))
    await model.unload()
    assert all(
        answer["probabilities"].tolist() == expected["probabilities"].tolist() for answer in answers
    )


async def test_a_crashed_stub_is_revived_without_any_caller(runtime, bundle, triton_server):
    others = living_children(triton_server.pid)
    model = await runtime.load(bundle(1.0))
    (killed,) = living_children(triton_server.pid) - others
    os.kill(killed, signal.SIGKILL)

    async def revived() -> bool:
        return bool(living_children(triton_server.pid) - others - {killed})

    await until(revived)
    await model.unload()


async def test_readiness_is_told_only_of_a_model_that_answers(
    tmp_path, triton_server, pool, publish
):
    others = living_children(triton_server.pid)
    async with background_tasks() as tasks:
        runtime = TritonRuntime(pool, tasks, BatchLimits())
        async with data_plane(tmp_path, {Runtime.TRITON: runtime}) as plane:
            await plane.serve(publish(1), runtime=Runtime.TRITON)
            async with oip_server(plane) as address:
                client = aio_client.InferenceServerClient(address)
                for _ in range(2):
                    (stub,) = living_children(triton_server.pid) - others
                    os.kill(stub, signal.SIGKILL)

                    async def is_ready(client=client) -> bool:
                        return await client.is_model_ready("delays")

                    await until(is_ready)
                    assert len(living_children(triton_server.pid) - others) == 1
                await client.close()
            plane.host.close()
        await runtime.close()


async def test_a_restarted_server_gets_its_models_back(bundle, tmp_path: Path):
    server = TritonServer(tmp_path)
    try:
        async with background_tasks() as tasks:
            runtime = TritonRuntime(
                ReplicaPool([server.address]), tasks, BatchLimits(), probe_s=0.2
            )
            model = await runtime.load(bundle(1.0))
            await asyncio.to_thread(server.kill)
            with pytest.raises(ModelUnavailable):
                await model.infer(ROW, None)
            await asyncio.to_thread(server.restart)

            async def answers() -> bool:
                try:
                    await model.infer(ROW, None)
                except ModelUnavailable:
                    return False
                return True

            await until(answers)
            await model.unload()
            await runtime.close()
    finally:
        await asyncio.to_thread(server.stop)
