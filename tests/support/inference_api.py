"""A whole inference service in this process, with a real registry and its callers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from prometheus_client import CollectorRegistry
from roundhouse.inference.v1 import batch_service_pb2_grpc as batches_grpc
from roundhouse.inference.v1 import endpoint_pb2, endpoint_service_pb2, rollout_pb2
from roundhouse.inference.v1 import endpoint_service_pb2_grpc as endpoints_grpc
from roundhouse.inference.v1 import policy_service_pb2_grpc as policies_grpc
from roundhouse.inference.v1 import rollout_service_pb2 as rollouts_pb
from roundhouse.inference.v1 import rollout_service_pb2_grpc as rollouts_grpc
from roundhouse.registry.v1 import model_pb2
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc import service_pb2_grpc as oip_grpc

from services.inference.core.wire import encoded_texts
from services.inference.settings import InferenceSettings
from services.inference.wiring import inference
from services.registry.settings import RegistrySettings
from services.registry.wiring import registry
from tests.support.bundles import TinyModel, raw_floats, tiny_files
from tests.support.registry_api import RegistryCaller

TIMEOUT_S = 20.0
PROJECT = "projects/default"
ENDPOINT = f"{PROJECT}/endpoints/delays"

State = rollout_pb2.Rollout
QUICK = [
    rollout_pb2.Phase(weight_basis_points=5000, min_outcomes=1),
    rollout_pb2.Phase(weight_basis_points=10_000),
]
"""Phases that need one outcome."""


def request_id() -> str:
    """A new one."""
    return str(uuid.uuid4())


@dataclass
class Registered:
    """A version in the registry that may serve."""

    version: str
    approval: str


class RegistryWithModels:
    """A real registry, and versions that went all the way to an approval."""

    policy = model_pb2.PromotionPolicy()
    """Of the model; to be set before the first version."""

    model_id = "delays"
    """To be set before the first version, too."""

    def __init__(self, caller: RegistryCaller, address: str) -> None:
        self.caller = caller
        self.address = address
        self._snapshot = ""
        self._model = ""

    async def approved(
        self, bias: float = 0.0, files: dict[str, bytes] | None = None, **approval: Any
    ) -> Registered:
        """A new approved version of the tiny model; `approval` sets fields of its approval."""
        if not self._model:
            self._snapshot = await self.caller.sealed_snapshot()
            self._model = await self.caller.create_model(
                self.model_id, promotion_policy=self.policy
            )
        version = await self.caller.ready_version(self._model, files or tiny_files(TinyModel(bias)))
        evaluation = await self.caller.evaluate(version, self._snapshot, auc=0.8)
        gate = await self.caller.gate(evaluation.name)
        asked = await self.caller.ask(version, gate.name, **approval)
        await self.caller.decide(asked.name)
        return Registered(version, asked.name)

    async def alias(self, name: str = "champion") -> str:
        """Where the model's alias points."""
        from roundhouse.registry.v1 import model_service_pb2

        found = await self.caller.models.GetAlias(
            model_service_pb2.GetAliasRequest(name=f"{self._model}/aliases/{name}"),
            timeout=TIMEOUT_S,
        )
        return found.version


@asynccontextmanager
async def registry_with_models(data_dir: Path) -> AsyncIterator[RegistryWithModels]:
    """A registry in this process."""
    settings = RegistrySettings(
        listen="127.0.0.1:0", metrics_listen="127.0.0.1:0", data_dir=data_dir, drain_timeout_s=0.5
    )
    async with registry(settings) as server:
        server.set_serving()
        address = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(address) as channel:
            yield RegistryWithModels(RegistryCaller(channel), address)


class InferenceCaller:
    """Calls one inference service.

    Args:
        channel: To it.
        address: Its `host:port`.
    """

    def __init__(self, channel: grpc.aio.Channel, address: str) -> None:
        self.address = address
        self.endpoints = endpoints_grpc.EndpointServiceStub(channel)
        self.policies = policies_grpc.PolicyServiceStub(channel)
        self.batches = batches_grpc.BatchServiceStub(channel)
        self.rollouts = rollouts_grpc.RolloutServiceStub(channel)
        self.oip: Any = oip_grpc.GRPCInferenceServiceStub(channel)

    async def create_endpoint(
        self, registered: Registered, endpoint_id: str = "delays", **fields: Any
    ) -> endpoint_pb2.Endpoint:
        """A new endpoint."""
        given = {
            "initial_version": registered.version,
            "initial_approval": registered.approval,
            "alias": "champion",
            "log_observations": True,
        }
        return await self.endpoints.CreateEndpoint(
            endpoint_service_pb2.CreateEndpointRequest(
                parent=PROJECT,
                endpoint_id=endpoint_id,
                endpoint=endpoint_pb2.Endpoint(**{**given, **fields}),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )

    async def create_rollout(
        self, registered: Registered, rollout_id: str = "r", **fields: Any
    ) -> rollout_pb2.Rollout:
        """A new rollout of the endpoint."""
        return await self.rollouts.CreateRollout(
            rollouts_pb.CreateRolloutRequest(
                parent=ENDPOINT,
                rollout_id=rollout_id,
                rollout=rollout_pb2.Rollout(
                    version=registered.version, approval=registered.approval, **fields
                ),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )

    async def rollout(self, rollout_id: str = "r") -> rollout_pb2.Rollout:
        """The rollout as it stands."""
        return await self.rollouts.GetRollout(
            rollouts_pb.GetRolloutRequest(name=f"{ENDPOINT}/rollouts/{rollout_id}"),
            timeout=TIMEOUT_S,
        )

    async def endpoint(self) -> endpoint_pb2.Endpoint:
        """The endpoint as it stands."""
        return await self.endpoints.GetEndpoint(
            endpoint_service_pb2.GetEndpointRequest(name=ENDPOINT), timeout=TIMEOUT_S
        )

    async def predict(
        self, key: str = "", prediction_id: str = "", version: str = "", delay: float = 5.0
    ) -> tuple[str, float]:
        """The version that answered, and its probability; `version` pins one by its number."""
        request = oip.ModelInferRequest(
            model_name="delays", model_version=version, id=prediction_id
        )
        if key:
            request.parameters["sticky_key"].string_param = key
        for name, datatype, raw in (
            ("distance", "FP32", raw_floats([100.0])),
            ("delay", "FP32", raw_floats([delay])),
            ("carrier", "BYTES", encoded_texts(["AA"])),
        ):
            request.inputs.add(name=name, datatype=datatype, shape=(1, 1))
            request.raw_input_contents.append(raw)
        answer = await self.oip.ModelInfer(request, timeout=TIMEOUT_S)
        place = [output.name for output in answer.outputs].index("probabilities")
        probabilities = np.frombuffer(answer.raw_output_contents[place], "<f4")
        return answer.parameters["variant"].string_param, float(probabilities[1])


@asynccontextmanager
async def running_inference(
    data_dir: Path,
    registry_address: str,
    monitor_address: str,
    metrics: CollectorRegistry | None = None,
    **settings: Any,
) -> AsyncIterator[InferenceCaller]:
    """An inference service in this process, and its metrics in `metrics`."""
    chosen = InferenceSettings(
        **{
            "listen": "127.0.0.1:0",
            "metrics_listen": "127.0.0.1:0",
            "data_dir": data_dir,
            "registry_address": registry_address,
            "monitor_address": monitor_address,
            "drain_timeout_s": 2.0,
            **settings,
        }
    )
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            inference(chosen, registry=metrics or CollectorRegistry())
        )
        server.set_serving()
        address = f"127.0.0.1:{server.port}"
        channel = grpc.aio.insecure_channel(address)
        yield InferenceCaller(await stack.enter_async_context(channel), address)


async def state_of(inference, rollout_id: str, *wanted: int) -> rollout_pb2.Rollout:
    """The rollout, once it is in a state that is wanted."""
    async with asyncio.timeout(TIMEOUT_S):
        while (rollout := await inference.rollout(rollout_id)).state not in wanted:
            await asyncio.sleep(0.05)
    return rollout
