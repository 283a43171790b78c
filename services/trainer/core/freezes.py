"""Freezes: orders that hold a project's waiting jobs back, other than critical ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from services.common.names import ResourceName, parent_of
from services.common.resources import Meta
from services.trainer.core.jobs import TrainingJob
from services.trainer.core.states import JobState

FREEZE: Final = ResourceName("projects/{project}/freezes/{freeze}")


@dataclass(frozen=True, slots=True)
class Freeze:
    """Why a project's jobs wait, and until when.

    Attributes:
        meta: `projects/{p}/freezes/{freeze}`.
        expire_time: When it ends by itself; None: not before it is lifted.
    """

    meta: Meta
    reason: str
    expire_time: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether it has expired."""
        return self.expire_time is not None and self.expire_time <= now

    def set_anew(self, reason: str, expire_time: datetime | None, now: datetime) -> Freeze:
        """This freeze with another reason and expiry."""
        return replace(self, meta=self.meta.touched(now), reason=reason, expire_time=expire_time)

    def holds(self, job: TrainingJob) -> bool:
        """Whether it keeps this job from being started."""
        return (
            job.state is JobState.QUEUED
            and not job.critical
            and parent_of(job.name) == parent_of(self.meta.name)
        )


def holding(freezes: Iterable[Freeze], job: TrainingJob) -> Freeze | None:
    """The first one that keeps this job from being started."""
    return next((freeze for freeze in freezes if freeze.holds(job)), None)
