"""Questions about what training has cost, and their answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Grouping(StrEnum):
    """What one line of a report is about."""

    JOB = "JOB"
    ATTEMPT = "ATTEMPT"
    MODEL = "MODEL"
    OWNER = "OWNER"
    MONTH = "MONTH"


@dataclass(frozen=True, slots=True)
class CostQuery:
    """Which charges count, and how they are grouped; an empty name means all.

    Attributes:
        project: Whose they are.
        grouping: What one line is about.
        job: Resource name.
        model: Resource name.
        owner: Who paid.
        month: Such as `2026-11`.
        start: Of the earliest slice, inclusive.
        end: Exclusive.
    """

    project: str
    grouping: Grouping = Grouping.JOB
    job: str = ""
    model: str = ""
    owner: str = ""
    month: str = ""
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class CostLine:
    """Some charges, summed.

    Attributes:
        group: Name of the job, attempt, model, owner or month.
        micros: What it has cost.
        seconds: That were charged.
    """

    group: str
    micros: int
    seconds: int


@dataclass(frozen=True, slots=True)
class CostReport:
    """What was charged.

    Attributes:
        lines: Largest first; not all if there are very many.
        total_micros: Over all charges, also those in no line.
    """

    lines: tuple[CostLine, ...]
    total_micros: int


@dataclass(frozen=True, slots=True)
class OwnerBudget:
    """What an owner's jobs may cost.

    Attributes:
        owner: As jobs name it.
        monthly_micros: In a calendar month.
        spent_micros: In this month so far.
        update_time: When it was last changed.
    """

    owner: str
    monthly_micros: int
    spent_micros: int
    update_time: datetime
