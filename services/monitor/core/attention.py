"""What people have to look at, most urgent first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final

from services.monitor.core.heat import DriftSummary
from services.monitor.core.loop.episodes import Episode, EpisodeState
from services.monitor.core.resources import Severity


class Urgency(IntEnum):
    """Who has to look, and when; the smallest goes first."""

    NOW = 0
    """Somebody, now."""
    SOON = 1
    """Somebody, in working hours."""
    NONE = 2
    """Nobody: it goes on by itself."""


_OF_SEVERITY: Final = {Severity.PAGE: Urgency.NOW, Severity.TICKET: Urgency.SOON}
_BAD_ENDS: Final = frozenset({EpisodeState.FAILED, EpisodeState.ROLLED_BACK})


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing to look at.

    Attributes:
        urgency: Who has to look, and when.
        kind: The change that a drift report names, or the state of an episode.
        subject: The report or the episode, by resource name.
        message: What is the matter, in sentences.
        time: Since when, server clock.
    """

    urgency: Urgency
    kind: str
    subject: str
    message: str
    time: datetime


def concerns(newest_drift: DriftSummary | None, episodes: Sequence[Episode]) -> tuple[Concern, ...]:
    """What there is to look at about one monitor, the most urgent and then the newest first.

    An episode that failed or was rolled back is a concern until a later one is promoted; one
    that is under way is none to act on, unless it waits for an approval.

    Args:
        newest_drift: Of the newest judged window; None before the first.
        episodes: Of the monitor, newest first.
    """
    return in_order([*_alarms(newest_drift), *_unfinished(episodes), *_failures(episodes)])


def in_order(found: Sequence[Concern]) -> tuple[Concern, ...]:
    """The most urgent first, and of those the newest."""
    newest_first = sorted(found, key=lambda concern: concern.time, reverse=True)
    return tuple(sorted(newest_first, key=lambda concern: concern.urgency))


def _alarms(newest: DriftSummary | None) -> Iterator[Concern]:
    if newest is not None and newest.severity in _OF_SEVERITY:
        yield Concern(
            _OF_SEVERITY[newest.severity],
            newest.change.value,
            newest.name,
            newest.reason,
            newest.create_time,
        )


def _unfinished(episodes: Sequence[Episode]) -> Iterator[Concern]:
    for episode in episodes:
        if episode.is_over:
            continue
        if episode.state is EpisodeState.AWAITING_APPROVAL:
            yield _of_episode(
                episode, Urgency.SOON, f"A person has to decide on {episode.approval}."
            )
        else:
            yield _of_episode(episode, Urgency.NONE, episode.message or "Goes on by itself.")


def _failures(episodes: Sequence[Episode]) -> Iterator[Concern]:
    for episode in episodes:
        if episode.state is EpisodeState.PROMOTED:
            return
        if episode.state in _BAD_ENDS:
            yield _of_episode(episode, Urgency.SOON, episode.message)


def _of_episode(episode: Episode, urgency: Urgency, message: str) -> Concern:
    return Concern(
        urgency, episode.state.value, episode.meta.name, message, episode.meta.update_time
    )
