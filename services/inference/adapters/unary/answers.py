"""What came back on one stream, and the status that a gRPC client makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

import grpc

from services.inference.adapters.unary.frames import BrokenProtocolError, ErrorCode

_STATUS_DIGITS: Final = 3
_PREFIX_BYTES: Final = 5
"""Before each gRPC message: whether it is compressed, and its size."""

_CODES: Final = {str(code.value[0]): code for code in grpc.StatusCode}

# Both after "HTTP to gRPC Status Code Mapping" and "Errors" in gRPC's protocol documents.
_OF_HTTP: Final = {
    "400": grpc.StatusCode.INTERNAL,
    "401": grpc.StatusCode.UNAUTHENTICATED,
    "403": grpc.StatusCode.PERMISSION_DENIED,
    "404": grpc.StatusCode.UNIMPLEMENTED,
    "429": grpc.StatusCode.UNAVAILABLE,
    "502": grpc.StatusCode.UNAVAILABLE,
    "503": grpc.StatusCode.UNAVAILABLE,
    "504": grpc.StatusCode.UNAVAILABLE,
}
_OF_RESET: Final[Mapping[int, grpc.StatusCode]] = {
    ErrorCode.CANCEL: grpc.StatusCode.CANCELLED,
}


class NotBegunError(Exception):
    """The server has done nothing of a call, and says so: it may be sent again."""


def call_error(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    """The error that grpc.aio's client would raise."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


def reset_error(code: int) -> grpc.aio.AioRpcError | NotBegunError:
    """What a stream means that the server has reset with `code`."""
    # The second is what gRPC's servers say to calls beyond their limit before it is known.
    if code in (ErrorCode.REFUSED_STREAM, ErrorCode.ENHANCE_YOUR_CALM):
        return NotBegunError("the server refused to begin the call")
    status = _OF_RESET.get(code, grpc.StatusCode.INTERNAL)
    return call_error(status, f"the server reset the call (HTTP/2 error {code})")


@dataclass(slots=True)
class Answer:
    """What has come for one call so far.

    Attributes:
        limit_bytes: Of its message.
    """

    limit_bytes: int
    _headers: Mapping[str, str] | None = None
    _trailers: Mapping[str, str] = field(default_factory=dict)
    _data: list[bytes] = field(default_factory=list)
    _size: int = 0

    def take_fields(self, fields: Mapping[str, str]) -> None:
        """Take in the headers, or the trailers behind them.

        Raises:
            BrokenProtocolError: The headers have no status.
        """
        if self._headers is not None:
            self._trailers = fields
            return
        status = fields.get(":status", "")
        if len(status) != _STATUS_DIGITS or not status.isdecimal():
            raise BrokenProtocolError("an answer has no status")
        if status[0] != "1":  # what is only told meanwhile
            self._headers = fields

    def take_data(self, data: bytes) -> bool:
        """Take in a part of the body; whether it is not too large by now.

        Raises:
            BrokenProtocolError: It came before the headers.
        """
        if self._headers is None:
            raise BrokenProtocolError("an answer begins with its body")
        self._data.append(data)
        self._size += len(data)
        return self._size <= self.limit_bytes + _PREFIX_BYTES

    def message(self) -> bytes:
        """The message of a call that has ended.

        Raises:
            grpc.aio.AioRpcError: It failed, or no whole message came.
        """
        headers = self._headers or {}
        trailers = self._trailers or headers  # a failure at once has its status in the headers
        code = trailers.get("grpc-status")
        if code is None:
            raise _not_grpc(headers)
        if code != "0":
            text = unquote(trailers.get("grpc-message", ""))
            raise call_error(_CODES.get(code, grpc.StatusCode.UNKNOWN), text)
        body = self._data[0] if len(self._data) == 1 else b"".join(self._data)
        if len(body) < _PREFIX_BYTES or body[0] or _size_in(body) != len(body) - _PREFIX_BYTES:
            raise call_error(
                grpc.StatusCode.INTERNAL, "the answer is not one whole, plain gRPC message"
            )
        return body[_PREFIX_BYTES:]


def _size_in(body: bytes) -> int:
    return int.from_bytes(body[1:_PREFIX_BYTES], "big")


def _not_grpc(headers: Mapping[str, str]) -> grpc.aio.AioRpcError:
    status = headers.get(":status", "no status")
    code = _OF_HTTP.get(status, grpc.StatusCode.UNKNOWN)
    return call_error(code, f"the server answered HTTP {status} without a gRPC status")
