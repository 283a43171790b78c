"""Failures of training jobs: which of them call a person, how loudly, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from services.common.names import parent_of
from services.common.resources import Meta
from services.monitor.core.slos.budgets import Severity


class Facet(StrEnum):
    """What failures of several jobs can have in common."""

    NODE = "NODE"
    SNAPSHOT = "SNAPSHOT"
    MODEL = "MODEL"
    OWNER = "OWNER"
    PROJECT = "PROJECT"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailure:
    """One attempt at a training job that ended badly.

    Attributes:
        name: Resource name that follows from the job's uid and the attempt, so it is noted once.
        job: By resource name.
        line: What an alert is about: the job, or its model where its runs come again.
        error_class: The trainer's.
        message: The trainer's sentence.
        attempt: From 1 up.
        worker: That ran it.
        node: Machine that the worker ran on; empty if that is not known.
        time: When it ended, the trainer's clock.
        owner: Who pays for the job.
        model: By resource name.
        snapshot: By resource name.
        episode: Uid of the episode that the job belongs to; may be empty.
        trace_id: Trace that the job was submitted in; may be empty.
        progress: Share of the job that was done when this was noted.
        critical: Whether the job has to go on while training is frozen.
        is_final: Whether the job has failed by it: there is no further attempt.
    """

    name: str
    job: str
    line: str
    error_class: str
    message: str
    attempt: int
    worker: str = ""
    node: str = ""
    time: datetime
    owner: str = ""
    model: str = ""
    snapshot: str = ""
    episode: str = ""
    trace_id: str = ""
    progress: float = 0.0
    critical: bool = False
    is_final: bool = False

    @property
    def project(self) -> str:
        """`projects/{project}`."""
        return parent_of(self.job)

    def value_of(self, facet: Facet) -> str:
        """What it was there, such as `node n7`; empty if that is not known."""
        match facet:
            case Facet.NODE:
                return self.node and f"node {self.node}"
            case Facet.SNAPSHOT:
                return self.snapshot
            case Facet.MODEL:
                return self.model
            case Facet.OWNER:
                return self.owner and f"owner {self.owner}"
            case Facet.PROJECT:
                return self.project


@dataclass(frozen=True, slots=True)
class NotedFailure:
    """A failure, and whether its job has ended since, well or badly."""

    meta: Meta
    failure: JobFailure
    is_over: bool = False

    def of_ended_job(self, now: datetime) -> NotedFailure:
        """This failure of a job that is over."""
        return replace(self, meta=self.meta.touched(now), is_over=True)


@dataclass(frozen=True, slots=True)
class Hold:
    """How long failures are nobody's business, while the trainer goes on by itself.

    Attributes:
        failures: That it takes.
        within: So much time, of one job or line.
        of_node: Those of one node count as well, whatever the job.
        stalled: An alternative: the job got no further for so long.
    """

    failures: int
    within: timedelta
    of_node: bool = False
    stalled: timedelta | None = None


@dataclass(frozen=True, slots=True)
class FailureRule:
    """What is made of failures of one class.

    Attributes:
        shared: By any of which failures of several jobs are one incident.
        runbook: What to do.
        hold: While there is another attempt; None: the first one is an alert.
        pages_from: Jobs of one incident from which on it is a page, not a ticket; 0: never. The
            final failure of a critical job is one in any case.
    """

    shared: tuple[Facet, ...]
    runbook: str
    hold: Hold | None = None
    pages_from: int = 0

    def severity(self, failure: JobFailure, jobs: int) -> Severity:
        """How loud a failure is in an incident of so many jobs, its own among them."""
        spreads = 0 < self.pages_from <= jobs
        return Severity.PAGE if spreads or (failure.critical and failure.is_final) else _TICKET


_TICKET: Final = Severity.TICKET
_HOUR: Final = timedelta(hours=1)
_BOOKS: Final = "docs/runbooks/training"

RULES: Final[Mapping[str, FailureRule]] = MappingProxyType(
    {
        "DATA_FAULT": FailureRule((Facet.SNAPSHOT,), f"{_BOOKS}/data-fault.md"),
        "NAN_LOSS": FailureRule((Facet.SNAPSHOT, Facet.MODEL), f"{_BOOKS}/nan-loss.md"),
        "EXPORT_MISMATCH": FailureRule((Facet.MODEL,), f"{_BOOKS}/export-mismatch.md"),
        "NOT_BETTER": FailureRule((Facet.SNAPSHOT, Facet.MODEL), f"{_BOOKS}/not-better.md"),
        "NOT_AS_GOOD": FailureRule((Facet.MODEL,), f"{_BOOKS}/not-as-good.md"),
        "NOT_ROBUST": FailureRule((Facet.MODEL,), f"{_BOOKS}/not-robust.md"),
        "NOTHING_FITS": FailureRule((Facet.MODEL,), f"{_BOOKS}/nothing-fits.md"),
        "UNUSABLE_PARENT": FailureRule((Facet.MODEL,), f"{_BOOKS}/unusable-parent.md"),
        "INTERNAL": FailureRule((Facet.NODE, Facet.MODEL), f"{_BOOKS}/internal.md"),
        "BUDGET_EXCEEDED": FailureRule((Facet.OWNER,), f"{_BOOKS}/budget-exceeded.md"),
        "OUT_OF_MEMORY": FailureRule(
            (Facet.NODE, Facet.SNAPSHOT, Facet.MODEL),
            f"{_BOOKS}/out-of-memory.md",
            Hold(2, _HOUR, of_node=True),
            pages_from=5,
        ),
        "NOT_ACCELERATED": FailureRule((Facet.NODE,), f"{_BOOKS}/not-accelerated.md"),
        "WORKER_LOST": FailureRule(
            (Facet.NODE,),
            f"{_BOOKS}/worker-lost.md",
            Hold(3, _HOUR, of_node=True),
            pages_from=5,
        ),
        "DEPENDENCY_UNAVAILABLE": FailureRule(
            (Facet.PROJECT,),
            f"{_BOOKS}/dependency-unavailable.md",
            Hold(3, _HOUR, of_node=True),
            pages_from=5,
        ),
        "PREEMPTED": FailureRule(
            (Facet.PROJECT,),
            f"{_BOOKS}/preempted.md",
            Hold(5, 6 * _HOUR, stalled=2 * _HOUR),
        ),
    }
)
"""By the trainer's error class."""

_UNFORESEEN: Final = FailureRule((Facet.NODE, Facet.MODEL), "docs/runbooks/README.md")


def rule_of(error_class: str) -> FailureRule:
    """What is made of failures of this class, also of one that a newer trainer has."""
    return RULES.get(error_class, _UNFORESEEN)


def causes_of(failure: JobFailure) -> tuple[str, ...]:
    """What failures of other jobs may share with it, by the rule of its class."""
    values = (failure.value_of(facet) for facet in rule_of(failure.error_class).shared)
    return tuple(value for value in values if value)


@dataclass(frozen=True, slots=True)
class LastValue:
    """The newest point of one series of a job."""

    trial: str
    series: str
    step: int
    value: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found at a job when an alert about it was opened.

    Attributes:
        log: Its last lines.
        metrics: The newest point of each series.
        checkpoint: The newest, as trial, step and digest; empty if there is none.
    """

    log: tuple[str, ...] = ()
    metrics: tuple[LastValue, ...] = ()
    checkpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """The failures that an alert stands for.

    Attributes:
        failure: That it was opened by.
        findings: At the job then.
        causes: What failures of other jobs may share.
        failures: How many came by now.
        last_time: When the newest of them was, the trainer's clock.
        recovered_time: Since when there is nothing more to fear, as far as known; None: not yet.
        recovery: Why.
        speaks: Whether its opening was sent: it was the first of its incident, or the loudest.
    """

    failure: JobFailure
    findings: Findings
    causes: tuple[str, ...]
    failures: int = 1
    last_time: datetime
    recovered_time: datetime | None = None
    recovery: str = ""
    speaks: bool = True

    def failed_again(self, failure: JobFailure) -> Trouble:
        """With one more failure; what had recovered has not, unless it is that of another line."""
        counted = replace(
            self, failures=self.failures + 1, last_time=max(self.last_time, failure.time)
        )
        if failure.line != self.failure.line:
            return counted
        return replace(counted, recovered_time=None, recovery="")

    def recovered(self, reason: str, now: datetime) -> Trouble:
        """With nothing more to fear from now on."""
        return replace(self, recovered_time=now, recovery=reason)
