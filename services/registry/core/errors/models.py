"""What is refused about models, versions and aliases."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import (
    AlreadyExists,
    Conflict,
    DataLoss,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PreconditionViolation,
)


class ModelNotFound(NotFound):
    """No model has this name."""

    reason = "MODEL_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no model {name!r}.", name=name)


class ModelExists(AlreadyExists):
    """The model id is taken."""

    reason = "MODEL_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"Model {name!r} exists already.", name=name)


class ModelNotEmpty(FailedPrecondition):
    """The model still has versions."""

    reason = "MODEL_NOT_EMPTY"

    def __init__(self, name: str, versions: int) -> None:
        text = f"{name!r} still has {versions} versions."
        super().__init__(
            text,
            violations=[PreconditionViolation("EMPTY", name, text)],
            name=name,
            versions=str(versions),
        )


class VersionNotFound(NotFound):
    """No model version has this name."""

    reason = "VERSION_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no model version {name!r}.", name=name)


class VersionNotReady(FailedPrecondition):
    """The version's bytes aren't committed, or it should no longer be used."""

    reason = "VERSION_NOT_READY"

    def __init__(self, name: str, state: str) -> None:
        text = f"{name!r} is {state} and not READY."
        super().__init__(
            text, violations=[PreconditionViolation("STATE", name, text)], name=name, state=state
        )


class IllegalTransition(FailedPrecondition):
    """The life cycle has no such move."""

    reason = "ILLEGAL_STATE_TRANSITION"

    def __init__(self, name: str, current: str, requested: str, obstacle: str = "") -> None:
        text = f"{name!r} is {current}; it can't become {requested}{obstacle and ': '}{obstacle}."
        super().__init__(
            text,
            violations=[PreconditionViolation("STATE", name, text)],
            name=name,
            current=current,
            requested=requested,
        )


class ManifestMismatch(DataLoss):
    """The uploaded files aren't what the manifest says; the version stays open.

    Args:
        name: The version.
        faults: One per file that is missing, truncated, changed or extra.
    """

    reason = "MANIFEST_MISMATCH"

    def __init__(self, name: str, faults: Sequence[FieldViolation]) -> None:
        super().__init__(
            f"{name!r} differs from its manifest in {', '.join(f.field for f in faults)}.",
            violations=faults,
            name=name,
        )


class InvalidManifest(InvalidArgument):
    """The manifest, the signature or another document of the bundle can't be parsed."""

    reason = "INVALID_MANIFEST"

    def __init__(self, name: str, faults: Sequence[FieldViolation]) -> None:
        super().__init__(
            f"{name!r} has malformed documents: {', '.join(f.field for f in faults)}.",
            violations=faults,
            name=name,
            path=faults[0].field,
        )


class UnsafeFormat(InvalidArgument):
    """The format runs code when it is loaded, or isn't known not to."""

    reason = "UNSAFE_FORMAT"

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(
            f"{path!r} is refused: {fault}.",
            violations=[FieldViolation("header.path", f"{path}: {fault}")],
            path=path,
        )


class AliasNotFound(NotFound):
    """No alias has this name."""

    reason = "ALIAS_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no alias {name!r}.", name=name)


class AliasMoved(Conflict):
    """The alias doesn't point at the expected version."""

    reason = "ALIAS_MOVED"

    def __init__(self, name: str, expected: str, current: str) -> None:
        super().__init__(
            f"{name!r} points at {current or 'nothing'} and not at {expected or 'nothing'}.",
            name=name,
            expected=expected,
            current=current,
        )
