"""Failures that a caller can act on. Nothing here knows gRPC.

ServiceError
├── InvalidArgument      the request can't succeed whatever the state of the system
├── NotFound             the named resource doesn't exist, or the caller may not see it
├── AlreadyExists        the name, or the request id, is taken
├── FailedPrecondition   the resource is in a state that rules the call out
├── Conflict             a concurrent writer won; read again and retry
├── ResourceExhausted    a quota, a budget or a queue is full
├── Unavailable          a dependency is away; it comes back
├── DataLoss             bytes don't match their digest
├── PermissionDenied     the caller may see the resource but not do this
└── DeadlineExceeded     the work would not finish in the time that is left

`services.common.rpc.status` gives each kind its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is wrong.

    Attributes:
        field: Path from the request's root, such as `spec.candidates[2].algorithm`.
        description: What is wrong and what would be right.
    """

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class PreconditionViolation:
    """One condition that does not hold.

    Attributes:
        kind: Upper-case class of the condition, such as `GATE` or `STATE`.
        subject: Resource name, or the rule, that fails.
        description: The numbers, and what would satisfy it.
    """

    kind: str
    subject: str
    description: str


class ServiceError(Exception):
    """A failure that a caller can act on.

    Subclass one of the kinds below, once per distinct reason, and set `reason`.

    Args:
        message: One sentence for a developer: what failed and what to do.
        **metadata: Every value that `message` mentions, so that no client
            parses text. Part of the contract: keys are never removed.
    """

    reason: ClassVar[str]

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.metadata = metadata


class InvalidArgument(ServiceError):
    """The request can't succeed whatever the state of the system.

    Args:
        message: What is wrong.
        violations: Every faulty field, all named at once.
        **metadata: The values that `message` mentions.
    """

    def __init__(
        self, message: str, *, violations: Sequence[FieldViolation] = (), **metadata: str
    ) -> None:
        super().__init__(message, **metadata)
        self.violations = tuple(violations)


class InvalidRequest(InvalidArgument):
    """Fields of the request break the contract's rules.

    Args:
        violations: Every one of them; the message lists them too.
    """

    reason = "INVALID_REQUEST"

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        listed = "; ".join(f"{each.field or 'request'}: {each.description}" for each in violations)
        super().__init__(f"The request is invalid: {listed}.", violations=violations)


class FieldImmutable(InvalidArgument):
    """The request changes a field that can't be changed.

    Args:
        field: That one.
        named_by: Path in the request that names it, such as its update mask.
    """

    reason = "FIELD_IMMUTABLE"

    def __init__(self, field: str, named_by: str) -> None:
        text = f"{field!r} can't be changed."
        super().__init__(text, violations=[FieldViolation(named_by, text)], field=field)


class NotFound(ServiceError):
    """The named resource doesn't exist."""


class AlreadyExists(ServiceError):
    """The name is taken."""


class FailedPrecondition(ServiceError):
    """The resource is in a state that rules the call out; retrying won't help.

    Args:
        message: What rules it out.
        violations: Every condition that fails, all named at once.
        **metadata: The values that `message` mentions.
    """

    def __init__(
        self, message: str, *, violations: Sequence[PreconditionViolation] = (), **metadata: str
    ) -> None:
        super().__init__(message, **metadata)
        self.violations = tuple(violations)


class Conflict(ServiceError):
    """A concurrent writer won; read again and retry."""


class ResourceExhausted(ServiceError):
    """A quota, a budget or a queue is full.

    Args:
        message: Which limit, its size, and how to raise or wait for it.
        subject: What is exhausted, for `QuotaFailure`.
        retry_after_s: Seconds after which a retry may pass; None when waiting won't help.
        **metadata: The values that `message` mentions.
    """

    def __init__(
        self, message: str, *, subject: str, retry_after_s: float | None = None, **metadata: str
    ) -> None:
        super().__init__(message, **metadata)
        self.subject = subject
        self.retry_after_s = retry_after_s


class Unavailable(ServiceError):
    """A dependency is away; it comes back.

    Args:
        message: Which dependency, and what was tried.
        retry_after_s: Seconds to wait before a retry.
        **metadata: The values that `message` mentions.
    """

    def __init__(self, message: str, *, retry_after_s: float = 1.0, **metadata: str) -> None:
        super().__init__(message, **metadata)
        self.retry_after_s = retry_after_s


class DataLoss(ServiceError):
    """Bytes don't match their digest.

    Args:
        message: Which bytes.
        violations: Every file that differs, when there may be several.
        **metadata: The values that `message` mentions.
    """

    def __init__(
        self, message: str, *, violations: Sequence[FieldViolation] = (), **metadata: str
    ) -> None:
        super().__init__(message, **metadata)
        self.violations = tuple(violations)


class PermissionDenied(ServiceError):
    """The caller may see the resource but not do this."""


class DeadlineExceeded(ServiceError):
    """The work would not finish in the time that is left."""
