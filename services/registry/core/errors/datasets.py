"""What is refused about datasets and snapshots."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import (
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PreconditionViolation,
)


class DatasetNotFound(NotFound):
    """No dataset has this name."""

    reason = "DATASET_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no dataset {name!r}.", name=name)


class DatasetExists(AlreadyExists):
    """The dataset id is taken."""

    reason = "DATASET_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"Dataset {name!r} exists already.", name=name)


class DatasetNotEmpty(FailedPrecondition):
    """The dataset still has snapshots."""

    reason = "DATASET_NOT_EMPTY"

    def __init__(self, name: str, snapshots: int) -> None:
        text = f"{name!r} still has {snapshots} snapshots."
        super().__init__(
            text,
            violations=[PreconditionViolation("EMPTY", name, text)],
            name=name,
            snapshots=str(snapshots),
        )


class SnapshotNotFound(NotFound):
    """No snapshot has this name."""

    reason = "SNAPSHOT_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no snapshot {name!r}.", name=name)


class SnapshotExists(AlreadyExists):
    """The snapshot id is taken."""

    reason = "SNAPSHOT_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"Snapshot {name!r} exists already.", name=name)


class SnapshotSealed(FailedPrecondition):
    """The snapshot is final."""

    reason = "SNAPSHOT_SEALED"

    def __init__(self, name: str) -> None:
        text = f"{name!r} is sealed and can't change."
        super().__init__(
            text,
            violations=[PreconditionViolation("STATE", name, text)],
            name=name,
            state="SEALED",
        )


class SnapshotNotSealed(FailedPrecondition):
    """The snapshot is still open, so its content isn't final."""

    reason = "SNAPSHOT_NOT_SEALED"

    def __init__(self, name: str) -> None:
        text = f"{name!r} is open: seal it first."
        super().__init__(
            text, violations=[PreconditionViolation("STATE", name, text)], name=name, state="OPEN"
        )


class SnapshotEmpty(FailedPrecondition):
    """A snapshot without a usable row can't be sealed."""

    reason = "SNAPSHOT_EMPTY"

    def __init__(self, name: str) -> None:
        text = f"{name!r} has no usable row."
        super().__init__(text, violations=[PreconditionViolation("ROWS", name, text)], name=name)


class SnapshotReferenced(FailedPrecondition):
    """Something was made from the snapshot, so it stays."""

    reason = "SNAPSHOT_REFERENCED"

    def __init__(self, name: str, referrer: str) -> None:
        text = f"{referrer!r} was made from {name!r}."
        super().__init__(
            text,
            violations=[PreconditionViolation("REFERENCE", referrer, text)],
            name=name,
            referrer=referrer,
        )


class UnreadableFile(InvalidArgument):
    """An uploaded file can't be read as the format that it claims.

    Args:
        path: The file's path in the snapshot.
        file_format: The format that it claims.
        fault: What is wrong.
        column: Where, if known.
        row: Where, if known; 1 is the first line or row, a CSV's header included.
    """

    reason = "UNREADABLE_FILE"

    def __init__(
        self,
        path: str,
        file_format: str,
        fault: str,
        *,
        column: str | None = None,
        row: int | None = None,
    ) -> None:
        place = {
            key: str(value)
            for key, value in (("column", column), ("row", row))
            if value is not None
        }
        where = "".join(f", {key} {value}" for key, value in place.items())
        super().__init__(
            f"{path!r} can't be read as {file_format}{where}: {fault}",
            violations=[FieldViolation("chunk", f"{path}{where}: {fault}")],
            path=path,
            format=file_format,
            **place,
        )


class SchemaMismatch(InvalidArgument):
    """The file's columns differ from those of the snapshot's other files.

    Args:
        path: The file's path in the snapshot.
        faults: Per column what differs.
    """

    reason = "SCHEMA_MISMATCH"

    def __init__(self, path: str, faults: Sequence[FieldViolation]) -> None:
        columns = ",".join(fault.field for fault in faults)
        super().__init__(
            f"{path!r} disagrees with the snapshot's other files in {columns}.",
            violations=faults,
            path=path,
            column=columns,
        )


class ColumnNotFound(InvalidArgument):
    """A declared key, required or time column isn't in the file."""

    reason = "COLUMN_NOT_FOUND"

    def __init__(self, path: str, columns: Sequence[str]) -> None:
        super().__init__(
            f"{path!r} lacks the declared columns {', '.join(columns)}.",
            violations=[FieldViolation(column, f"not in {path}") for column in columns],
            path=path,
            column=",".join(columns),
        )


class FileExists(AlreadyExists):
    """The snapshot has other bytes under this path."""

    reason = "FILE_EXISTS"

    def __init__(self, name: str, path: str) -> None:
        super().__init__(f"{name!r} has another file {path!r}.", name=name, path=path)
