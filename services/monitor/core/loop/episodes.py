"""Episodes and the moves their life cycle allows."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from services.common.money import Money
from services.common.names import parent_of
from services.common.resources import Meta
from services.monitor.core.errors import IllegalTransition

_STEPS: Final = uuid.UUID("6f1b0f0a-6c0e-4d0f-9a52-6f6a1c1d7a10")


class EpisodeState(StrEnum):
    """Where an episode stands; see `Episode.State` in monitor.proto."""

    DETECTED = "DETECTED"
    SNAPSHOT_BUILT = "SNAPSHOT_BUILT"
    TRAINING = "TRAINING"
    EVALUATING = "EVALUATING"
    GATED = "GATED"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    ROLLING_OUT = "ROLLING_OUT"
    PROMOTED = "PROMOTED"
    ROLLED_BACK = "ROLLED_BACK"
    REJECTED = "REJECTED"
    FAILED = "FAILED"

    @property
    def is_over(self) -> bool:
        """Whether no further state can follow."""
        return not _NEXT[self]


_NEXT: Final[dict[EpisodeState, frozenset[EpisodeState]]] = {
    EpisodeState.DETECTED: frozenset({EpisodeState.SNAPSHOT_BUILT, EpisodeState.FAILED}),
    EpisodeState.SNAPSHOT_BUILT: frozenset({EpisodeState.TRAINING, EpisodeState.FAILED}),
    EpisodeState.TRAINING: frozenset({EpisodeState.EVALUATING, EpisodeState.FAILED}),
    EpisodeState.EVALUATING: frozenset(
        {EpisodeState.GATED, EpisodeState.REJECTED, EpisodeState.FAILED}
    ),
    EpisodeState.GATED: frozenset({EpisodeState.AWAITING_APPROVAL, EpisodeState.FAILED}),
    EpisodeState.AWAITING_APPROVAL: frozenset(
        {EpisodeState.ROLLING_OUT, EpisodeState.REJECTED, EpisodeState.FAILED}
    ),
    EpisodeState.ROLLING_OUT: frozenset(
        {EpisodeState.PROMOTED, EpisodeState.ROLLED_BACK, EpisodeState.FAILED}
    ),
    EpisodeState.PROMOTED: frozenset(),
    EpisodeState.ROLLED_BACK: frozenset(),
    EpisodeState.REJECTED: frozenset(),
    EpisodeState.FAILED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainPlan:
    """What an episode takes from its monitor and policy, so that it outlives their changes.

    Attributes:
        endpoint: Where the candidate is rolled out.
        dataset: That gets the snapshot.
        template_job: Whose spec the retraining repeats.
        include_template_snapshot: Whether its rows are trained on again.
        lookback_days: That the snapshot reaches back; 0: all.
        min_phase_outcomes: Outcomes that each phase of the rollout needs.
        critical: Whether its job is started also while training is frozen.
    """

    endpoint: str
    dataset: str
    template_job: str
    include_template_snapshot: bool
    lookback_days: int
    min_phase_outcomes: int
    critical: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One way round the loop; see `Episode` in monitor.proto for the names it holds.

    Attributes:
        meta: Its uid is the correlation id of everything that belongs to the episode.
        plan: How to retrain.
        event_time: Event time of the decision: no later row is trained on.
        last_event: Event of the newest transition, the cause of what comes next.
        end_event_time: Event time when it ended; None before.
        cost: What its training job was charged; None before the job is over.
        new_features: Columns that were new when it, or one before, was decided on.
    """

    meta: Meta
    state: EpisodeState
    plan: RetrainPlan
    decision: str
    event_time: datetime
    champion: str
    snapshot: str = ""
    training_job: str = ""
    candidate: str = ""
    evaluation: str = ""
    gate_result: str = ""
    approval: str = ""
    rollout: str = ""
    message: str = ""
    last_event: str = ""
    end_event_time: datetime | None = None
    cost: Money | None = None
    new_features: tuple[str, ...] = ()

    @property
    def monitor(self) -> str:
        """Monitor whose decision started it, by resource name."""
        return parent_of(self.meta.name)

    @property
    def is_over(self) -> bool:
        """Whether no further state can follow."""
        return self.state.is_over

    def moved_to(self, state: EpisodeState, now: datetime, **facts: str | Money | None) -> Episode:
        """This episode in `state`, with what the step brought.

        Args:
            state: The next state.
            now: When.
            **facts: Names of resources, the message or the cost, to set.

        Raises:
            IllegalTransition: The life cycle has no such move.
        """
        if state not in _NEXT[self.state]:
            raise IllegalTransition(self.meta.name, self.state, state)
        return replace(self, state=state, meta=self.meta.touched(now), **facts)  # type: ignore[arg-type]  # facts are fields

    def waiting(self, message: str, now: datetime) -> Episode:
        """This episode in the same state, with what it waits for; empty when it goes on."""
        return replace(self, meta=self.meta.touched(now), message=message)

    def request_id(self, step: str) -> str:
        """The request id of one of its calls: the same again after any crash."""
        return str(uuid.uuid5(_STEPS, f"{self.meta.uid}/{step}"))


def charges_of(episodes: Sequence[Episode]) -> list[tuple[datetime, Money]]:
    """What each cost, where that is known, with the event time of its decision."""
    return [(episode.event_time, episode.cost) for episode in episodes if episode.cost is not None]
