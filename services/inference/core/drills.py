"""Drills: a roll-back that is done for real to see how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from services.common.names import ResourceName
from services.common.resources import Meta
from services.inference.core.shadows import latency_bin, latency_quantile_s, no_latencies

DRILL_NAME: Final = ResourceName("projects/{project}/endpoints/{endpoint}/drills/{drill}")


class DrillState(StrEnum):
    """Where a drill stands; see `RollbackDrill.State`."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Measures:
    """What a drill saw, in this process.

    Attributes:
        last_answer_s: From the command to the champion's last answer.
        answers_before: In the time before the command, and
        answers_after: from it on, of both versions.
        failed: Of those from the command on.
        before_p50_s, before_p99_s: Latency before the command, and
        after_p50_s, after_p99_s: from it on.
    """

    last_answer_s: float
    answers_before: int
    answers_after: int
    failed: int
    before_p50_s: float
    before_p99_s: float
    after_p50_s: float
    after_p99_s: float


@dataclass(frozen=True, slots=True)
class RollbackDrill:
    """One drill.

    Attributes:
        champion: The version that is rolled back, and serves again after.
        stand_in: The version that serves meanwhile.
        deadline: When it is taken for interrupted and the champion brought back.
        rollback: Rollout that brought the stand-in; '' before.
        restoring: Rollout that brought the champion back; '' before.
    """

    meta: Meta
    endpoint: str
    champion: str
    stand_in: str
    deadline: datetime
    state: DrillState = DrillState.RUNNING
    message: str = ""
    rollback: str = ""
    restoring: str = ""
    measures: Measures | None = None

    def ended(self, state: DrillState, message: str, measures: Measures | None) -> RollbackDrill:
        """This drill, over."""
        return replace(self, state=state, message=message, measures=measures)


class AnswerWatch:
    """Sees every answer of one endpoint in this process.

    Args:
        endpoint: Resource name.
        now_s: A clock that only goes forward.
    """

    def __init__(self, endpoint: str, now_s: Callable[[], float]) -> None:
        self.endpoint = endpoint
        self._now_s = now_s
        self._before = list(no_latencies())
        self._after = list(no_latencies())
        self._command_s: float | None = None
        self._last_s: dict[str, float] = {}
        self._failed = 0

    def note(self, version: str, took_s: float, *, failed: bool) -> None:
        """Count an answer."""
        counts = self._before if self._command_s is None else self._after
        counts[latency_bin(took_s)] += 1
        self._last_s[version] = self._now_s()
        self._failed += failed and self._command_s is not None

    def command(self) -> None:
        """From now on it is after the command."""
        self._command_s = self._now_s()

    @property
    def answers(self) -> int:
        """So far."""
        return sum(self._before) + sum(self._after)

    def measures(self, champion: str) -> Measures:
        """What was seen; after `command` alone."""
        begun_s = self._command_s or 0.0
        return Measures(
            max(0.0, self._last_s.get(champion, begun_s) - begun_s),
            sum(self._before),
            sum(self._after),
            self._failed,
            *_quantiles(self._before),
            *_quantiles(self._after),
        )


def _quantiles(counts: Sequence[int]) -> tuple[float, float]:
    return latency_quantile_s(counts, 0.5) or 0.0, latency_quantile_s(counts, 0.99) or 0.0
