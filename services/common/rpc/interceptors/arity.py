"""One view of the four kinds of handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc

# gRPC's handlers are untyped beyond this point: requests and responses of every method.
Behavior: TypeAlias = Callable[[Any, Any], Any]
Wrap: TypeAlias = Callable[[Behavior], Behavior]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic in its stubs only


def rewrapped(handler: Handler, *, respond_once: Wrap, respond_in_stream: Wrap) -> Handler:
    """`handler` with its behaviour wrapped by the wrapper for its kind of response.

    Behaviours must be coroutine functions, or asynchronous generators where the
    response is a stream; neither threads nor `context.write` are supported.
    """
    codecs = (handler.request_deserializer, handler.response_serializer)
    if handler.unary_unary is not None:
        return grpc.unary_unary_rpc_method_handler(respond_once(handler.unary_unary), *codecs)
    if handler.stream_unary is not None:
        return grpc.stream_unary_rpc_method_handler(respond_once(handler.stream_unary), *codecs)
    if handler.unary_stream is not None:
        return grpc.unary_stream_rpc_method_handler(
            respond_in_stream(handler.unary_stream), *codecs
        )
    assert handler.stream_stream is not None
    return grpc.stream_stream_rpc_method_handler(respond_in_stream(handler.stream_stream), *codecs)
