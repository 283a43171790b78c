"""A batch prediction job as a progress bar."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from roundhouse.cli.names import last
from roundhouse.cli.output import state_name
from roundhouse.inference.v1.batch_pb2 import BatchPredictionJob


class BatchView:
    """One bar, with rows, speed and remaining time beside it."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._bar: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, job: BatchPredictionJob) -> None:
        """Draws the job as it is now."""
        if self._bar is None:
            self._bar = self._progress.add_task(
                f"batch {last(job.name)}", total=max(1, job.rows_total), note=""
            )
        self._progress.update(self._bar, completed=job.rows_done, note=progress_of(job))


def progress_of(job: BatchPredictionJob) -> str:
    """`running, 30,000 of 90,000 rows, 15,000 rows/s, 0:00:04 to go`."""
    state = state_name(BatchPredictionJob.State.Name(job.state)).lower()
    parts = [state, f"{job.rows_done:,} of {job.rows_total:,} rows"]
    if job.rows_per_second:
        parts.append(f"{job.rows_per_second:,.0f} rows/s")
    if job.HasField("remaining"):
        left = timedelta(seconds=round(job.remaining.ToTimedelta().total_seconds()))
        parts.append(f"{left} to go")
    return ", ".join(parts)
