"""Why training fails, and whether trying again could help.

TrainingFailure
├── DataFault         the snapshot can't be trained on as the spec asks
├── NanLoss           the loss of a trial stopped being a number
├── OutOfMemory       the worker could not get the memory it needs
├── ExportMismatch    the exported graph doesn't compute what the trained model computes
├── DependencyAway    another service did not answer for as long as the worker waits
├── WorkerLost        the worker's process ended, or its lease ran out
└── InternalFailure   a bug; the attempt's log has the traceback
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


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

    @property
    def retryable(self) -> bool:
        """Whether a further attempt could end otherwise.

        Training is deterministic: what the data, the parameters or a bug caused comes again.
        """
        return self in (
            ErrorClass.OUT_OF_MEMORY,
            ErrorClass.DEPENDENCY_UNAVAILABLE,
            ErrorClass.WORKER_LOST,
        )


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


class DependencyAway(TrainingFailure):
    """Another service did not answer for as long as the worker waits."""

    error_class = ErrorClass.DEPENDENCY_UNAVAILABLE


class WorkerLost(TrainingFailure):
    """The worker's process ended, or its lease ran out."""

    error_class = ErrorClass.WORKER_LOST


class InternalFailure(TrainingFailure):
    """A bug; the attempt's log has the traceback."""

    error_class = ErrorClass.INTERNAL
