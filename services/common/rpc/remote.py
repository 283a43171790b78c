"""What another service answered instead of a result."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from services.common.errors import DeadlineExceeded, ServiceError, Unavailable

_LOST_STREAM: Final = "Internal error from Core"
_STATUS_DETAILS: Final = "grpc-status-details-bin"


class RemoteError(Exception):
    """A call to another service failed; switch on `code` and `reason`, never on the text.

    Attributes:
        peer: The service that was called, such as `registry`.
        code: gRPC's status code.
        reason: The peer's reason; empty when the failure is the transport's.
        metadata: The values of the peer's ErrorInfo.
        message: The peer's sentence for a developer.
    """

    def __init__(
        self,
        peer: str,
        code: grpc.StatusCode,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        message: str = "",
    ) -> None:
        named = f"{code.name} ({reason})" if reason else code.name
        super().__init__(f"{peer} answered {named}: {message}")
        self.peer = peer
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.message = message


class DependencyUnavailable(Unavailable):
    """Another service can't be reached."""

    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self, dependency: str) -> None:
        super().__init__(f"The {dependency} can't be reached at present.", dependency=dependency)


class DependencyTimeout(DeadlineExceeded):
    """Another service did not answer in the time that the call had left."""

    reason = "DEPENDENCY_TIMEOUT"

    def __init__(self, dependency: str) -> None:
        super().__init__(
            f"The {dependency} did not answer in the time that the call had left.",
            dependency=dependency,
        )


@contextmanager
def remote_errors(peer: str) -> Iterator[None]:
    """Every gRPC failure inside the block is raised as a `RemoteError` of `peer`."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _remote_error(peer, error) from error
    except asyncio.CancelledError as error:
        if cancellation_is_wanted():
            raise
        lost = "the stream was lost while it was sent"
        raise RemoteError(peer, grpc.StatusCode.UNAVAILABLE, message=lost) from error


def cancellation_is_wanted() -> bool:
    """Whether somebody wants the present task to end, which a CancelledError alone does not say.

    grpc.aio raises it too, in who waits for a call that is lost while its messages are sent.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def as_own_failure(error: RemoteError) -> ServiceError | None:
    """How a service reports a peer's failure that its adapter gave no meaning.

    None when only a person can tell: then the unhandled failure is a bug.
    """
    match error.code:
        case grpc.StatusCode.UNAVAILABLE:
            return DependencyUnavailable(error.peer)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DependencyTimeout(error.peer)
        case _:
            return None


def _remote_error(peer: str, error: grpc.aio.AioRpcError) -> RemoteError:
    info = ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_DETAILS and isinstance(value, bytes):
            for detail in Status.FromString(value).details:
                if detail.Is(ErrorInfo.DESCRIPTOR):
                    detail.Unpack(info)
    # What grpc.aio says where a message met a stream that had just been lost.
    is_lost = error.code() is grpc.StatusCode.INTERNAL and error.details() == _LOST_STREAM
    return RemoteError(
        peer,
        grpc.StatusCode.UNAVAILABLE if is_lost else error.code(),
        reason=info.reason,
        metadata=info.metadata,
        message=error.details() or "",
    )
