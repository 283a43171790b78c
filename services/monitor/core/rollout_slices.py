"""What comparing two versions while both served has shown in slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.common.criteria import Measure, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceFinding:
    """One test in one slice; each field is the finding's, see `Finding` in the contract.

    Attributes:
        phase: Index of the rollout's phase.
        rows: Requests, predictions or outcomes of the new version.
    """

    phase: int
    feature: str
    value: str
    measure: str
    rows: int
    effect: float
    tolerance: float
    verdict: str
    reason: str

    @property
    def beyond(self) -> float:
        """By how much the effect is beyond what is tolerated; below 0: within."""
        either_side = self.measure == Measure.MEAN_SCORE
        return (abs(self.effect) if either_side else self.effect) - self.tolerance


@dataclass(frozen=True, slots=True)
class RolloutSlices:
    """A rollout's findings in slices; all names are resource names."""

    rollout: str
    version: str
    previous_version: str
    findings: Sequence[SliceFinding]

    @property
    def worst_first(self) -> Sequence[SliceFinding]:
        """Those that prove harm first, then by how far the effect goes beyond its tolerance."""
        return sorted(self.findings, key=lambda each: (each.verdict != Verdict.FAIL, -each.beyond))


class SlicesOfRollouts(Protocol):
    """Rollouts' findings in slices."""

    async def newest(self, endpoint: str) -> RolloutSlices | None:
        """Of the newest rollout that has any; None if none has.

        Raises:
            RemoteError: Inference is away.
        """
        ...
