"""Between the thread that trains and the event loop that reports."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol

from services.common.blobs.digests import once, parse_digest
from services.common.blobs.errors import BlobNotFound
from services.common.blobs.port import BlobStore
from services.common.clock import utc_now
from services.trainer.adapters.learning.recipe import Checkpoint, Step
from services.trainer.adapters.worker.contract import Work
from services.trainer.adapters.worker.link import TrainerLink
from services.trainer.core.jobs import (
    CHECKPOINT_BYTES,
    CHECKPOINT_SECONDS,
    STEP_SECONDS,
    WORKERS,
    MetricPoint,
    StoredCheckpoint,
    Trial,
    checkpoint_key,
)
from services.trainer.core.search import loss_of
from services.trainer.core.tasks import Metric
from services.trainer.core.use_cases.attempts import Order


class StopTraining(Exception):
    """The job was paused; nothing is wrong."""


class TrialPruned(Exception):
    """The trial is stopped early; its text says why."""


class Judge(Protocol):
    """Decides whether a trial goes on."""

    def why_pruned(self, step: Step) -> str:
        """Why the trial that has just done `step` is stopped; empty when it goes on."""
        ...


class Checkpoints:
    """One job's checkpoints in the blob store.

    Args:
        blobs: Shared with the trainer and with later attempts.
        work: Whose checkpoints they are.
        link: To the trainer, which knows which of them count.
        interval_s: Between two of a fit at the least.

    Attributes:
        interval_s: As given.
    """

    def __init__(self, blobs: BlobStore, work: Work, link: TrainerLink, interval_s: float) -> None:
        self.interval_s = interval_s
        self._blobs = blobs
        self._uid = str(work.uid)
        self._known = work.checkpoints
        self._link = link

    async def newest(self, trial: str) -> Checkpoint | None:
        """The newest of a trial that is undamaged."""
        mine = [found for found in self._known if found.trial == trial]
        for found in sorted(mine, key=lambda stored: -stored.step):
            data = await self._read(found)
            if data is not None:
                return Checkpoint(found.step, data)
        return None

    async def save(self, trial: str, checkpoint: Checkpoint, loss: float | None) -> None:
        """Store one durably, then have the trainer know it, then remove what it supersedes.

        What was measured before it is stored first: an attempt that goes on from the
        checkpoint will not measure it again.
        """
        await self._link.flush()
        began = time.monotonic()
        data = checkpoint.data
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        key = checkpoint_key(self._uid, trial, digest)
        await self._blobs.put(key, once(data), digest=parse_digest(digest))
        stored = StoredCheckpoint(trial, checkpoint.step, digest, len(data), utc_now(), loss)
        for gone in await self._link.checkpointed(stored):
            await self._blobs.delete(checkpoint_key(self._uid, gone.trial, gone.digest))
        values = {CHECKPOINT_SECONDS: time.monotonic() - began, CHECKPOINT_BYTES: float(len(data))}
        self._link.measured(_points(trial, checkpoint.step, values))

    async def _read(self, stored: StoredCheckpoint) -> bytes | None:
        key = checkpoint_key(self._uid, stored.trial, stored.digest)
        try:
            data = b"".join([chunk async for chunk in self._blobs.read(key)])
        except BlobNotFound:
            await self._reject(stored, "is missing")
            return None
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != stored.digest:
            await self._reject(stored, "is damaged")
            await self._blobs.delete(key)
            return None
        return data

    async def _reject(self, stored: StoredCheckpoint, cause: str) -> None:
        self._link.logged(f"checkpoint {stored.step} of {stored.trial} {cause}")
        await self._link.rejected(stored, cause)


class TrialObserver:
    """Hears of one fit in the training thread and passes it on.

    Args:
        link: To the trainer.
        checkpoints: Of the job.
        trial: As it stands before the fit; None for the winner's retraining.
        name: Trial's id, or `retrain`.
        loop: That `link` and `checkpoints` live in.
        metric: That decides.
        judge: Of the trial; None when it goes to its end in any case.
        share: Of the trial's work that the fit is.

    Attributes:
        reached: The trial as its newest step left it.
    """

    def __init__(
        self,
        link: TrainerLink,
        checkpoints: Checkpoints,
        trial: Trial | None,
        name: str,
        loop: asyncio.AbstractEventLoop,
        *,
        metric: Metric,
        judge: Judge | None = None,
        share: float = 1.0,
    ) -> None:
        self._link = link
        self._checkpoints = checkpoints
        self._trial = trial
        self.reached = trial
        self._name = name
        self._loop = loop
        self._metric = metric
        self._judge = judge
        self._share = share
        self._saving: Future[None] | None = None
        self._loss: float | None = None
        self._workers: int | None = None
        self._started = self._stepped = self._saved = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the fit began."""
        return time.monotonic() - self._started

    def stepped(self, step: Step) -> None:
        """Report a step.

        Raises:
            TrialPruned: It was the trial's last.
        """
        self._link.measured(self._points(step))
        if step.workers != self._workers:
            self._workers = step.workers
            self._link.logged(f"{self._name} has {step.workers} workers from step {step.number} on")
        self._loss = loss_of(step.metrics, self._metric)
        if self._trial is not None:
            self.reached = replace(
                self._trial,
                progress=self._share * step.number / step.total,
                metrics=step.metrics,
                duration_s=self._trial.duration_s + self.elapsed_s,
            )
            self._link.trial_moved(self.reached)
        why = "" if self._judge is None else self._judge.why_pruned(step)
        if why:
            raise TrialPruned(why)

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint while the fit goes on, unless the newest one was made just now.

        The one before it is durable by then.

        Raises:
            StopTraining: The job is to stop, and this is a good place.
        """
        stops = self._link.order is Order.PAUSE
        if not stops and time.monotonic() - self._saved < self._checkpoints.interval_s:
            return
        if self._saving is not None:
            self._saving.result()
        self._saved = time.monotonic()
        saving = self._checkpoints.save(self._name, checkpoint, self._loss)
        self._saving = asyncio.run_coroutine_threadsafe(saving, self._loop)
        if stops:
            self._saving.result()
            raise StopTraining

    async def settled(self) -> None:
        """Wait until the newest checkpoint is durable."""
        if self._saving is not None:
            await asyncio.wrap_future(self._saving)

    def _points(self, step: Step) -> Sequence[MetricPoint]:
        before, self._stepped = self._stepped, time.monotonic()
        told = {
            "train_loss": step.loss,
            "epsilon": step.epsilon,
            "gradient_norm": step.gradient_norm,
            "learning_rate": step.learning_rate,
            "gpu_utilization": step.gpu_utilization,
            "gpu_memory_bytes": step.gpu_memory_bytes,
            WORKERS: step.workers,
            STEP_SECONDS: self._stepped - before,
        }
        values = {f"validation_{name}": value for name, value in step.metrics.items()}
        values |= {name: value for name, value in told.items() if value is not None}
        return _points(self._name, step.number, values)


def _points(trial: str, step: int, values: Mapping[str, float]) -> list[MetricPoint]:
    """A point of each series, measured now."""
    now = utc_now()
    return [MetricPoint(trial, series, step, value, now) for series, value in values.items()]


class RepeatableObserver:
    """Hears of a fit that is done again where it does not come to its end.

    So it keeps no checkpoint and may stop after any step.

    Args:
        link: To the trainer.
    """

    def __init__(self, link: TrainerLink) -> None:
        self._link = link

    def stepped(self, step: Step) -> None:  # noqa: ARG002 - no trial hears of it
        """Go on.

        Raises:
            StopTraining: The job is to stop.
        """
        if self._link.order is Order.PAUSE:
            raise StopTraining

    def save(self, checkpoint: Checkpoint) -> None:
        """Let go of `checkpoint`."""


class FoldObserver(RepeatableObserver):
    """Hears of one fold's fit in the training thread.

    Args:
        link: To the trainer.
        trial: As it stands before the fold.
        share: Of the trial's work that the fold is.
    """

    def __init__(self, link: TrainerLink, trial: Trial, share: float) -> None:
        super().__init__(link)
        self._trial = trial
        self._share = share

    def stepped(self, step: Step) -> None:
        """Report how far the trial is.

        Raises:
            StopTraining: The job is to stop.
        """
        super().stepped(step)
        progress = self._trial.progress + self._share * step.number / step.total
        self._link.trial_moved(replace(self._trial, progress=progress))
