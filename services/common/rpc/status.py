"""Failures as `google.rpc.Status` (AIP-193), in one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import protovalidate
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
    QuotaFailure,
    RetryInfo,
)
from google.rpc.status_pb2 import Status

from services.common.errors import (
    AlreadyExists,
    Conflict,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PreconditionViolation,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)
from services.common.rpc.conventions import ERROR_DOMAIN_SUFFIX
from services.common.rpc.convert import to_duration

_CODES: Final[dict[type[ServiceError], int]] = {
    InvalidArgument: code_pb2.INVALID_ARGUMENT,
    NotFound: code_pb2.NOT_FOUND,
    AlreadyExists: code_pb2.ALREADY_EXISTS,
    FailedPrecondition: code_pb2.FAILED_PRECONDITION,
    Conflict: code_pb2.ABORTED,
    ResourceExhausted: code_pb2.RESOURCE_EXHAUSTED,
    Unavailable: code_pb2.UNAVAILABLE,
    DataLoss: code_pb2.DATA_LOSS,
    PermissionDenied: code_pb2.PERMISSION_DENIED,
    DeadlineExceeded: code_pb2.DEADLINE_EXCEEDED,
}

# A status goes out as headers, its details in base64 and its message once more beside them.
# Clients refuse headers from 8 KiB on at random, and from 16 KiB on always (gRPC A4, soft and
# hard limit); what a caller sent must not make its own error unreadable.
_MAX_MESSAGE_BYTES: Final = 512
_MAX_VALUE_BYTES: Final = 384
_MAX_VIOLATIONS_BYTES: Final = 2560
_VIOLATION_BYTES: Final = 8
"""Of a violation besides its texts."""

_ViolationT = TypeVar("_ViolationT", FieldViolation, PreconditionViolation)


class DeadlineRequired(InvalidArgument):
    """A unary call came without a deadline."""

    reason = "DEADLINE_REQUIRED"


def status_of(error: ServiceError, service: str) -> Status:
    """What a client of `service` (such as `registry`) sees of `error`."""
    kind = next(kind for kind in type(error).__mro__ if kind in _CODES)
    info = ErrorInfo(
        reason=error.reason,
        domain=service + ERROR_DOMAIN_SUFFIX,
        metadata={name: _short(value) for name, value in error.metadata.items()},
    )
    return _status(_CODES[kind], _text(error), [info, *_details(error)])


def status_of_bug(error_id: str, service: str) -> Status:
    """INTERNAL without a text, which could hold data of another caller.

    Args:
        error_id: Under which the log has the exception.
        service: Where it happened.
    """
    info = ErrorInfo(
        reason="INTERNAL", domain=service + ERROR_DOMAIN_SUFFIX, metadata={"error_id": error_id}
    )
    return _status(code_pb2.INTERNAL, f"Internal error {error_id}.", [info])


def invalid_request(violations: Sequence[protovalidate.Violation]) -> InvalidRequest:
    """One error that names every broken proto rule with its field's full path."""
    fields = [FieldViolation(_path(violation), violation.proto.message) for violation in violations]
    return InvalidRequest(fields)


def _path(violation: protovalidate.Violation) -> str:
    path = ""
    for element in violation.proto.field.elements if violation.proto.field else ():
        path += f".{element.field_name}" if path else element.field_name
        subscript = element.subscript
        if subscript is not None:
            path += f"[{subscript.value!r}]".replace("'", '"')
    return path


def _details(error: ServiceError) -> Iterable[Message]:
    match error:
        case InvalidArgument(violations=violations) | DataLoss(violations=violations) if violations:
            shown = [
                BadRequest.FieldViolation(field=_short(v.field), description=_short(v.description))
                for v in _that_fit(violations)
            ]
            if more := len(violations) - len(shown):
                shown.append(BadRequest.FieldViolation(description=f"{more} more fields are wrong"))
            yield BadRequest(field_violations=shown)
        case FailedPrecondition(violations=violations) if violations:
            yield PreconditionFailure(
                violations=[
                    PreconditionFailure.Violation(
                        type=v.kind, subject=_short(v.subject), description=_short(v.description)
                    )
                    for v in _that_fit(violations)
                ]
            )
        case ResourceExhausted():
            yield QuotaFailure(
                violations=[QuotaFailure.Violation(subject=error.subject, description=_text(error))]
            )
            if error.retry_after_s is not None:
                yield RetryInfo(retry_delay=to_duration(error.retry_after_s))
        case Unavailable():
            yield RetryInfo(retry_delay=to_duration(error.retry_after_s))
        case _:
            pass


def _text(error: ServiceError) -> str:
    return _short(str(error), _MAX_MESSAGE_BYTES)


def _short(text: str, limit_bytes: int = _MAX_VALUE_BYTES) -> str:
    """The beginning of `text`, and an ellipsis if that is not all."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit_bytes:
        return text
    return encoded[:limit_bytes].decode(errors="ignore") + "…"


def _that_fit(violations: Sequence[_ViolationT]) -> Sequence[_ViolationT]:
    """The first ones, as many as there is room for, and at least one."""
    room_bytes = _MAX_VIOLATIONS_BYTES
    for count, violation in enumerate(violations):
        subject = violation.field if isinstance(violation, FieldViolation) else violation.subject
        room_bytes -= _VIOLATION_BYTES
        for text in (subject, violation.description):
            room_bytes -= min(len(text.encode(errors="replace")), _MAX_VALUE_BYTES)
        if room_bytes < 0:
            return violations[: max(1, count)]
    return violations


def _status(code: int, message: str, details: Iterable[Message]) -> Status:
    status = Status(code=code, message=message)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status
