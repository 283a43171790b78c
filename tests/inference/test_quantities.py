"""Versions that tell a quantity: what they are served with, and what is refused of them."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import tritonclient.grpc.aio as aio_client
from tritonclient.utils import InferenceServerException

from services.common.errors import InvalidRequest
from services.inference.core.batches import check_columns
from services.inference.core.decisions import DecisionPolicy
from services.inference.core.errors import SignatureMismatch, UnservableBundle, VersionNotServable
from services.inference.core.fallbacks import DefaultDecision, Fallback
from services.inference.core.rollouts import Phase, PhaseKind, ShadowPlan
from services.inference.core.routing import Variant
from services.inference.core.samples import check_answer
from services.inference.core.signature import parse_signature
from services.inference.core.two_classes import check_endpoint, check_phases
from tests.support.bundles import write_bundle
from tests.support.class_bundles import class_files
from tests.support.oip_calls import parameters_of
from tests.support.quantity_bundles import quantities_of, quantity_files
from tests.support.serving import endpoint, version_name

SIGNATURE = parse_signature(quantity_files()["signature.json"])
QUIET = {"logs_observations": False, "policy": DecisionPolicy()}
VARIANT = Variant(version_name(1), "sha256:1", 10_000)


@pytest.fixture
def published(tmp_path):
    """Writes a bundle of quantities, or the files given, to the source."""

    def write(number: int, weight_bp: int = 10_000, files=None) -> Variant:
        digest = write_bundle(tmp_path / "source", version_name(number), files or quantity_files())
        return Variant(version_name(number), digest, weight_bp)

    return write


def delays(*values: float) -> list[aio_client.InferInput]:
    """One input of the stock client."""
    given = aio_client.InferInput("delay", [len(values), 1], "FP32")
    given.set_data_from_numpy(np.array(values, dtype=np.float32).reshape(-1, 1))
    return [given]


async def test_a_stock_client_gets_quantities_in_their_own_unit(plane, published, client):
    await plane.serve(published(1), **QUIET)
    values = np.array([-20.0, 30.0, 0.5])
    result = await client.infer("delays", delays(*values))
    np.testing.assert_allclose(result.as_numpy("prediction"), quantities_of(values), rtol=1e-6)
    metadata = await client.get_model_metadata("delays")
    assert [(each.name, list(each.shape)) for each in metadata.outputs] == [("prediction", [-1, 1])]


async def test_no_decision_is_told_and_nothing_observed(plane, published, client):
    await plane.serve(published(1), **QUIET)
    result = await client.infer("delays", delays(3.0), request_id="r-1")
    told = parameters_of(result.get_response())
    assert {"model_version", "variant", "prediction_id", "time"} <= told.keys()
    assert not {"policy", "policy_version", "label", "action", "confidence"} & told.keys()
    assert plane.log.observations == []
    wanted = [aio_client.InferRequestedOutput("confidence")]
    with pytest.raises(InferenceServerException, match="confidence: no such output"):
        await client.infer("delays", delays(3.0), outputs=wanted)


async def test_an_endpoint_that_asks_for_two_classes_is_not_ready_and_says_why(plane, published):
    variant = published(1)
    asking = {"logs_observations": True, "policy": DecisionPolicy()}
    await plane.serve(variant, **asking)
    state = plane.host.load_state(endpoint([variant], **asking), variant.digest)
    assert isinstance(state, InvalidRequest)
    assert [each.field for each in state.violations] == ["endpoint.log_observations"]


async def test_a_version_of_classes_cannot_take_over_from_one_of_quantities(plane, published):
    old, new = published(1), published(2, 0, class_files())
    await plane.serve(new, old, **QUIET)
    both = endpoint([new, old], **QUIET)
    async with asyncio.timeout(60):
        while (state := plane.host.load_state(both, new.digest)) is False:
            await asyncio.sleep(0.01)
    assert isinstance(state, SignatureMismatch)
    assert "Output 'prediction'" in str(state)
    assert "is missing" in str(state)


def test_each_field_that_takes_two_classes_is_named() -> None:
    check_endpoint(endpoint([VARIANT], **QUIET), SIGNATURE)
    asking = endpoint(
        [VARIANT],
        logs_observations=True,
        policy=DecisionPolicy(threshold=0.3),
        fallback=Fallback(None, DefaultDecision(1, "call", 0.2)),
    )
    with pytest.raises(InvalidRequest, match="tells a quantity") as refusal:
        check_endpoint(asking, SIGNATURE)
    assert [each.field for each in refusal.value.violations] == [
        "endpoint.decision_policy",
        "endpoint.log_observations",
        "fallback.decision",
    ]
    with pytest.raises(InvalidRequest, match="tell a quantity") as refusal:
        check_phases((Phase(0, kind=PhaseKind.SHADOW, shadow=ShadowPlan()),), SIGNATURE)
    assert [each.field for each in refusal.value.violations] == ["rollout.phases[0].shadow"]
    with pytest.raises(VersionNotServable, match="tells a quantity"):
        check_columns(None, "version", SIGNATURE)  # type: ignore[arg-type]  # refused before


@pytest.mark.parametrize("changes", [{"shape": (-1, 2)}, {"shape": (-1,)}, {"datatype": "FP64"}])
def test_a_prediction_of_another_shape_is_refused(changes: dict) -> None:
    with pytest.raises(UnservableBundle, match=r"lacks a prediction FP32 \[-1, 1\]"):
        parse_signature(quantity_files(**changes)["signature.json"])


def test_an_answer_that_is_no_number_is_refused() -> None:
    check_answer(SIGNATURE, {"prediction": np.full((2, 1), 1e9, dtype=np.float32)}, 2)
    with pytest.raises(UnservableBundle, match="no finite number"):
        check_answer(SIGNATURE, {"prediction": np.full((2, 1), np.inf, dtype=np.float32)}, 2)
