"""What is refused since bytes aren't what was committed."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import (
    DataLoss,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    PreconditionViolation,
)


class VersionQuarantined(FailedPrecondition):
    """A file of the version was found missing or changed; it may not be used.

    Args:
        name: The version.
        path: Of the first such file.
        summary: What was found.
    """

    reason = "VERSION_QUARANTINED"

    def __init__(self, name: str, path: str, summary: str) -> None:
        text = f"{name!r} is QUARANTINED: {summary}."
        super().__init__(
            text,
            violations=[PreconditionViolation("INTEGRITY", name, text)],
            name=name,
            path=path,
        )


class VersionDamaged(DataLoss):
    """Files of the version are not as they were committed; it stays in quarantine.

    Args:
        name: The version.
        faults: One per file.
    """

    reason = "VERSION_DAMAGED"

    def __init__(self, name: str, faults: Sequence[FieldViolation]) -> None:
        super().__init__(
            f"{name!r} can't be restored: {', '.join(f.field for f in faults)} "
            "must first be stored again.",
            violations=faults,
            name=name,
            path=faults[0].field,
        )


class UnsafeBundle(InvalidArgument):
    """Files of the bundle run code when they are loaded, or aren't what their names say.

    Args:
        name: The version, which stays open.
        faults: One per file.
    """

    reason = "UNSAFE_BUNDLE"

    def __init__(self, name: str, faults: Sequence[FieldViolation]) -> None:
        listed = "; ".join(f"{fault.field}: {fault.description}" for fault in faults)
        super().__init__(
            f"{name!r} may not be committed: {listed}.",
            violations=faults,
            name=name,
            path=faults[0].field,
        )


class NotTheCommittedFile(InvalidArgument):
    """A repair takes only the bytes that were committed."""

    reason = "NOT_THE_COMMITTED_FILE"

    def __init__(self, name: str, path: str, expected: str, declared: str) -> None:
        text = f"{path} of {name!r} was committed as {expected}; {declared} is something else."
        super().__init__(
            text,
            violations=[FieldViolation("header.digest", f"must be {expected}")],
            name=name,
            path=path,
            expected=expected,
            declared=declared,
        )
