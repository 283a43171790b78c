"""Batch prediction jobs: what they are asked, how they are cut into parts, how far they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from services.common.errors import FieldViolation, InvalidRequest
from services.common.names import ResourceName
from services.common.resources import Meta
from services.inference.core.errors import SnapshotMismatch, VersionNotServable
from services.inference.core.signature import DTYPES, Datatype, InputSpec, Signature

BATCH_NAME: Final = ResourceName("projects/{project}/batchPredictionJobs/{job}")
MAX_PARTS: Final = 4000
"""The parts are in the job's row, which each of them writes again."""

SOURCE_FILE: Final = "source_file"
SOURCE_ROW: Final = "source_row"
SCORE: Final = "score"
OWN_COLUMNS: Final = frozenset({SOURCE_FILE, SOURCE_ROW, SCORE})

_PART_ROWS: Final = 10_000
_USUAL_PARTS: Final = 1000
_TAKEN: Final[Mapping[Datatype, frozenset[str]]] = {
    **dict.fromkeys(DTYPES, frozenset({"int64", "bool"})),
    **dict.fromkeys(
        (Datatype.FP16, Datatype.FP32, Datatype.FP64), frozenset({"double", "int64", "bool"})
    ),
    Datatype.BOOL: frozenset({"bool"}),
    Datatype.BYTES: frozenset({"string"}),
}


class BatchState(StrEnum):
    """Where a job stands; see `BatchPredictionJob.State`."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    FINISHING = "FINISHING"
    SUCCEEDED = "SUCCEEDED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    FAILING = "FAILING"
    FAILED = "FAILED"
    PAUSED = "PAUSED"
    DELETING = "DELETING"

    @property
    def over(self) -> bool:
        """Whether nothing follows, unless somebody deletes it."""
        return self in (BatchState.SUCCEEDED, BatchState.CANCELLED, BatchState.FAILED)


@dataclass(frozen=True, slots=True)
class InputFile:
    """One Parquet file of the snapshot, and the digest of its bytes."""

    path: str
    digest: str
    size_bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class InputColumn:
    """One column of the snapshot: its Arrow type, and how many rows have no value."""

    name: str
    data_type: str
    null_count: int


@dataclass(frozen=True, slots=True)
class InputSnapshot:
    """What the registry says of a sealed snapshot."""

    name: str
    digest: str
    files: tuple[InputFile, ...]
    columns: tuple[InputColumn, ...]
    key_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows `first_row` to `first_row + rows` of one file, which become one file of the output."""

    number: int
    source: InputFile
    first_row: int
    rows: int

    @property
    def path(self) -> str:
        """Name of the output's file, the same however often it is written."""
        return f"part-{self.number:05}.parquet"


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """A part that is in the object store."""

    path: str
    digest: str
    size_bytes: int
    rows: int
    source_file: str
    first_row: int


@dataclass(frozen=True, slots=True)
class BatchPredictionJob:
    """One job.

    Attributes:
        model: Version or alias that was asked for.
        version: Version that it meant when the job was created.
        files: Those of the snapshot, in its order.
        key_columns: Those of the snapshot, copied into the output.
        max_rows_per_s: 0 means no limit of its own.
        written: Parts that are durable, in order.
        work_s: What they took, summed over the processes that worked on them.
        output_url: Where the output is; '' until it runs.
        reason: Of the failure; '' without one.
    """

    meta: Meta
    snapshot: str
    snapshot_digest: str
    model: str
    version: str
    version_digest: str
    files: tuple[InputFile, ...]
    key_columns: tuple[str, ...]
    part_rows: int
    max_rows_per_s: int = 0
    state: BatchState = BatchState.PENDING
    message: str = ""
    reason: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None
    written: tuple[WrittenPart, ...] = ()
    work_s: float = 0.0
    output_url: str = ""
    manifest_digest: str = ""

    @property
    def rows_total(self) -> int:
        """Rows of the snapshot."""
        return sum(file.rows for file in self.files)

    @property
    def rows_done(self) -> int:
        """Rows in parts that are durable."""
        return sum(part.rows for part in self.written)

    @property
    def rows_per_s(self) -> float:
        """Of work so far; 0 before the first part."""
        return self.rows_done / self.work_s if self.work_s else 0.0

    @property
    def remaining(self) -> timedelta | None:
        """Until the last part at the speed so far; None if nobody knows, or it is written."""
        if self.state is not BatchState.RUNNING or not self.rows_per_s:
            return None
        return timedelta(seconds=(self.rows_total - self.rows_done) / self.rows_per_s)

    @property
    def todo(self) -> tuple[Part, ...]:
        """The parts that are not durable yet, in order."""
        return tuple(parts_of(self.files, self.part_rows))[len(self.written) :]

    def begun(self, output_url: str, now: datetime) -> BatchPredictionJob:
        """This job from when it runs."""
        state = BatchState.RUNNING if self.todo else BatchState.FINISHING
        return replace(self, state=state, start_time=now, output_url=output_url)

    def resumed(self) -> BatchPredictionJob:
        """This job, which was paused, from when it may go on."""
        begun = self.start_time is not None
        return replace(self, state=BatchState.RUNNING if begun else BatchState.PENDING)

    def with_part(self, part: WrittenPart, work_s: float) -> BatchPredictionJob:
        """This job with one more part."""
        longer = replace(self, written=(*self.written, part), work_s=self.work_s + work_s)
        return longer if longer.todo else replace(longer, state=BatchState.FINISHING)


def parts_of(files: Sequence[InputFile], part_rows: int) -> Iterator[Part]:
    """How the rows are cut; the same for the same arguments."""
    number = 0
    for file in files:
        for first in range(0, file.rows, part_rows):
            yield Part(number, file, first, min(part_rows, file.rows - first))
            number += 1


def part_rows_for(files: Sequence[InputFile], asked: int) -> int:
    """Rows of a part; 0 leaves the choice to the service.

    Raises:
        InvalidRequest: There would be more parts than a job can have.
    """
    total = sum(file.rows for file in files)
    chosen = asked or max(_PART_ROWS, -(-total // _USUAL_PARTS))
    count = sum(-(-file.rows // chosen) for file in files)
    if count > MAX_PARTS:
        least = -(-total // max(1, MAX_PARTS - len(files)))
        text = f"makes {count} parts of {total} rows; with {least} there are at most {MAX_PARTS}"
        raise InvalidRequest([FieldViolation("batch_prediction_job.part_rows", text)])
    return chosen


def check_columns(snapshot: InputSnapshot, version: str, signature: Signature) -> None:
    """Pass if the snapshot has what the version takes.

    Raises:
        SnapshotMismatch: Naming every column at fault.
        VersionNotServable: It has no score, being of other than two classes.
    """
    if not signature.has_two_classes:
        text = f"batches give the probability of class 1, and it tells {signature.tells}"
        raise VersionNotServable(version, text)
    columns = {column.name: column for column in snapshot.columns}
    faults = {
        spec.name: fault
        for spec in signature.inputs
        if (fault := _fault(spec, columns.get(spec.name)))
    }
    for name in OWN_COLUMNS.intersection(snapshot.key_columns):
        faults[name] = "is a key column, and the output has a column of its own with that name"
    if faults:
        raise SnapshotMismatch(snapshot.name, version, faults)


def _fault(spec: InputSpec, column: InputColumn | None) -> str:
    if column is None:
        return "is missing"
    taken = _TAKEN[spec.datatype]
    if column.data_type not in taken:
        return f"is {column.data_type}; the version takes {' or '.join(sorted(taken))}"
    if column.null_count and not spec.nullable:
        return f"has no value in {column.null_count} rows; the version needs one"
    return ""
