"""A gRPC service with one method of each arity, whose behaviours a test gives."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import grpc
from buf.validate import validate_pb2  # noqa: F401 - its extensions must be known
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
    QuotaFailure,
    RetryInfo,
)
from grpc_status import rpc_status
from grpc_tools import protoc

from services.common.rpc.server import Api, RunningServer, ServerLimits, serving

SERVICE = "roundhouse.probe.v1.ProbeService"
_LIMITS = ServerLimits()
_PROTO = """
syntax = "proto3";
package roundhouse.probe.v1;
import "buf/validate/validate.proto";

message Note { string text = 1 [(buf.validate.field).string.max_len = 8]; }
message Ask {
  string text = 1 [(buf.validate.field).string.min_len = 1];
  repeated Note notes = 2;
  map<string, Note> by_key = 3;
  string request_id = 4;
  bool validate_only = 5;
}
message Answer { string text = 1; }
"""


def _messages() -> tuple[type, type, type]:
    protos = Path(__file__).resolve().parents[2] / "protos"
    with tempfile.TemporaryDirectory() as folder:
        source, compiled = Path(folder) / "probe.proto", Path(folder) / "probe.bin"
        source.write_text(_PROTO)
        well_known = files("grpc_tools") / "_proto"
        includes = [f"-I{include}" for include in (folder, protos, well_known)]
        command = ["protoc", *includes, f"--descriptor_set_out={compiled}"]
        assert protoc.main([*command, str(source)]) == 0
        (probe,) = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file
    pool = descriptor_pool.Default()
    pool.Add(probe)
    names = ("Note", "Ask", "Answer")
    return tuple(
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{probe.package}.{name}"))
        for name in names
    )


# Classes made at run time: no type checker can know their fields.
Note: Any
Ask: Any
Answer: Any
Note, Ask, Answer = _messages()


async def _echo(request, context):
    return Answer(text=request.text)


async def _echo_each(request, context):
    yield Answer(text=request.text)


async def _join(requests, context):
    return Answer(text="".join([request.text async for request in requests]))


async def _echo_all(requests, context):
    async for request in requests:
        yield Answer(text=request.text)


@dataclass(frozen=True)
class Probe:
    """The behaviours of one served probe; each echoes unless a test says otherwise."""

    ask: Callable[[Any, Any], Awaitable[Any]] = _echo
    list: Callable[[Any, Any], AsyncIterator[Any]] = _echo_each
    watch: Callable[[Any, Any], AsyncIterator[Any]] = _echo_each
    upload: Callable[[Any, Any], Awaitable[Any]] = _join
    chat: Callable[[Any, Any], AsyncIterator[Any]] = _echo_all

    def api(self) -> Api:
        """What `serving` takes."""
        codec = {
            "request_deserializer": Ask.FromString,
            "response_serializer": Answer.SerializeToString,
        }
        handlers = {
            "Ask": grpc.unary_unary_rpc_method_handler(self.ask, **codec),
            "List": grpc.unary_stream_rpc_method_handler(self.list, **codec),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch, **codec),
            "Upload": grpc.stream_unary_rpc_method_handler(self.upload, **codec),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat, **codec),
        }
        generic = grpc.method_handlers_generic_handler(SERVICE, handlers)
        return SERVICE, lambda server: server.add_generic_rpc_handlers((generic,))


class ProbeStub:
    """A client of the probe."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        codec = {
            "request_serializer": Ask.SerializeToString,
            "response_deserializer": Answer.FromString,
        }
        self.ask = channel.unary_unary(f"/{SERVICE}/Ask", **codec)
        self.list = channel.unary_stream(f"/{SERVICE}/List", **codec)
        self.watch = channel.unary_stream(f"/{SERVICE}/Watch", **codec)
        self.upload = channel.stream_unary(f"/{SERVICE}/Upload", **codec)
        self.chat = channel.stream_stream(f"/{SERVICE}/Chat", **codec)


NATIVE_METHODS: tuple[str, ...] = ()
"""What the Rust server answers of a probe; the suites over it run with and without."""


def probe_server(
    probe: Probe, service: str = "probe", limits: ServerLimits = _LIMITS
) -> AbstractAsyncContextManager[RunningServer]:
    """A served probe."""
    return serving(service, "127.0.0.1:0", [probe.api()], limits, NATIVE_METHODS)


@asynccontextmanager
async def probing(
    probe: Probe, *, service: str = "probe", limits: ServerLimits = _LIMITS
) -> AsyncIterator[tuple[ProbeStub, RunningServer]]:
    """A served probe and a plain client of it."""
    async with (
        probe_server(probe, service, limits) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield ProbeStub(channel), server


def details_of(error: grpc.aio.AioRpcError) -> dict[type, Any]:
    """The status details, by their type."""
    kinds = (ErrorInfo, BadRequest, PreconditionFailure, QuotaFailure, RetryInfo)
    status = rpc_status.from_call(error)
    found: dict[type, Any] = {}
    for packed in status.details if status else ():
        for kind in kinds:
            if packed.Is(kind.DESCRIPTOR):
                found[kind] = kind.FromString(packed.value)
    return found


def info_of(error: grpc.aio.AioRpcError) -> tuple[str, str, dict[str, str]]:
    """Reason, domain and metadata of the ErrorInfo."""
    info = details_of(error)[ErrorInfo]
    return info.reason, info.domain, dict(info.metadata)
