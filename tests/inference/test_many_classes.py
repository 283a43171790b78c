"""Versions of more than two classes: what they are served with, and what is refused of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as aio_client
from roundhouse.inference.v1 import (
    batch_pb2,
    batch_service_pb2,
    endpoint_pb2,
    endpoint_service_pb2,
    policy_pb2,
    policy_service_pb2,
    rollout_pb2,
)
from tritonclient.utils import InferenceServerException

from services.common.errors import InvalidRequest
from services.inference.core.decisions import DecisionPolicy
from services.inference.core.errors import SignatureMismatch, UnservableBundle
from services.inference.core.fallbacks import DefaultDecision, Fallback
from services.inference.core.rollouts import OnInconclusive, Phase, PhaseKind, ShadowPlan
from services.inference.core.routing import Variant
from services.inference.core.signature import parse_signature
from services.inference.core.two_classes import check_endpoint, check_phases
from tests.support.bundles import tiny_files, write_bundle
from tests.support.calls import refused
from tests.support.class_bundles import NAMES, class_files, probabilities_of
from tests.support.inference_api import ENDPOINT, PROJECT, TIMEOUT_S, request_id
from tests.support.oip_calls import parameters_of
from tests.support.serving import endpoint, version_name

SIGNATURE = parse_signature(class_files()["signature.json"])
TWO = parse_signature(tiny_files()["signature.json"])
QUIET = {"logs_observations": False, "policy": DecisionPolicy()}
VARIANT = Variant(version_name(1), "sha256:1", 10_000)


@pytest.fixture
def published(tmp_path):
    """Writes a bundle of three classes to the source."""

    def write(number: int, weight_bp: int = 10_000, **changes) -> Variant:
        digest = write_bundle(tmp_path / "source", version_name(number), class_files(**changes))
        return Variant(version_name(number), digest, weight_bp)

    return write


def delays(*values: float) -> list[aio_client.InferInput]:
    """One input of the stock client."""
    given = aio_client.InferInput("delay", [len(values), 1], "FP32")
    given.set_data_from_numpy(np.array(values, dtype=np.float32).reshape(-1, 1))
    return [given]


async def test_a_stock_client_gets_the_probability_of_each_class(plane, published, client):
    await plane.serve(published(1), **QUIET)
    values = np.array([-20.0, 30.0, 0.5])
    result = await client.infer("delays", delays(*values))
    told = result.as_numpy("probabilities")
    np.testing.assert_allclose(told, probabilities_of(values), rtol=1e-5)
    assert result.as_numpy("label").tolist() == probabilities_of(values).argmax(axis=1).tolist()
    metadata = await client.get_model_metadata("delays")
    assert [list(output.shape) for output in metadata.outputs] == [[-1], [-1, 3]]


async def test_no_decision_is_told_and_nothing_observed(plane, published, client):
    await plane.serve(published(1), **QUIET)
    result = await client.infer("delays", delays(3.0), request_id="r-1")
    told = parameters_of(result.get_response())
    assert {"model_version", "variant", "prediction_id", "time"} <= told.keys()
    assert not {"policy", "policy_version", "label", "action", "confidence"} & told.keys()
    assert plane.log.observations == []


async def test_a_decision_that_is_asked_for_is_refused_by_name(plane, published, client):
    await plane.serve(published(1), **QUIET)
    wanted = [aio_client.InferRequestedOutput("decision_label")]
    with pytest.raises(InferenceServerException, match="decision_label: no such output"):
        await client.infer("delays", delays(3.0), outputs=wanted)


async def test_classification_names_the_classes(plane, published, client):
    await plane.serve(published(1), **QUIET)
    wanted = [aio_client.InferRequestedOutput("probabilities", class_count=2)]
    (row,) = (await client.infer("delays", delays(10.0), outputs=wanted)).as_numpy("probabilities")
    assert [each.decode().split(":")[1:] for each in row] == [["1", "late"], ["2", "on time"]]


async def test_an_endpoint_that_asks_for_two_classes_is_not_ready_and_says_why(plane, published):
    variant = published(1)
    asking = {"logs_observations": True, "policy": DecisionPolicy()}
    await plane.serve(variant, **asking)
    state = plane.host.load_state(endpoint([variant], **asking), variant.digest)
    assert isinstance(state, InvalidRequest)
    assert [each.field for each in state.violations] == ["endpoint.log_observations"]


async def test_a_version_of_other_classes_cannot_take_over(plane, published):
    old, new = published(1), published(2, 0, names=("early", "late", "never"))
    await plane.serve(new, old, **QUIET)
    both = endpoint([new, old], **QUIET)
    async with asyncio.timeout(60):
        while (state := plane.host.load_state(both, new.digest)) is False:
            await asyncio.sleep(0.01)
    assert isinstance(state, SignatureMismatch)
    assert "Output 'probabilities'" in str(state)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, ""),
        ({"policy": DecisionPolicy(version=4)}, ""),
        ({"policy": DecisionPolicy(threshold=0.3)}, "endpoint.decision_policy"),
        ({"policy": DecisionPolicy(positive_action="call")}, "endpoint.decision_policy"),
        ({"logs_observations": True}, "endpoint.log_observations"),
        (
            {"fallback": Fallback(None, DefaultDecision(1, "call", 0.2))},
            "fallback.decision",
        ),
        ({"fallback": Fallback(replace(VARIANT, weight_bp=0), None)}, ""),
    ],
)
def test_each_field_that_takes_two_classes_is_named(changes: dict[str, object], field: str) -> None:
    asking = endpoint([VARIANT], **{**QUIET, **changes})
    check_endpoint(asking, TWO)
    if not field:
        check_endpoint(asking, SIGNATURE)
        return
    with pytest.raises(InvalidRequest, match="tells 3 classes") as refusal:
        check_endpoint(asking, SIGNATURE)
    assert [each.field for each in refusal.value.violations] == [field]


def test_each_phase_that_needs_a_verdict_or_scores_is_named() -> None:
    phases = (
        Phase(0, kind=PhaseKind.SHADOW, shadow=ShadowPlan()),
        Phase(0, kind=PhaseKind.DARK),
        Phase(100),
        Phase(10_000, on_inconclusive=OnInconclusive.GO_ON),
    )
    check_phases(phases, TWO)
    check_phases((phases[1], phases[3]), SIGNATURE)
    with pytest.raises(InvalidRequest) as refusal:
        check_phases(phases, SIGNATURE)
    assert [each.field for each in refusal.value.violations] == [
        "rollout.phases[0].shadow",
        "rollout.phases[2].on_inconclusive",
    ]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"shape": (-1, 1)}, "FP32 \\[-1, classes\\]"),
        ({"names": NAMES[:2]}, "names 2 classes for 3"),
        ({"names": ("a", "a", "b")}, "names 2 classes for 3"),
    ],
)
def test_a_signature_whose_classes_are_none_is_refused(changes: dict, why: str) -> None:
    with pytest.raises(UnservableBundle, match=why):
        parse_signature(class_files(**changes)["signature.json"])


async def test_the_service_refuses_what_takes_two_classes_and_serves_the_rest(
    registry, inference
) -> None:
    registered = await registry.approved(files={**class_files(), "card.md": b"# Classes\n"})
    with refused() as refusal:
        await inference.create_endpoint(
            registered, decision_policy=endpoint_pb2.DecisionPolicy(threshold=0.3)
        )
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert refusal.fields() == ["endpoint.decision_policy", "endpoint.log_observations"]
    made = await inference.create_endpoint(registered, log_observations=False)
    with refused() as refusal:
        changed = endpoint_pb2.Endpoint(name=made.name, etag=made.etag, log_observations=True)
        request = endpoint_service_pb2.UpdateEndpointRequest(
            endpoint=changed, request_id=request_id()
        )
        request.update_mask.paths.append("log_observations")
        await inference.endpoints.UpdateEndpoint(request, timeout=TIMEOUT_S)
    assert refusal.fields() == ["endpoint.log_observations"]
    decision = endpoint_pb2.DefaultDecision(label=1, action="call", probability=0.5)
    with refused() as refusal:
        request = endpoint_service_pb2.SetFallbackRequest(
            name=made.name,
            fallback=endpoint_pb2.Fallback(decision=decision),
            request_id=request_id(),
        )
        await inference.endpoints.SetFallback(request, timeout=TIMEOUT_S)
    assert refusal.fields() == ["fallback.decision"]
    assert (await inference.endpoint()).variants[0].ready


async def test_policies_rollouts_and_batches_are_refused_by_name(registry, inference) -> None:
    first, second = [
        await registry.approved(files={**class_files(), "card.md": card})
        for card in (b"# One\n", b"# Two\n")
    ]
    await inference.create_endpoint(first, log_observations=False)
    policy = policy_pb2.PolicyVersion(author="ada", purpose="try")
    for label in (0, 1):
        policy.thresholds.classes.add(label=label, threshold=0.5, action=str(label))
    version = await inference.policies.CreatePolicyVersion(
        policy_service_pb2.CreatePolicyVersionRequest(
            parent=f"{PROJECT}/policies/p", policy_version=policy, request_id=request_id()
        ),
        timeout=TIMEOUT_S,
    )
    with refused() as refusal:
        await inference.policies.PointEndpoint(
            policy_service_pb2.PointEndpointRequest(
                name=ENDPOINT,
                policy_version=version.name,
                actor="ada",
                purpose="try",
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )
    assert refusal.fields() == ["endpoint.policy_version"]
    with refused() as refusal:
        await inference.create_rollout(
            second, phases=[rollout_pb2.Phase(weight_basis_points=10_000)]
        )
    assert refusal.fields() == ["rollout.phases[0].on_inconclusive"]
    snapshot = await registry.caller.sealed_snapshot("rows", b"delay\n1.5\n")
    job = batch_pb2.BatchPredictionJob(snapshot=snapshot, model=first.version)
    with refused() as refusal:
        await inference.batches.CreateBatchPredictionJob(
            batch_service_pb2.CreateBatchPredictionJobRequest(
                parent=PROJECT,
                batch_prediction_job_id="b",
                batch_prediction_job=job,
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )
    assert refusal.reason == "VERSION_NOT_SERVABLE"
