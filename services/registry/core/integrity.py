"""Whether a version's bytes are still those that were committed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.registry.core.bundles import BundleFile
from services.registry.core.canonical import Json


class FaultKind(StrEnum):
    """What happened to a file."""

    MISSING = "MISSING"
    TRUNCATED = "TRUNCATED"
    DAMAGED = "DAMAGED"
    SWAPPED = "SWAPPED"


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file's place in the store turned out to hold.

    Attributes:
        is_of_another: Whether the registry knows these bytes as another file.
    """

    digest: str
    size_bytes: int
    is_of_another: bool


@dataclass(frozen=True, slots=True)
class FileFault:
    """How one file differs from what was committed.

    Attributes:
        actual_digest: Of what is stored; empty when nothing is.
        actual_size_bytes: Of what is stored; 0 when nothing is.
    """

    path: str
    kind: FaultKind
    expected_digest: str
    expected_size_bytes: int
    actual_digest: str = ""
    actual_size_bytes: int = 0

    def __str__(self) -> str:
        if self.kind is FaultKind.MISSING:
            return f"missing: {self.expected_size_bytes} bytes of {self.expected_digest} are gone"
        return (
            f"{self.kind.value.lower()}: {self.actual_size_bytes} bytes of {self.actual_digest} "
            f"are stored, {self.expected_size_bytes} of {self.expected_digest} were committed"
        )

    def as_json(self) -> Json:
        """This fault as an event tells it."""
        return {
            "path": self.path,
            "kind": self.kind.value,
            "expected_digest": self.expected_digest,
            "actual_digest": self.actual_digest,
        }


@dataclass(frozen=True, slots=True)
class Examination:
    """What reading all files of a version gave.

    Attributes:
        files: How many were looked for.
        size_bytes: Of all of them as they were committed.
        faults: By path; empty when the version is whole.
    """

    files: int
    size_bytes: int
    faults: tuple[FileFault, ...]


def fault_of(file: BundleFile, stored: Stored | None) -> FileFault | None:
    """How `stored` differs from the committed `file`; None if it doesn't.

    Args:
        file: As it was committed.
        stored: What its place holds; None for nothing.
    """
    if stored is None:
        return FileFault(file.path, FaultKind.MISSING, file.digest, file.size_bytes)
    if stored.digest == file.digest:
        return None
    if stored.is_of_another:
        kind = FaultKind.SWAPPED
    elif stored.size_bytes < file.size_bytes:
        kind = FaultKind.TRUNCATED
    else:
        kind = FaultKind.DAMAGED
    return FileFault(
        file.path, kind, file.digest, file.size_bytes, stored.digest, stored.size_bytes
    )


def summary(faults: Sequence[FileFault]) -> str:
    """The faults in a sentence's end, such as `model.onnx is truncated`."""
    return ", ".join(f"{fault.path} is {fault.kind.value.lower()}" for fault in faults)
