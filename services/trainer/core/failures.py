"""Why training fails, and whether trying again could help.

TrainingFailure
├── DataFault         the snapshot can't be trained on as the spec asks
├── NanLoss           the loss of a trial stopped being a number
├── OutOfMemory       the worker could not get the memory it needs
├── ExportMismatch    the exported graph doesn't compute what the trained model computes
├── NotBetter         the winner is no better than the trivial baseline
├── NotAsGood         the winner loses more against the parent version than it may
├── NotRobust         the winner loses more than it may when rows come otherwise
├── NothingFits       no candidate is as small and fast as it must be
├── UnusableParent    the parent version can't give what the mode asks of it
├── NotAccelerated    the worker's machine lacks what the spec asks to be accelerated by
├── DependencyAway    another service did not answer for as long as the worker waits
├── WorkerLost        the worker's process ended, or its lease ran out
└── InternalFailure   a bug; the attempt's log has the traceback
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final


class ErrorClass(StrEnum):
    """Kinds of failure of an attempt or a trial. The values are part of the contract."""

    DATA_FAULT = "DATA_FAULT"
    NAN_LOSS = "NAN_LOSS"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    EXPORT_MISMATCH = "EXPORT_MISMATCH"
    DEPENDENCY_UNAVAILABLE = "DEPENDENCY_UNAVAILABLE"
    WORKER_LOST = "WORKER_LOST"
    INTERNAL = "INTERNAL"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    PREEMPTED = "PREEMPTED"
    NOT_BETTER = "NOT_BETTER"
    NOT_AS_GOOD = "NOT_AS_GOOD"
    NOT_ROBUST = "NOT_ROBUST"
    NOTHING_FITS = "NOTHING_FITS"
    UNUSABLE_PARENT = "UNUSABLE_PARENT"
    NOT_ACCELERATED = "NOT_ACCELERATED"

    @property
    def retryable(self) -> bool:
        """Whether a further attempt could end otherwise."""
        return RULES[self].first_pause_s is not None

    @property
    def remedy(self) -> str:
        """What to do about it, one sentence."""
        return RULES[self].remedy

    def pause_s(self, failures: int, jitter: float) -> float:
        """How long to wait before the next attempt: longer each time, apart from other jobs'.

        Args:
            failures: Attempts that have failed, the last one included; from 1.
            jitter: Drawn evenly from 0 to 1.
        """
        longest: float = min(
            LONGEST_PAUSE_S, (RULES[self].first_pause_s or 0.0) * 2.0 ** (failures - 1)
        )
        return longest * (1 - jitter / 2)


@dataclass(frozen=True, slots=True)
class RetryRule:
    """What becomes of an attempt that ended so.

    Attributes:
        first_pause_s: Before the next attempt, doubled each time; None: there is none, since
            training is deterministic and what the data, the parameters or a bug caused comes again.
        remedy: What to do about it, one sentence.
    """

    first_pause_s: float | None
    remedy: str


LONGEST_PAUSE_S: Final = 60.0

RULES: Final = {
    ErrorClass.DATA_FAULT: RetryRule(
        None, "Correct the snapshot, or the columns and the split that the spec names."
    ),
    ErrorClass.NAN_LOSS: RetryRule(
        None, "Lower the learning rate, or narrow the search space to lower ones."
    ),
    ErrorClass.OUT_OF_MEMORY: RetryRule(
        5.0, "Raise `memory_mib`, lower `parallel_trials`, or train smaller models."
    ),
    ErrorClass.EXPORT_MISMATCH: RetryRule(
        None, "Train without the algorithm that the message names, and report it: it is a bug."
    ),
    ErrorClass.DEPENDENCY_UNAVAILABLE: RetryRule(
        1.0, "See that the registry and the blob store are up; the job goes on by itself."
    ),
    ErrorClass.WORKER_LOST: RetryRule(
        1.0, "See the trainer's log for what ended the process; often the machine's memory ran out."
    ),
    ErrorClass.INTERNAL: RetryRule(None, "Report it with the job's log: it is a bug."),
    ErrorClass.BUDGET_EXCEEDED: RetryRule(
        None, "Raise the budget with `roundhouse costs set-budget`, then resume the job."
    ),
    ErrorClass.PREEMPTED: RetryRule(
        0.0, "Nothing: the job goes on from its checkpoint when there is room again."
    ),
    ErrorClass.NOT_BETTER: RetryRule(
        None, "Bring more rows or features that tell more, or lower `minimum_gain`."
    ),
    ErrorClass.NOT_AS_GOOD: RetryRule(
        None, "Allow the candidates more, try others, or raise `maximum_loss`."
    ),
    ErrorClass.NOT_ROBUST: RetryRule(
        None, "Train without the feature that the message names, try others, or raise the bar."
    ),
    ErrorClass.NOTHING_FITS: RetryRule(
        None, "Try smaller candidates, distil or quantise a good one, or allow more."
    ),
    ErrorClass.UNUSABLE_PARENT: RetryRule(
        None, "Name another `parent_version`, or another `mode`; the message says what is amiss."
    ),
    ErrorClass.NOT_ACCELERATED: RetryRule(
        5.0, "Mend the driver or the compiler of the machine, or leave `acceleration` out."
    ),
}


class TrainingFailure(Exception):
    """Ends a trial or an attempt. Its text is shown to whoever submitted the job."""

    error_class: ClassVar[ErrorClass]


class DataFault(TrainingFailure):
    """The snapshot can't be trained on as the spec asks."""

    error_class = ErrorClass.DATA_FAULT


class NanLoss(TrainingFailure):
    """The loss of a trial stopped being a number."""

    error_class = ErrorClass.NAN_LOSS


class OutOfMemory(TrainingFailure):
    """The worker could not get the memory it needs."""

    error_class = ErrorClass.OUT_OF_MEMORY


class ExportMismatch(TrainingFailure):
    """The exported graph doesn't compute what the trained model computes."""

    error_class = ErrorClass.EXPORT_MISMATCH


class NotBetter(TrainingFailure):
    """The winner is no better than the trivial baseline."""

    error_class = ErrorClass.NOT_BETTER


class NotAsGood(TrainingFailure):
    """The winner loses more against the parent version than it may."""

    error_class = ErrorClass.NOT_AS_GOOD


class NotRobust(TrainingFailure):
    """The winner loses more than it may when rows come otherwise than it learned them."""

    error_class = ErrorClass.NOT_ROBUST


class NothingFits(TrainingFailure):
    """No candidate is as small and fast as it must be."""

    error_class = ErrorClass.NOTHING_FITS


class UnusableParent(TrainingFailure):
    """The parent version can't give what the mode asks of it."""

    error_class = ErrorClass.UNUSABLE_PARENT


class NotAccelerated(TrainingFailure):
    """The worker's machine lacks what the spec asks to be accelerated by."""

    error_class = ErrorClass.NOT_ACCELERATED


class DependencyAway(TrainingFailure):
    """Another service did not answer for as long as the worker waits."""

    error_class = ErrorClass.DEPENDENCY_UNAVAILABLE


class WorkerLost(TrainingFailure):
    """The worker's process ended, or its lease ran out."""

    error_class = ErrorClass.WORKER_LOST


class InternalFailure(TrainingFailure):
    """A bug; the attempt's log has the traceback."""

    error_class = ErrorClass.INTERNAL
