"""Batch prediction jobs, and the snapshots that they read."""

from __future__ import annotations

from collections.abc import Mapping

from services.common.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    PreconditionViolation,
)


class BatchJobNotFound(NotFound):
    """No batch prediction job has this name."""

    reason = "BATCH_JOB_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"Batch prediction job {name!r} does not exist.", name=name)


class BatchJobExists(AlreadyExists):
    """The job id is taken."""

    reason = "BATCH_JOB_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"Batch prediction job {name!r} exists already.", name=name)


class SnapshotNotUsable(FailedPrecondition):
    """The registry does not offer this snapshot for predictions."""

    reason = "SNAPSHOT_NOT_USABLE"

    def __init__(self, snapshot: str, description: str) -> None:
        super().__init__(
            f"{snapshot!r} can't be predicted: {description}.",
            violations=[PreconditionViolation("SNAPSHOT", snapshot, description)],
            snapshot=snapshot,
        )


class SnapshotMismatch(FailedPrecondition):
    """Columns of the snapshot are not what the version takes.

    Args:
        snapshot: Resource name.
        version: Resource name.
        faults: What is wrong, by column; at least one.
    """

    reason = "SNAPSHOT_MISMATCH"

    def __init__(self, snapshot: str, version: str, faults: Mapping[str, str]) -> None:
        listed = "; ".join(f"{column} {fault}" for column, fault in faults.items())
        super().__init__(
            f"{version!r} can't predict {snapshot!r}: {listed}.",
            violations=[
                PreconditionViolation("COLUMN", column, fault) for column, fault in faults.items()
            ],
            snapshot=snapshot,
            version=version,
            column=next(iter(faults)),
        )


class BatchJobActive(FailedPrecondition):
    """The job is not over, so it can't be deleted."""

    reason = "BATCH_JOB_ACTIVE"

    def __init__(self, name: str, state: str) -> None:
        text = f"{name!r} is {state}; cancel it, then delete it."
        super().__init__(
            text, violations=[PreconditionViolation("STATE", name, text)], name=name, state=state
        )


class BatchJobOver(FailedPrecondition):
    """The job has ended, is about to, or has nothing left to do but its manifest."""

    reason = "BATCH_JOB_OVER"

    def __init__(self, name: str, state: str) -> None:
        text = f"{name!r} is {state}, so there is nothing to cancel, pause or resume."
        super().__init__(
            text, violations=[PreconditionViolation("STATE", name, text)], name=name, state=state
        )
