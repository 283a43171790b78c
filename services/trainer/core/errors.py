"""What the trainer refuses, one class per reason of the contract."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PreconditionViolation,
    ResourceExhausted,
)


class JobNotFound(NotFound):
    """No training job has this name."""

    reason = "JOB_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no training job {name!r}.", name=name)


class JobExists(AlreadyExists):
    """The job id is taken."""

    reason = "JOB_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is already a training job {name!r}; choose another id.", name=name)


class InvalidSpec(InvalidArgument):
    """The spec can't be trained."""

    reason = "INVALID_SPEC"

    def __init__(self, faults: Sequence[FieldViolation]) -> None:
        listed = "; ".join(f"{fault.field} {fault.description}" for fault in faults)
        super().__init__(
            f"The spec has {len(faults)} faults: {listed}.",
            violations=faults,
            faults=str(len(faults)),
        )


class IllegalTransition(FailedPrecondition):
    """The life cycle has no such move."""

    reason = "ILLEGAL_STATE_TRANSITION"

    def __init__(self, name: str, current: str, requested: str) -> None:
        text = f"{name!r} is {current}; from there it can't become {requested}."
        super().__init__(
            text,
            violations=[PreconditionViolation("STATE", name, text)],
            name=name,
            current=current,
            requested=requested,
        )


class JobActive(FailedPrecondition):
    """The job is not over, so it can't be deleted."""

    reason = "JOB_ACTIVE"

    def __init__(self, name: str, state: str) -> None:
        text = f"{name!r} is {state}; cancel it, then delete it."
        super().__init__(
            text, violations=[PreconditionViolation("STATE", name, text)], name=name, state=state
        )


class JobInUse(FailedPrecondition):
    """A job that is not over repeats this one, so it can't be deleted."""

    reason = "JOB_IN_USE"

    def __init__(self, name: str, reproduction: str) -> None:
        text = f"{reproduction!r} repeats {name!r}; cancel it or wait, then delete this one."
        super().__init__(
            text,
            violations=[PreconditionViolation("REPRODUCTION", reproduction, text)],
            name=name,
            reproduction=reproduction,
        )


class JobUnfinished(FailedPrecondition):
    """The job has not succeeded, so there is nothing to repeat."""

    reason = "JOB_UNFINISHED"

    def __init__(self, name: str, state: str) -> None:
        text = f"{name!r} is {state}; only a job that has SUCCEEDED can be repeated."
        super().__init__(
            text, violations=[PreconditionViolation("STATE", name, text)], name=name, state=state
        )


class JobIsReproduction(FailedPrecondition):
    """The job repeats another one itself."""

    reason = "JOB_IS_REPRODUCTION"

    def __init__(self, name: str, reproduces: str) -> None:
        text = f"{name!r} repeats {reproduces!r} itself; repeat that one again."
        super().__init__(
            text,
            violations=[PreconditionViolation("REPRODUCTION", name, text)],
            name=name,
            reproduces=reproduces,
        )


class RecipeChanged(FailedPrecondition):
    """An algorithm of the job is not installed, or in another version."""

    reason = "RECIPE_CHANGED"

    def __init__(self, name: str, algorithm: str, recorded: str, installed: str) -> None:
        there = f"{installed} is installed" if installed else "it is not installed"
        text = f"{name!r} used {algorithm!r} of {recorded or 'its package'}; {there}."
        super().__init__(
            text,
            violations=[PreconditionViolation("RECIPE", algorithm, text)],
            name=name,
            algorithm=algorithm,
            recorded=recorded,
            installed=installed,
        )


class SourceGone(FailedPrecondition):
    """The snapshot or the version that the job took over from is gone."""

    reason = "SOURCE_GONE"

    def __init__(self, name: str, source: str, cause: str) -> None:
        text = f"{name!r} can't be repeated: {source!r} is gone: {cause}."
        super().__init__(
            text,
            violations=[PreconditionViolation("SOURCE", source, text)],
            name=name,
            source=source,
        )


class AttemptSuperseded(Conflict):
    """The job or attempt is not this worker's any more."""

    reason = "ATTEMPT_SUPERSEDED"

    def __init__(self, job: str, fence: int) -> None:
        super().__init__(
            f"Fence {fence} of {job!r} is not the newest; end without another write.",
            job=job,
            fence=str(fence),
        )


class NothingToClaim(FailedPrecondition):
    """There is no work for the worker."""

    reason = "NOTHING_TO_CLAIM"

    def __init__(self, worker: str) -> None:
        super().__init__(f"There is nothing for worker {worker!r} to do; end.", worker=worker)


class EvaluationFailed(FailedPrecondition):
    """The version can't be scored on the snapshot."""

    reason = "EVALUATION_FAILED"

    def __init__(self, version: str, snapshot: str, cause: str) -> None:
        super().__init__(
            f"{version!r} can't be scored on {snapshot!r}: {cause}.",
            version=version,
            snapshot=snapshot,
        )


class SnapshotHeld(FailedPrecondition):
    """A privacy hold is on the snapshot: nothing may be trained on it."""

    reason = "SNAPSHOT_HELD"

    def __init__(self, snapshot: str, hold: str) -> None:
        text = f"{snapshot!r} is under the privacy hold {hold!r}: nothing may be trained on it."
        super().__init__(
            text,
            violations=[PreconditionViolation("HOLD", hold, text)],
            snapshot=snapshot,
            hold=hold,
        )


class FreezeNotFound(NotFound):
    """No freeze has this name."""

    reason = "FREEZE_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no freeze {name!r}.", name=name)


class QueueNotFound(NotFound):
    """No queue has this name."""

    reason = "QUEUE_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no queue {name!r}.", name=name)


class QueueExists(AlreadyExists):
    """The queue id is taken."""

    reason = "QUEUE_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is already a queue {name!r}; choose another id.", name=name)


class QueueInUse(FailedPrecondition):
    """Jobs in the queue are not over, so it can't be deleted."""

    reason = "QUEUE_IN_USE"

    def __init__(self, name: str, jobs: int) -> None:
        text = f"{jobs} jobs in {name!r} are not over; cancel them or wait, then delete it."
        super().__init__(
            text,
            violations=[PreconditionViolation("QUEUE", name, text)],
            name=name,
            jobs=str(jobs),
        )


class QueueTooSmall(FailedPrecondition):
    """A quota of the queue is below what the job takes, so it could never run there."""

    reason = "QUEUE_TOO_SMALL"

    def __init__(self, name: str, needed: str, quota: str) -> None:
        text = (
            f"The job takes {needed}, and {name!r} has a quota of {quota}, 0 being no limit; set "
            "threads and memory_mib in its spec, or take another queue."
        )
        super().__init__(
            text,
            violations=[PreconditionViolation("QUEUE", name, text)],
            name=name,
            needed=needed,
            quota=quota,
        )


class InvalidProposal(InvalidArgument):
    """The trial is none that the job's tuning could choose next."""

    reason = "INVALID_PROPOSAL"

    def __init__(self, job: str, field: str, cause: str) -> None:
        super().__init__(
            f"{job!r} takes no such trial: {field} {cause}.",
            violations=[FieldViolation(field, cause)],
            job=job,
            field=field,
        )


class BudgetExceeded(ResourceExhausted):
    """A budget has no room for the job."""

    reason = "BUDGET_EXCEEDED"

    def __init__(self, name: str, budget: str, available: str, needed: str) -> None:
        super().__init__(
            f"The budget of {budget} has {available} left for {name!r}, which needs {needed}; "
            "raise it, then resume the job.",
            subject=budget,
            name=name,
            budget=budget,
            available=available,
            needed=needed,
        )


class UnusableSnapshot(Exception):
    """A snapshot does not exist or is not sealed; its text goes on from the field's name."""
