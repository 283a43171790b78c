"""Which replica gets the next call: the least busy of those that are not sick."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

ReplicaT = TypeVar("ReplicaT", bound=Hashable)

_FIRST_PAUSE_S: Final = 0.5
_LAST_PAUSE_S: Final = 15.0
_TIMEOUTS_IN_A_ROW: Final = 3
"""One slow answer is no sign of sickness; a server that hangs gives nothing else."""


@dataclass(slots=True)
class _Standing:
    """How one replica does.

    Attributes:
        outstanding: Calls without an answer yet.
        ejections: In a row; each doubles the pause.
        ejected_until: Time from which it may be tried again; None while it is admitted.
    """

    outstanding: int = 0
    timeouts: int = 0
    ejections: int = 0
    ejected_until: float | None = None


class Balancer(Generic[ReplicaT]):
    """Spreads calls over replicas that can all answer them.

    Args:
        replicas: At least one.
        now: Seconds of a clock that never goes back.
    """

    def __init__(self, replicas: Sequence[ReplicaT], now: Callable[[], float]) -> None:
        self._standings = {replica: _Standing() for replica in replicas}
        self._now = now
        self._turn = 0

    def chosen(self, without: Collection[ReplicaT] = ()) -> ReplicaT | None:
        """The admitted replica with the fewest outstanding calls; equals take turns.

        Where all are ejected, one of these: a chance is better than none. None only if
        `without` holds them all.
        """
        candidates = [each for each in self._standings if each not in without]
        healthy = [each for each in candidates if self.is_admitted(each)]
        if not (pool := healthy or candidates):
            return None
        self._turn += 1
        turned = pool[self._turn % len(pool) :] + pool[: self._turn % len(pool)]
        return min(turned, key=self.outstanding)

    def is_admitted(self, replica: ReplicaT) -> bool:
        """Whether calls go to `replica`."""
        return self._standings[replica].ejected_until is None

    def is_due(self, replica: ReplicaT) -> bool:
        """Whether `replica` is ejected and has had its pause."""
        until = self._standings[replica].ejected_until
        return until is not None and until <= self._now()

    def outstanding(self, replica: ReplicaT) -> int:
        """Calls of `replica` without an answer yet."""
        return self._standings[replica].outstanding

    @contextmanager
    def calling(self, replica: ReplicaT) -> Iterator[None]:
        """Counts a call while the block runs."""
        standing = self._standings[replica]
        standing.outstanding += 1
        try:
            yield
        finally:
            standing.outstanding -= 1

    def answered(self, replica: ReplicaT) -> bool:
        """Note an answer; gives whether it readmits `replica`."""
        standing = self._standings[replica]
        readmitted = standing.ejected_until is not None
        standing.timeouts = standing.ejections = 0
        standing.ejected_until = None
        return readmitted

    def gone(self, replica: ReplicaT) -> bool:
        """Note that `replica` can't be reached; gives whether this ejects it.

        What began before the replica was ejected says nothing new, so a pause only grows
        when it is over.
        """
        standing = self._standings[replica]
        now = self._now()
        if standing.ejected_until is not None and now < standing.ejected_until:
            return False
        ejected = standing.ejected_until is None
        pause_s = min(_FIRST_PAUSE_S * 2**standing.ejections, _LAST_PAUSE_S)
        standing.ejections += 1
        standing.ejected_until = now + pause_s
        return ejected

    def timed_out(self, replica: ReplicaT) -> bool:
        """Note that an answer did not come in time; gives whether this ejects `replica`."""
        standing = self._standings[replica]
        standing.timeouts += 1
        return standing.timeouts >= _TIMEOUTS_IN_A_ROW and self.gone(replica)
