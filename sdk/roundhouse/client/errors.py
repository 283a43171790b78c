"""What a call can fail with.

    RoundhouseError
    ├── CallFailed                the service, or the way to it, said no
    │   ├── InvalidArgument       the request is wrong; `field_violations` say where
    │   ├── NotFound              there is no such resource
    │   ├── AlreadyExists         the id is taken, or a request id was used for something else
    │   ├── FailedPrecondition    not in this state; `precondition_violations` say why
    │   ├── Conflict              somebody else changed it first: read again
    │   ├── PermissionDenied      this identity may not
    │   ├── ResourceExhausted     a queue is full or a budget spent
    │   ├── Unavailable           the service is away; it was asked again until the deadline
    │   ├── DeadlineExceeded      no answer in time
    │   ├── DataLoss              stored or sent bytes do not match their digest
    │   └── ServerFault           a bug of the service; `metadata["error_id"]` finds it in its log
    └── InvalidInput              the caller's values do not fit the endpoint; nothing was sent

Programs switch on `reason`, an enum of the service's contract, never on the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status

MessageT = TypeVar("MessageT", bound=Message)

_DETAILS_KEY: Final = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of the request that breaks a rule."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class PreconditionViolation:
    """One condition that does not hold."""

    type: str
    subject: str
    description: str


class RoundhouseError(Exception):
    """Root of everything that this library raises."""


class InvalidInput(RoundhouseError):
    """The values given for a prediction do not fit the endpoint; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What the wire said about a failed call."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    """Value of the service's ErrorReason enum, without prefix; empty when no service answered."""
    domain: str = ""
    """Service that said it, such as `registry.roundhouse.dev`."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: Sequence[FieldViolation] = ()
    precondition_violations: Sequence[PreconditionViolation] = ()
    retry_after_s: float | None = None


class CallFailed(RoundhouseError):
    """A call came to nothing."""

    codes: ClassVar[frozenset[grpc.StatusCode]] = frozenset()

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message or failure.code.name)
        self.failure = failure

    @property
    def code(self) -> grpc.StatusCode:
        """gRPC status code."""
        return self.failure.code

    @property
    def reason(self) -> str:
        """Value of the service's ErrorReason enum, without prefix."""
        return self.failure.reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """Every value that the text names."""
        return self.failure.metadata


class InvalidArgument(CallFailed):
    """The request is wrong whatever the state; `failure.field_violations` say where."""

    codes = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE})


class NotFound(CallFailed):
    """There is no such resource, or the caller may not see it."""

    codes = frozenset({grpc.StatusCode.NOT_FOUND})


class AlreadyExists(CallFailed):
    """The id is taken, or the request id was used with other content."""

    codes = frozenset({grpc.StatusCode.ALREADY_EXISTS})


class FailedPrecondition(CallFailed):
    """The resource is in no state for this; `failure.precondition_violations` say why."""

    codes = frozenset({grpc.StatusCode.FAILED_PRECONDITION})


class Conflict(CallFailed):
    """Somebody else changed it first: read it again and decide anew."""

    codes = frozenset({grpc.StatusCode.ABORTED})


class PermissionDenied(CallFailed):
    """This identity may not do that."""

    codes = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED})


class ResourceExhausted(CallFailed):
    """A queue is full or a budget is spent."""

    codes = frozenset({grpc.StatusCode.RESOURCE_EXHAUSTED})


class Unavailable(CallFailed):
    """The service is away. Calls that may be repeated were, until their deadline."""

    codes = frozenset({grpc.StatusCode.UNAVAILABLE})


class DeadlineExceeded(CallFailed):
    """No answer came in time; whether the call had an effect is unknown."""

    codes = frozenset({grpc.StatusCode.DEADLINE_EXCEEDED})


class DataLoss(CallFailed):
    """Bytes do not match their digest."""

    codes = frozenset({grpc.StatusCode.DATA_LOSS})


class ServerFault(CallFailed):
    """A bug of the service, or a service of another version."""

    codes = frozenset(
        {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED}
    )


_CLASSES: Final[dict[grpc.StatusCode, type[CallFailed]]] = {
    code: kind for kind in CallFailed.__subclasses__() for code in kind.codes
}


def from_rpc_error(error: grpc.RpcError) -> CallFailed:
    """The typed form of what a stub raised, sync or async."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return ServerFault(Failure(grpc.StatusCode.UNKNOWN, str(error)))
    code: grpc.StatusCode = error.code()
    failure = _failure(code, error.details() or "", _status(error))
    return _CLASSES.get(code, CallFailed)(failure)


@contextmanager
def typed_errors() -> Iterator[None]:
    """Raises the typed form of any RpcError that leaves the block."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


def _status(error: grpc.Call | grpc.aio.AioRpcError) -> Status:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return Status.FromString(value)
    return Status()


def _failure(code: grpc.StatusCode, message: str, status: Status) -> Failure:
    info = _detail(status, ErrorInfo())
    return Failure(
        code=code,
        message=message,
        reason=info.reason,
        domain=info.domain,
        metadata=dict(info.metadata),
        field_violations=[
            FieldViolation(violation.field, violation.description)
            for violation in _detail(status, BadRequest()).field_violations
        ],
        precondition_violations=[
            PreconditionViolation(violation.type, violation.subject, violation.description)
            for violation in _detail(status, PreconditionFailure()).violations
        ],
        retry_after_s=_retry_after_s(status),
    )


def _retry_after_s(status: Status) -> float | None:
    delay = _detail(status, RetryInfo()).retry_delay.ToTimedelta().total_seconds()
    return delay or None


def _detail(status: Status, empty: MessageT) -> MessageT:
    for packed in status.details:
        if packed.type_url.endswith(f"/{empty.DESCRIPTOR.full_name}"):
            packed.Unpack(empty)
            break
    return empty
