"""What answers when a variant can't, and how that is told and counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
import tritonclient.grpc.aio as aio_client

from services.inference.core.errors import InvalidFallback, ModelFailed, ModelUnavailable
from services.inference.core.fallbacks import DefaultDecision, Fallback, FallbackReason
from services.inference.core.ports import Outcome
from services.inference.core.routing import Variant
from tests.support.bundles import TinyModel
from tests.support.oip_calls import FLIGHT, error_of, inputs_of, parameters_of, raw_request
from tests.support.serving import ENDPOINT, version_name

DECISION = DefaultDecision(0, "review", 0.25)


@pytest.fixture
async def client(oip_address):
    async with aio_client.InferenceServerClient(oip_address) as running:
        yield running


def breaks(plane, number: int, failure: Callable[[], Exception]) -> None:
    """Has one version fail from now on."""

    async def infer(rows, deadline):
        raise failure()

    _of(plane, number).infer = infer


def hangs(plane, number: int) -> None:
    """Has one version never answer from now on."""

    async def infer(rows, deadline):
        await asyncio.Event().wait()

    _of(plane, number).infer = infer


def _of(plane, number: int):
    endpoint = plane.predictor.endpoint("delays")
    held = [*endpoint.variants]
    if endpoint.fallback is not None and endpoint.fallback.served is not None:
        held.append(endpoint.fallback.served)
    return next(each.model for each in held if each.number == str(number))


def unavailable() -> Exception:
    return ModelUnavailable("delays", "away")


def failed() -> Exception:
    return ModelFailed("delays", "refused")


def asked(client, count: int = 1, **fields):
    return client.infer("delays", inputs_of(aio_client, *[FLIGHT] * count), **fields)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(unavailable, FallbackReason.UNAVAILABLE), (failed, FallbackReason.FAILED)],
    ids=["unavailable", "failed"],
)
async def test_a_declared_decision_answers_for_a_variant_that_fails(
    plane, publish, client, failure, reason
):
    await plane.serve(publish(1), fallback=Fallback(None, DECISION))
    breaks(plane, 1, failure)
    answer = await asked(client, request_id="r")
    told = parameters_of(answer.get_response())
    assert told["fallback"] == reason
    assert (told["label"], told["action"], told["confidence"]) == (0, "review", 0.75)
    assert (told["variant"], told["policy"]) == ("", f"{ENDPOINT}/fallback")
    assert answer.as_numpy("probabilities").tolist() == [[0.75, 0.25]]
    assert plane.meters.fallbacks == {reason: 1}
    assert Outcome.OK not in plane.meters.counts, "it is no success of the variant"
    missed, observed = plane.log.observations
    assert (missed.failed, missed.variant) == (True, version_name(1))
    assert (observed.failed, observed.fallback, observed.variant) == (False, reason, "")
    assert observed.scores.tolist() == [0.25]


async def test_another_version_answers_and_is_named(plane, publish, client):
    other = publish(2, bias=3.0, weight_bp=0)
    await plane.serve(publish(1), fallback=Fallback(other, None))
    async with asyncio.timeout(30):
        while plane.predictor.endpoint("delays").fallback.served is None:
            await asyncio.sleep(0.01)
    breaks(plane, 1, unavailable)
    answer = await asked(client)
    told = parameters_of(answer.get_response())
    assert (told["fallback"], told["variant"]) == ("unavailable", version_name(2))
    expected = TinyModel(3.0).probability(*FLIGHT)
    assert answer.as_numpy("probabilities")[0, 1] == pytest.approx(expected)
    missed, observed = plane.log.observations
    assert (missed.failed, missed.variant) == (True, version_name(1))
    assert (observed.failed, observed.fallback) == (False, "unavailable")
    assert observed.variant == version_name(2)
    assert plane.meters.counts == {Outcome.FAILED: 1, Outcome.OK: 1}


async def test_a_variant_that_takes_too_long_is_not_waited_for(plane, publish, client):
    await plane.serve(publish(1), fallback=Fallback(None, DECISION, budget_s=0.05))
    hangs(plane, 1)
    told = parameters_of((await asked(client, 3)).get_response())
    assert told["fallback"] == "timeout"
    assert "label" not in told, "there are several rows"
    assert plane.meters.counts == {Outcome.FAILED: 1}


async def test_the_caller_s_deadline_bounds_the_fallback(plane, publish, client):
    await plane.serve(publish(1), fallback=Fallback(None, DECISION))

    def too_late() -> Exception:
        time.sleep(0.06)
        return unavailable()

    breaks(plane, 1, too_late)
    _, reason, _ = await error_of(_raw(client, parameters={"timeout": 50_000}))
    assert reason == "QUEUE_DEADLINE_EXCEEDED"
    assert plane.meters.fallbacks == {}


async def test_a_caller_s_mistake_and_a_pinned_version_get_no_fallback(plane, publish, client):
    await plane.serve(publish(1), fallback=Fallback(None, DECISION))
    breaks(plane, 1, unavailable)
    _, reason, _ = await error_of(_raw(client, model_version="1"))
    assert reason == "MODEL_NOT_READY"
    _, reason, _ = await error_of(_raw(client, outputs=["nonsense"]))
    assert reason == "INVALID_TENSOR"


async def test_without_a_fallback_the_failure_is_the_answer(plane, publish, client):
    await plane.serve(publish(1))
    breaks(plane, 1, unavailable)
    _, reason, _ = await error_of(_raw(client))
    assert reason == "MODEL_NOT_READY"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Fallback(None, None),
        lambda: Fallback(Variant("v", "d", 0), DECISION),
        lambda: DefaultDecision(2, "review", 0.5),
        lambda: DefaultDecision(0, "", 0.5),
        lambda: DefaultDecision(0, "review", 1.5),
    ],
    ids=["nothing", "both", "an unknown class", "no action", "no probability"],
)
def test_a_fallback_that_is_none_is_refused(make):
    with pytest.raises(InvalidFallback):
        make()


async def _raw(client, **fields):
    """The call with gRPC's own error, of which the details are read."""
    parameters = fields.pop("parameters", {})
    outputs = fields.pop("outputs", ())
    request = raw_request(**fields)
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    for name in outputs:
        request.outputs.add(name=name)
    return await client._client_stub.ModelInfer(request)
