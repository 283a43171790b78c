"""One behaviour for every model runtime."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from services.common.tasks import background_tasks
from services.inference.adapters.batching import BatchLimits
from services.inference.adapters.onnx_runtime import OnnxRuntime, _RunCosts
from services.inference.adapters.triton.pool import ReplicaPool
from services.inference.adapters.triton.runtime import TritonRuntime
from services.inference.core.errors import ModelUnavailable, UnservableBundle
from services.inference.core.rows import Rows
from services.inference.core.samples import check_answer
from tests.support.bundles import TinyModel, tiny_files


@pytest.fixture(params=["onnx", pytest.param("triton", marks=pytest.mark.real)])
async def runtime(request):
    """Every runtime in turn; a new one is one line here."""
    async with background_tasks() as tasks:
        if request.param == "onnx":
            running = OnnxRuntime(tasks, BatchLimits())
            yield running
            running.close()
        else:
            server = request.getfixturevalue("triton_server")
            running = TritonRuntime(ReplicaPool([server.address]), tasks, BatchLimits())
            yield running
            await running.close()


def rows_of(*rows: tuple[float, float, str]) -> Rows:
    distance, delay, carrier = zip(*rows, strict=True)
    return Rows(len(rows), np.array([distance, delay], dtype=np.float32), (list(carrier),))


async def test_a_loaded_model_computes_what_its_graph_says(runtime, bundle):
    model = await runtime.load(bundle(bias=0.25))
    flights = [(100.0, 5.0, "AA"), (math.nan, -3.0, "UA"), (2500.0, 0.0, "other"), (1.0, 1.0, "")]
    outputs = await model.infer(rows_of(*flights), None)
    await model.unload()
    check_answer(bundle(bias=0.25).signature, outputs, len(flights))
    expected = [TinyModel(0.25).probability(*flight) for flight in flights]
    np.testing.assert_allclose(outputs["probabilities"][:, 1], expected, rtol=1e-5)
    assert outputs["label"].tolist() == [int(p > 0.5) for p in expected]


async def test_concurrent_callers_get_their_own_rows(runtime, bundle):
    model = await runtime.load(bundle())
    flights = [[(float(i), float(j), "AA") for j in range(1 + i % 3)] for i in range(60)]
    answers = await asyncio.gather(*(model.infer(rows_of(*rows), None) for rows in flights))
    await model.unload()
    for rows, outputs in zip(flights, answers, strict=True):
        expected = [TinyModel().probability(*row) for row in rows]
        np.testing.assert_allclose(outputs["probabilities"][:, 1], expected, rtol=1e-5)
    assert model.statistics.rows == sum(map(len, flights))
    assert model.statistics.runs < len(flights)


async def test_versions_run_side_by_side(runtime, bundle):
    old, new = await runtime.load(bundle(0.0)), await runtime.load(bundle(2.0))
    flight = (100.0, 5.0, "AA")
    before = await old.infer(rows_of(flight), None)
    after = await new.infer(rows_of(flight), None)
    await old.unload()
    still = await new.infer(rows_of(flight), None)
    await new.unload()
    assert before["probabilities"][0, 1] == pytest.approx(TinyModel(0.0).probability(*flight))
    assert after["probabilities"][0, 1] == pytest.approx(TinyModel(2.0).probability(*flight))
    assert still["probabilities"].tolist() == after["probabilities"].tolist()


async def test_a_model_that_is_no_onnx_is_refused(runtime, bundle):
    with pytest.raises(UnservableBundle):
        await runtime.load(bundle(files={**tiny_files(), "model.onnx": b"no model"}))


async def test_an_unloaded_model_refuses_callers(runtime, bundle):
    model = await runtime.load(bundle(3.0))
    await model.unload()
    with pytest.raises(ModelUnavailable):
        await model.infer(rows_of((1.0, 1.0, "AA")), None)


async def test_a_version_loads_again_after_it_was_unloaded(runtime, bundle):
    model = await runtime.load(bundle(4.0))
    await model.unload()
    again = await runtime.load(bundle(4.0))
    outputs = await again.infer(rows_of((1.0, 1.0, "AA")), None)
    await again.unload()
    assert len(outputs["label"]) == 1


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_a_run_of_unknown_size_is_heavy_until_its_like_was_light(rows):
    costs = _RunCosts()
    assert not costs.is_light(rows)
    costs.learn(rows, 10_000)
    assert costs.is_light(rows)
    assert not costs.is_light(4 * rows)
    for _ in range(50):
        costs.learn(rows, 5_000_000)
    assert not costs.is_light(rows)


async def test_heavy_runs_leave_the_event_loop_alone(runtime, bundle):
    model = await runtime.load(bundle())
    answer = asyncio.ensure_future(model.infer(rows_of(*[(1.0, 1.0, "AA")] * 2000), None))
    turns = 0
    while not answer.done():
        turns += 1
        await asyncio.sleep(0)
    await model.unload()
    assert len((await answer)["label"]) == 2000
    assert turns > 1


async def test_a_loaded_model_tells_its_memory(runtime, bundle):
    loaded = bundle()
    model = await runtime.load(loaded)
    await model.unload()
    assert model.memory_bytes >= (loaded.folder / "model.onnx").stat().st_size
