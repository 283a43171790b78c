"""`inference.GRPCInferenceService`: convert, call the core, convert."""

# ruff: noqa: D102 - gRPC passes both arguments to all; the protocol documents the methods

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Final, NoReturn

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as pb_grpc

from services.common.errors import ServiceError
from services.inference.api.oip.answers import response_bytes
from services.inference.api.oip.encode import (
    config_of,
    metadata_of,
    statistics_of,
)
from services.inference.api.oip.packed import RequestReader
from services.inference.core.admission import Admission
from services.inference.core.classification import classified
from services.inference.core.errors import ManagedByEndpoints, ModelUnavailable
from services.inference.core.hosting import probe
from services.inference.core.predictions import Prediction
from services.inference.core.served import ServedEndpoint, ServedVariant
from services.inference.core.serving import Predictor

SERVICE: Final = "inference.GRPCInferenceService"
INFER_PATH: Final = f"/{SERVICE}/ModelInfer"
_WANTS_EMPTY_FINAL: Final = "triton_enable_empty_final_response"
_IS_FINAL: Final = "triton_final_response"
EXTENSIONS: Final = ("classification", "model_repository", "model_configuration", "statistics")

# tritonclient ships no stubs for its generated messages.
_Message = Any
_Context = Any


class OipServicer(pb_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc] # untyped base
    """The data plane.

    Args:
        predictor: Answers.
        is_settled: Whether everything with traffic was loaded, or tried, since the start.
        admission: Who may begin a call.
    """

    def __init__(
        self, predictor: Predictor, is_settled: Callable[[], bool], admission: Admission
    ) -> None:
        self._predictor = predictor
        self._admission = admission
        self._is_settled = is_settled
        self._requests = RequestReader()

    async def ServerLive(self, request: _Message, context: _Context) -> _Message:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: _Message, context: _Context) -> _Message:
        return pb.ServerReadyResponse(ready=self._is_settled())

    async def ServerMetadata(self, request: _Message, context: _Context) -> _Message:
        return pb.ServerMetadataResponse(
            name="roundhouse-inference", version=version("roundhouse"), extensions=EXTENSIONS
        )

    async def ModelReady(self, request: _Message, context: _Context) -> _Message:
        endpoint = self._predictor.endpoint(request.name)
        try:
            for served in _with_traffic(endpoint, request.version):
                await probe(served)
        except ServiceError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ModelMetadata(self, request: _Message, context: _Context) -> _Message:
        endpoint = self._predictor.endpoint(request.name)
        return metadata_of(request.name, endpoint, _described(endpoint, request.version))

    async def ModelConfig(self, request: _Message, context: _Context) -> _Message:
        endpoint = self._predictor.endpoint(request.name)
        return config_of(request.name, _described(endpoint, request.version))

    async def ModelInfer(self, request: bytes, context: _Context) -> bytes:
        """Takes and gives serialized messages; `register` says so to the server."""
        caller, size_bytes = context.peer().rpartition(":")[0], len(request)
        self._admission.enter(caller, size_bytes)
        try:
            query = self._requests.query(request)
            prediction = await self._predictor.predict(query)
            if query.classes:
                outputs = classified(prediction.outputs, query.classes, _names(prediction))
                prediction = replace(prediction, outputs=outputs)
            return response_bytes(query.model, prediction)
        finally:
            self._admission.leave(caller, size_bytes)

    async def ModelStreamInfer(
        self, requests: AsyncIterator[_Message], context: _Context
    ) -> AsyncIterator[_Message]:
        """One answer per request, in order; a refused request does not end the stream.

        A version is one ONNX graph, so each answer is also the last one to its request.
        """
        async for request in requests:
            request.parameters.pop(_WANTS_EMPTY_FINAL, None)
            try:
                answer = await self.ModelInfer(request.SerializeToString(), context)
            except ServiceError as error:
                # The protocol's stream has no status per answer; clients match by id.
                yield pb.ModelStreamInferResponse(
                    error_message=f"{error.reason}: {error}",
                    infer_response=pb.ModelInferResponse(
                        model_name=request.model_name, id=request.id
                    ),
                )
            else:
                response = pb.ModelInferResponse.FromString(answer)
                response.parameters[_IS_FINAL].bool_param = True
                yield pb.ModelStreamInferResponse(infer_response=response)

    async def ModelStatistics(self, request: _Message, context: _Context) -> _Message:
        named = (
            {request.name: self._predictor.endpoint(request.name)}
            if request.name
            else _by_shortest_name(self._predictor)
        )
        return pb.ModelStatisticsResponse(
            model_stats=[
                statistics_of(name, served, served.model.statistics)
                for name, endpoint in named.items()
                for served in endpoint.variants
                if request.version in ("", served.number)
            ]
        )

    async def RepositoryIndex(self, request: _Message, context: _Context) -> _Message:
        return pb.RepositoryIndexResponse(
            models=[
                pb.RepositoryIndexResponse.ModelIndex(
                    name=name, version=served.number, state="READY"
                )
                for name, endpoint in _by_shortest_name(self._predictor).items()
                for served in endpoint.variants
            ]
        )

    async def RepositoryModelLoad(self, request: _Message, context: _Context) -> _Message:
        _refuse("RepositoryModelLoad", "create an endpoint or a rollout to load a version.")

    async def RepositoryModelUnload(self, request: _Message, context: _Context) -> _Message:
        _refuse("RepositoryModelUnload", "delete the endpoint, or roll another version out.")

    async def SystemSharedMemoryStatus(self, request: _Message, context: _Context) -> _Message:
        _refuse("SystemSharedMemoryStatus", _NO_SHARED_MEMORY)

    async def SystemSharedMemoryRegister(self, request: _Message, context: _Context) -> _Message:
        _refuse("SystemSharedMemoryRegister", _NO_SHARED_MEMORY)

    async def SystemSharedMemoryUnregister(self, request: _Message, context: _Context) -> _Message:
        _refuse("SystemSharedMemoryUnregister", _NO_SHARED_MEMORY)

    async def CudaSharedMemoryStatus(self, request: _Message, context: _Context) -> _Message:
        _refuse("CudaSharedMemoryStatus", _NO_SHARED_MEMORY)

    async def CudaSharedMemoryRegister(self, request: _Message, context: _Context) -> _Message:
        _refuse("CudaSharedMemoryRegister", _NO_SHARED_MEMORY)

    async def CudaSharedMemoryUnregister(self, request: _Message, context: _Context) -> _Message:
        _refuse("CudaSharedMemoryUnregister", _NO_SHARED_MEMORY)

    async def TraceSetting(self, request: _Message, context: _Context) -> _Message:
        _refuse("TraceSetting", "traces are set up by the service's settings.")

    async def LogSettings(self, request: _Message, context: _Context) -> _Message:
        _refuse("LogSettings", "logs are set up by the service's settings.")


def register(servicer: OipServicer, server: grpc.aio.Server) -> None:
    """Add `servicer` to `server`, with `ModelInfer` over serialized messages."""
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, _WithoutCodecs(servicer, server))


class _WithoutCodecs:
    """Registers generated handlers on a server, `ModelInfer` without its codecs."""

    def __init__(self, servicer: OipServicer, server: grpc.aio.Server) -> None:
        self._infer = servicer.ModelInfer
        self._server = server

    def add_generic_rpc_handlers(self, _: Sequence[grpc.GenericRpcHandler]) -> None:
        """The same handlers come once more, by name."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        infer: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(self._infer)
        handlers = {**handlers, "ModelInfer": infer}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, handlers),)
        )
        self._server.add_registered_method_handlers(service, handlers)


_NO_SHARED_MEMORY: Final = "endpoints take tensors in the request; there is no shared memory."


def _names(prediction: Prediction) -> dict[str, tuple[str, ...]]:
    """Of the columns of outputs, where a version answered that names them."""
    if not isinstance(prediction.served, ServedVariant):
        return {}
    outputs = prediction.served.signature.outputs
    return {spec.name: spec.classes for spec in outputs if spec.classes}


def _refuse(method: str, instead: str) -> NoReturn:
    raise ManagedByEndpoints(method, instead)


def _with_traffic(endpoint: ServedEndpoint, number: str) -> list[ServedVariant]:
    if number:
        return [endpoint.pinned(number)]
    loaded = [served for served in endpoint.variants if served.variant.weight_bp]
    if not loaded:
        raise ModelUnavailable(endpoint.name, "no version with a share of the traffic is loaded")
    return loaded


def _described(endpoint: ServedEndpoint, number: str) -> ServedVariant:
    """The pinned variant, or the stable one."""
    return _with_traffic(endpoint, number)[-1]


def _by_shortest_name(predictor: Predictor) -> dict[str, ServedEndpoint]:
    shortest: dict[str, str] = {}
    for name, endpoint in predictor.endpoints.items():
        shortest[endpoint.name] = min(name, shortest.get(endpoint.name, name), key=len)
    return {shortest[name]: predictor.endpoints[name] for name in shortest}
