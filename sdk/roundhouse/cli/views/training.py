"""A training job as progress bars."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from roundhouse.cli.names import last
from roundhouse.cli.output import state_name
from roundhouse.trainer.v1.job_pb2 import TrainingJob, Trial
from roundhouse.trainer.v1.job_service_pb2 import WatchTrainingJobResponse


class TrainingView:
    """One bar for the job and one per trial, with the newest loss or metric beside it."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}
        self._latest: dict[str, str] = {}

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

    def show(self, change: WatchTrainingJobResponse) -> None:
        """Draws the job and its trials as they are now."""
        for point in change.points:
            self._latest[point.trial] = f"{point.series} {point.value:.4f} at {point.step}"
        job = change.training_job
        self._draw(job.name, f"job {last(job.name)}", job.progress, _job_note(job))
        for trial in change.trials:
            note = self._latest.get(last(trial.name), "")
            self._draw(trial.name, f"  {trial.algorithm}", trial.progress, _trial_note(trial, note))

    def _draw(self, key: str, description: str, share: float, note: str) -> None:
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(description, total=1.0, note="")
        self._progress.update(self._bars[key], completed=share, note=note)
        if share >= 1.0:
            self._progress.stop_task(self._bars[key])


def _job_note(job: TrainingJob) -> str:
    return state_name(TrainingJob.State.Name(job.state)).lower()


def _trial_note(trial: Trial, latest: str) -> str:
    match trial.state:
        case Trial.STATE_SUCCEEDED:
            scores = ", ".join(f"{name} {value:.4f}" for name, value in trial.metrics.items())
            return f"validation {scores}"
        case Trial.STATE_FAILED:
            return f"failed: {trial.message}"
        case Trial.STATE_PRUNED:
            return f"stopped early: {trial.message}"
        case _:
            return latest
