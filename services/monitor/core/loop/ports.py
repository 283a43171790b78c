"""What the loop needs of the other services; adapters implement it over gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from services.common.money import Money
from services.monitor.core.loop.episodes import Episode


class Outcome(StrEnum):
    """How far something is that another service does for the loop."""

    UNDER_WAY = "UNDER_WAY"
    SUCCEEDED = "SUCCEEDED"
    ROLLED_BACK = "ROLLED_BACK"
    REFUSED = "REFUSED"
    FAILED = "FAILED"


class StepRefused(Exception):
    """Another service said no for good: the episode can't go on.

    Args:
        message: Which service refused what, and why.
    """


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How a training job stands.

    Attributes:
        outcome: UNDER_WAY, SUCCEEDED or FAILED.
        version: The registered version once it succeeded.
        evaluation: Its evaluation on the test part.
        message: Why it failed, or what it waits for.
        cost: What it was charged so far; None if nothing is known of that.
    """

    outcome: Outcome
    version: str = ""
    evaluation: str = ""
    message: str = ""
    cost: Money | None = None


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What the gate said: the stored result, whether it passed, and its numbers in words."""

    gate_result: str
    passed: bool
    explanation: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How an approval or a rollout stands, and in words why."""

    outcome: Outcome
    message: str = ""


class SnapshotBuilder(Protocol):
    """Writes the rows to train on."""

    async def build(self, episode: Episode) -> str:
        """The sealed snapshot of the episode, by resource name; a repeat gives the same.

        Raises:
            StepRefused: There is nothing to train on.
        """
        ...


class RegistryPort(Protocol):
    """Judges and approves versions. Repeats with one request id change nothing."""

    async def evaluate_gate(self, evaluation: str, baseline: str, request_id: str) -> GateVerdict:
        """Hold an evaluation, and the champion's on the same rows, against the gate."""
        ...

    async def request_approval(
        self, version: str, gate_result: str, *, plan_digest: str, requester: str, request_id: str
    ) -> str:
        """Ask a person to approve a version and its plan; gives the approval's name."""
        ...

    async def approval(self, name: str) -> Progress:
        """How the approval stands: SUCCEEDED when approved, REFUSED when rejected or expired."""
        ...


class TrainerPort(Protocol):
    """Trains and scores. Repeats with one request id change nothing."""

    async def submit(self, job_id: str, episode: Episode, request_id: str) -> str:
        """Submit the policy's template job on the episode's snapshot; gives the job's name."""
        ...

    async def job(self, name: str) -> JobProgress:
        """How the job stands."""
        ...

    async def evaluate(self, version: str, job: str, request_id: str) -> str:
        """Score `version` on the test part of the job; gives the evaluation's name."""
        ...


class InferencePort(Protocol):
    """Rolls versions out. Repeats with one request id change nothing."""

    async def plan(self, episode: Episode) -> str:
        """Digest of the plan that `create_rollout` would follow."""
        ...

    async def create_rollout(self, rollout_id: str, episode: Episode, request_id: str) -> str:
        """Begin the candidate's rollout; gives its name."""
        ...

    async def rollout(self, name: str) -> Progress:
        """How the rollout stands."""
        ...


class EpisodeStore(Protocol):
    """Durable episodes. Every write is guarded by the controller's lease."""

    async def unfinished(self) -> Sequence[Episode]:
        """Episodes that are not over, oldest first."""
        ...

    async def save(self, episode: Episode, facts: Mapping[str, str]) -> Episode:
        """Store the next revision and its event; gives the episode with that event.

        Raises:
            Conflict: The stored revision is not the one just before, or the lease is lost.
        """
        ...


class Now(Protocol):
    """The clock."""

    def __call__(self) -> datetime:
        """The present moment, UTC."""
        ...
