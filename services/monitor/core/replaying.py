"""What policies would have decided in a span of the past: the judgement, on kept evidence.

The decisions are those of `deciding.decide`. What this module adds is the history that would
have been: which episodes would have been under way, and what would have been trained on.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from services.common.money import Money
from services.monitor.core.deciding import Choice, decide
from services.monitor.core.evidence import Evidence, Judgement
from services.monitor.core.history import History
from services.monitor.core.loop.episodes import Episode, EpisodeState, charges_of
from services.monitor.core.resources import DecisionKind, RetrainPolicy


@dataclass(frozen=True, slots=True)
class ReplayedEpisode:
    """An episode that would have been.

    Attributes:
        start: Event time of the decision.
        end: Event time of its end; None: under way at the end of the past.
        promoted: Whether its version came into service.
        new_features: Columns that were new at the decision, or an earlier one.
        real: The episode that was started then; None: what is said of its end is assumed.
    """

    start: datetime
    end: datetime | None
    promoted: bool
    new_features: tuple[str, ...] = ()
    real: Episode | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one policy would have decided on one window.

    Attributes:
        policy: By resource name.
        event_time: End of the window.
        choice: What it would have decided.
        episode: That it would have started.
        hypothetical: Whether another version would have served by then than the one that
            drift and quality were measured of.
    """

    policy: str
    event_time: datetime
    choice: Choice
    episode: ReplayedEpisode | None
    hypothetical: bool


def usual_span(episodes: Sequence[Episode], otherwise: timedelta) -> timedelta:
    """How long an episode usually lasts in event time: the median of those that are over."""
    spans = [
        episode.end_event_time - episode.event_time
        for episode in episodes
        if episode.end_event_time is not None
    ]
    return statistics.median_low(spans) if spans else otherwise


def known_cost(episodes: Sequence[Episode]) -> Money | None:
    """What the job of the newest episode whose cost is known was charged."""
    return next((episode.cost for episode in reversed(episodes) if episode.cost), None)


def replayed(
    policies: Sequence[RetrainPolicy],
    judgements: Sequence[Judgement],
    episodes: Sequence[Episode],
    span: timedelta,
) -> Iterator[Replayed]:
    """What the policies would have decided, in the order of event time.

    An episode that was really started on the same window ends as it did. Of any other it is
    assumed that it lasts `span` and that its version comes into service: from then on the age
    of the training data and the number of new outcomes are those of that version. Drift and
    quality can only be those of what really served.

    Args:
        policies: In the order in which the monitor considers them.
        judgements: In the order of event time.
        episodes: All of the monitor's, oldest first.
        span: Event time.
    """
    if not judgements:
        return
    past = _Past(judgements, episodes, span)
    for index, judgement in enumerate(judgements):
        evidence = past.evidence_at(index)
        for policy in policies:
            choice = decide(policy, evidence, past.history)
            if choice is None:
                continue
            started = None
            if choice.kind is DecisionKind.TRIGGERED:
                started = past.start(judgement.evidence)
            yield Replayed(policy.meta.name, judgement.event_time, choice, started, past.differs)


@dataclass
class _Past:
    """The history as it would have been, window by window."""

    judgements: Sequence[Judgement]
    real: Sequence[Episode]
    span: timedelta
    history: History = field(default_factory=History)
    differs: bool = False
    _charges: list[tuple[datetime, Money]] = field(default_factory=list)
    _under_way: ReplayedEpisode | None = None
    _trained_until: datetime | None = None
    _new_outcomes: int = 0
    _promoted: list[datetime] = field(default_factory=list)

    def __post_init__(self) -> None:
        first = self.judgements[0].event_time
        before = [episode for episode in self.real if episode.event_time < first]
        self._charges = charges_of(before[:-1])
        if before:
            self._begin(_as_it_was(before[-1]))

    def evidence_at(self, index: int) -> Evidence:
        """What is known when a window has been judged; call for each in turn."""
        judgement = self.judgements[index]
        evidence, now = judgement.evidence, judgement.event_time
        self._new_outcomes += judgement.outcomes
        if self._under_way is not None and _is_over(self._under_way, now):
            self._end(self._under_way, index)
        begins = self.judgements[0].event_time
        really_promoted = [
            episode.start
            for episode in map(_as_it_was, self.real)
            if episode.promoted and _is_over(episode, now) and episode.start >= begins
        ]
        self.differs = self._promoted != really_promoted
        if not self.differs:
            self._trained_until = evidence.trained_until
            self._new_outcomes = evidence.new_outcomes
            return evidence
        return replace(evidence, trained_until=self._trained_until, new_outcomes=self._new_outcomes)

    def start(self, evidence: Evidence) -> ReplayedEpisode:
        """The episode that a decision on this evidence starts."""
        now = evidence.event_time
        real = next((episode for episode in self.real if episode.event_time == now), None)
        if real is None:
            columns = self.history.after_new_features(evidence.new_features)
            started = ReplayedEpisode(now, now + self.span, promoted=True, new_features=columns)
        else:
            started = _as_it_was(real)
        self._begin(started)
        return started

    def _begin(self, episode: ReplayedEpisode) -> None:
        self._under_way = episode
        name = (
            episode.real.meta.name if episode.real else f"the episode of {episode.start:%Y-%m-%d}"
        )
        cost = episode.real.cost if episode.real else known_cost(self.real)
        if cost is not None:
            self._charges.append((episode.start, cost))
        self.history = History(
            active_episode=name,
            last_start=episode.start,
            charges=tuple(self._charges),
            new_features=episode.new_features,
        )

    def _end(self, episode: ReplayedEpisode, index: int) -> None:
        self._under_way = None
        self.history = replace(self.history, active_episode="", last_end=episode.end)
        if not episode.promoted or episode.start < self.judgements[0].event_time:
            return
        self._promoted.append(episode.start)
        self._trained_until = episode.start
        self._new_outcomes = sum(
            judgement.outcomes
            for judgement in self.judgements[: index + 1]
            if judgement.window_start >= episode.start
        )


def _as_it_was(episode: Episode) -> ReplayedEpisode:
    promoted = episode.state is EpisodeState.PROMOTED
    return ReplayedEpisode(
        episode.event_time, episode.end_event_time, promoted, episode.new_features, episode
    )


def _is_over(episode: ReplayedEpisode, now: datetime) -> bool:
    """An episode ends between the window that was newest then and the next one."""
    return episode.end is not None and episode.end < now
