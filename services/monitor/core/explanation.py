"""Walks back from the version that serves to what caused it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

MAX_DEPTH: Final = 16
"""Longest chain that is walked; an endpoint's own is at most ten links long."""


class CauseKind(StrEnum):
    """What a cause is; see `Cause.kind` in judgement_service.proto."""

    ENDPOINT = "endpoint"
    ROLLOUT = "rollout"
    APPROVAL = "approval"
    GATE_RESULT = "gate_result"
    EVALUATION = "evaluation"
    VERSION = "version"
    TRAINING_JOB = "training_job"
    SNAPSHOT = "snapshot"
    EPISODE = "episode"
    DECISION = "decision"
    DRIFT_REPORT = "drift_report"
    PERFORMANCE_REPORT = "performance_report"


@dataclass(frozen=True, slots=True)
class Link:
    """A resource that another one points back to."""

    kind: CauseKind
    name: str


@dataclass(frozen=True, slots=True)
class Fact:
    """What one resource says about itself.

    Attributes:
        summary: In a sentence with its numbers.
        time: When it happened, server clock; None if unknown.
        causes: What it points back to, in the order to be told.
    """

    summary: str
    time: datetime | None
    causes: tuple[Link, ...] = ()


class FactSource(Protocol):
    """Reads one kind of resource, wherever it lives."""

    async def __call__(self, name: str) -> Fact:
        """What the resource called `name` says."""
        ...


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that happened or was made, with what caused it."""

    kind: CauseKind
    name: str
    summary: str
    time: datetime | None
    causes: tuple[Cause, ...]


async def explain(start: Link, sources: Mapping[CauseKind, FactSource]) -> Cause:
    """The tree of causes below `start`; a resource met twice is told in full once.

    Args:
        start: Where to begin, such as an endpoint.
        sources: Who knows each kind.
    """
    told: set[Link] = {start}

    async def tell(link: Link, depth: int) -> Cause:
        fact = await sources[link.kind](link.name)
        fresh = []
        if depth < MAX_DEPTH:
            fresh = [cause for cause in fact.causes if cause not in told]
            told.update(fresh)
        causes = await asyncio.gather(*(tell(cause, depth + 1) for cause in fresh))
        return Cause(link.kind, link.name, fact.summary, fact.time, tuple(causes))

    return await tell(start, 0)
