"""One Triton server."""

from __future__ import annotations

from typing import Any, Final

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as pb_grpc

from services.inference.adapters.unary.channel import UnaryMethod

_INFER_PATH: Final = "/inference.GRPCInferenceService/ModelInfer"
_LARGEST_ANSWER_BYTES: Final = 1 << 30
_LOAD_TIMEOUT_S: Final = 120.0
_UNLOAD_TIMEOUT_S: Final = 30.0
_OPTIONS: Final = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]

# tritonclient ships no stubs for its generated messages.
_Message = Any


class TritonReplica:
    """Calls one server. Every method raises `grpc.aio.AioRpcError` for its refusals.

    Args:
        address: `host:port` of its gRPC.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub: Any = pb_grpc.GRPCInferenceServiceStub(self._channel)
        self._infer = UnaryMethod(address, _INFER_PATH, _LARGEST_ANSWER_BYTES)

    async def infer(self, request: bytes, timeout_s: float) -> _Message:
        """The answer to a serialized `ModelInferRequest`.

        Triton takes a request whose time is over out of its queue.
        """
        return pb.ModelInferResponse.FromString(await self._infer.call(request, timeout_s))

    async def load(self, request: _Message) -> None:
        """Load a model from the request itself."""
        await self._stub.RepositoryModelLoad(request, timeout=_LOAD_TIMEOUT_S)

    async def unload(self, name: str) -> None:
        """Unload a model."""
        request = pb.RepositoryModelUnloadRequest(model_name=name)
        await self._stub.RepositoryModelUnload(request, timeout=_UNLOAD_TIMEOUT_S)

    async def close(self) -> None:
        """Close both connections."""
        await self._infer.close()
        await self._channel.close()
