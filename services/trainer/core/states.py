"""How a job moves."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "QUEUED"
    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    EVALUATING = "EVALUATING"
    REGISTERING = "REGISTERING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"

    @property
    def over(self) -> bool:
        """Whether nothing can come after it."""
        return self in TERMINAL

    @property
    def active(self) -> bool:
        """Whether a worker is on it."""
        return self in STAGES


STAGES = (JobState.PREPARING, JobState.RUNNING, JobState.EVALUATING, JobState.REGISTERING)
"""The states of the work at hand, in their order."""

TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

_AFTER_ATTEMPT = frozenset(
    {
        JobState.QUEUED,
        JobState.PAUSED,
        JobState.BUDGET_EXCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
    }
)

MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.PREPARING}) | _AFTER_ATTEMPT - {JobState.QUEUED},
    JobState.PREPARING: frozenset({JobState.RUNNING}) | _AFTER_ATTEMPT,
    JobState.RUNNING: frozenset({JobState.EVALUATING}) | _AFTER_ATTEMPT,
    JobState.EVALUATING: frozenset({JobState.REGISTERING}) | _AFTER_ATTEMPT,
    JobState.REGISTERING: frozenset({JobState.SUCCEEDED}) | _AFTER_ATTEMPT,
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.BUDGET_EXCEEDED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}
"""Every move there is. An attempt that ends early leaves its stage for one of five states."""


class AttemptState(StrEnum):
    """Where one try at running a job stands."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    LOST = "LOST"
    STOPPED = "STOPPED"


class TrialState(StrEnum):
    """Where one trial stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    PRUNED = "PRUNED"

    @property
    def over(self) -> bool:
        """Whether no attempt needs to look at it again."""
        return self in (TrialState.SUCCEEDED, TrialState.FAILED, TrialState.PRUNED)
