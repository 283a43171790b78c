"""Training jobs as people on call and those who debug them look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLine:
    """A job in a list.

    Attributes:
        name: Resource name.
        state: The trainer's, such as `QUEUED`.
        model: By resource name.
        progress: Share done, 0 to 1.
        attempts: How many there were.
        error_class: Of its failure, or of its newest attempt's; empty if that went well so far.
        message: Of that error.
        trace_id: Trace that it was submitted in; may be empty.
    """

    name: str
    state: str
    model: str
    owner: str
    priority: int
    progress: float
    attempts: int
    error_class: str
    message: str
    trace_id: str
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """One try at running a job; `end` is None while it runs."""

    number: int
    node: str
    state: str
    error_class: str
    message: str
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Curve:
    """One series of a trial: value by step, in the order of steps."""

    trial: str
    series: str
    points: Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class CheckpointLine:
    """What a job could go on from."""

    trial: str
    step: int
    digest: str
    size_bytes: int
    create_time: datetime


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with all that helps to understand it.

    Attributes:
        left_out: Points of curves that are left out.
        log: The last lines.
    """

    job: JobLine
    attempts: Sequence[AttemptLine]
    curves: Sequence[Curve]
    left_out: int
    checkpoints: Sequence[CheckpointLine]
    log: Sequence[str]


class TrainingJobs(Protocol):
    """The trainer's jobs."""

    async def under_way(self, project: str) -> Sequence[JobLine]:
        """Those that are not over, as they wait or run.

        Raises:
            RemoteError: The trainer is away.
        """
        ...

    async def newest(self, project: str) -> Sequence[JobLine]:
        """The newest ones, over or not.

        Raises:
            RemoteError: The trainer is away.
        """
        ...

    async def view(self, name: str) -> JobView:
        """One job.

        Raises:
            RemoteError: The trainer is away, or has no such job.
        """
        ...
