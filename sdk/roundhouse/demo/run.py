"""The demo from its first step to its report."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from roundhouse.client import AsyncClient
from roundhouse.demo import first_version, flights, report, resources, scores
from roundhouse.demo.clock import FastClock
from roundhouse.demo.first_version import StepFailed
from roundhouse.demo.follower import Follower
from roundhouse.demo.replay import Departures, Replay, departures_of
from roundhouse.demo.report import Stage
from roundhouse.trainer.v1.job_pb2 import TrainingJob
from roundhouse.trainer.v1.job_service_pb2 import WatchTrainingJobResponse

TRAINING_MONTHS: Final = 2
LAST_MONTH: Final = 12
DAYS_PER_S: Final = 4.0
"""Fast enough for ten months in a minute and a half, if the services keep up."""
DAYS_PER_S_WHILE_TRAINING: Final = 0.4
_DAY_US: Final = 86_400_000_000
_DAYS_A_MONTH: Final = 30.6
SETTLE_S: Final = 90.0
"""Longest wait, after the last flight, for an episode under way to end."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """How much of the year, and how fast.

    Attributes:
        data_dir: Of the suite; also keeps the joined flights and the first version.
        report_file: Gets the report.
        last_month: The replay ends with it, 3 to 12.
        days_per_s: Days of event time per second.
        days_per_s_while_training: The same while a model is being trained.
        algorithms: Candidates of each training.
    """

    data_dir: Path
    report_file: Path
    last_month: int = LAST_MONTH
    days_per_s: float = DAYS_PER_S
    days_per_s_while_training: float = DAYS_PER_S_WHILE_TRAINING
    algorithms: tuple[str, ...] = resources.ALGORITHMS


@dataclass
class Demo:
    """One run against services that serve.

    Attributes:
        client: To the services.
        console: To print on.
        options: How much and how fast.
    """

    client: AsyncClient
    console: Console
    options: DemoOptions
    stages: list[Stage] = field(default_factory=list)

    def began(self, seconds: float) -> None:
        """Note how long the services took to start."""
        self.stages.append(Stage("start the four services", seconds))

    async def run(self) -> dict[str, Any]:
        """The report, once the year is over; also in `options.report_file`.

        Raises:
            StepFailed: The first version did not get into service.
        """
        with self._stage("join flights, weather and planes"):
            files = await asyncio.to_thread(flights.month_files, self.options.data_dir / "flights")
        first = await self._first_version(files)
        clock = FastClock(self.options.days_per_s, self.options.days_per_s_while_training)
        follower = Follower(self.client, clock, self.console.print)
        replay = Replay(self.client, clock)
        months = flights.MONTHS[TRAINING_MONTHS : self.options.last_month]
        with self._stage(f"replay {months[0]} to {months[-1]} as live traffic"):
            async with _beside(follower.run()):
                await self._play(replay, files, months)
                await self._settle(follower)
        with self._stage("score the months, and the first version on them"):
            folder = await self.client.download_version(
                first, self.options.data_dir / "first-version"
            )
            scored = await asyncio.to_thread(
                scores.month_scores, replay.served, files, folder / "model.onnx"
            )
        found: dict[str, Any] = await report.gather(self.client, follower, self.stages, scored)
        self.options.report_file.write_text(json.dumps(found, indent=2) + "\n")
        report.show(self.console, found)
        self.console.print(f"\nThe same facts are in {self.options.report_file}.")
        return found

    async def _first_version(self, files: dict[flights.Month, Path]) -> str:
        with self._stage("import January and February"):
            snapshot = await first_version.import_snapshot(
                self.client, [files[month] for month in flights.MONTHS[:TRAINING_MONTHS]]
            )
        cleaning = snapshot.cleaning
        self.console.print(
            f"  {cleaning.rows_read:,} rows read, {cleaning.duplicates:,} duplicates and "
            f"{cleaning.unusable:,} unusable ones dropped: {snapshot.digest[:19]}..."
        )
        with self._stage(f"train {len(self.options.algorithms)} candidates"):
            job = await self._train(snapshot.name)
        with self._stage("gate, approve, name the champion, serve, watch"):
            gate, approval = await first_version.approve(self.client, job)
            await first_version.serve(self.client, job.model_version, approval.name)
        for verdict in gate.verdicts:
            self.console.print(f"  {verdict.explanation}")
        return job.model_version

    async def _train(self, snapshot: str) -> TrainingJob:
        with Progress(
            TextColumn("  {task.description:<22}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}"),
            console=self.console,
        ) as progress:
            view = _TrialBars(progress)
            return await first_version.train(
                self.client, snapshot, self.options.algorithms, view.show
            )

    async def _play(
        self, replay: Replay, files: dict[flights.Month, Path], months: Sequence[flights.Month]
    ) -> None:
        with Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
        ) as progress:
            bar = progress.add_task("live traffic", total=len(months) * _DAYS_A_MONTH, note="")

            def shown(departing: Iterator[Departures]) -> Iterator[Departures]:
                rows, first_us = 0, None
                for each in departing:
                    rows += len(each.late)
                    first_us = each.event_us if first_us is None else first_us
                    days = (each.event_us - first_us) / _DAY_US
                    progress.update(bar, completed=days, note=f"{each.month}  {rows:,} flights")
                    yield each

            await replay.play(shown(departures_of(files, months)))
            await replay.report_rest()

    async def _settle(self, follower: Follower) -> None:
        """Let what is under way come to its end, as far as it can without traffic."""
        deadline = time.monotonic() + SETTLE_S
        await follower.look()
        while not follower.is_quiet and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            if follower.rollouts and not follower.clock.is_training:
                # A canary needs traffic to be judged; the year has none left.
                return

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.console.print(f"[bold]{len(self.stages) + 1}. {name}[/bold]")
        start = time.monotonic()
        yield
        self.stages.append(Stage(name, time.monotonic() - start))


class _TrialBars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, Any] = {}
        self._notes: dict[str, str] = {}

    def show(self, change: WatchTrainingJobResponse) -> None:
        for point in change.points:
            self._notes[point.trial] = f"{point.series} {point.value:.4f} at {point.step}"
        for trial in change.trials:
            if trial.name not in self._bars:
                self._bars[trial.name] = self._progress.add_task(
                    trial.algorithm, total=1.0, note=""
                )
            note = self._notes.get(trial.name.rpartition("/")[2], "")
            if trial.metrics:
                note = ", ".join(f"{name} {value:.4f}" for name, value in trial.metrics.items())
            self._progress.update(self._bars[trial.name], completed=trial.progress, note=note)


@asynccontextmanager
async def _beside(work: Any) -> AsyncIterator[None]:
    """Runs a coroutine beside the block and ends it with the block."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


__all__ = ["Demo", "DemoOptions", "StepFailed"]
