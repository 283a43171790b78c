"""What is refused on the way to a protected alias."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import (
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PreconditionViolation,
)


class EvaluationNotFound(NotFound):
    """No evaluation has this name."""

    reason = "EVALUATION_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no evaluation {name!r}.", name=name)


class EvaluationsNotComparable(InvalidArgument):
    """The evaluations stand on different models, snapshots or splits."""

    reason = "EVALUATIONS_NOT_COMPARABLE"

    def __init__(self, candidate: str, baseline: str, fault: str) -> None:
        super().__init__(
            f"{candidate!r} can't be held against {baseline!r}: {fault}.",
            violations=[FieldViolation("baseline_evaluation", fault)],
            candidate=candidate,
            baseline=baseline,
        )


class BaselineRequired(FailedPrecondition):
    """A protected alias points at a version, so the candidate must be held against it."""

    reason = "BASELINE_REQUIRED"

    def __init__(self, evaluation: str, alias: str, version: str) -> None:
        text = f"{alias!r} points at {version!r}: name its evaluation on the same rows."
        super().__init__(
            text,
            violations=[PreconditionViolation("BASELINE", version, text)],
            evaluation=evaluation,
            alias=alias,
            version=version,
        )


class EvaluationNotATest(InvalidArgument):
    """The gate takes only evaluations made to test, or for the baseline to compare."""

    reason = "EVALUATION_NOT_A_TEST"

    def __init__(self, field: str, evaluation: str, purpose: str) -> None:
        super().__init__(
            f"{evaluation!r} was made for {purpose}, which no gate judges.",
            violations=[FieldViolation(field, f"is of purpose {purpose}")],
            evaluation=evaluation,
            purpose=purpose,
        )


class SecondTouch(FailedPrecondition):
    """The candidate, or one of its lineage, was tested on these rows before."""

    reason = "TEST_SET_TOUCHED"

    def __init__(
        self, version: str, split_digest: str, earlier_version: str, earlier_evaluation: str
    ) -> None:
        text = (
            f"{earlier_version!r} has seen these rows in {earlier_evaluation!r}: a second look "
            f"by {version!r} would be no test. Take rows that are newer."
        )
        super().__init__(
            text,
            violations=[PreconditionViolation("TEST_SET", split_digest, text)],
            version=version,
            split_digest=split_digest,
            earlier_version=earlier_version,
            earlier_evaluation=earlier_evaluation,
        )


class SelectionOnTestSet(FailedPrecondition):
    """The rows would serve both to select and to test."""

    reason = "SELECTION_ON_TEST_SET"

    def __init__(
        self, version: str, split_digest: str, earlier_version: str, earlier_evaluation: str
    ) -> None:
        text = (
            f"{earlier_version!r} used these rows in {earlier_evaluation!r}: {version!r} can't "
            "both be selected and be tested on them."
        )
        super().__init__(
            text,
            violations=[PreconditionViolation("TEST_SET", split_digest, text)],
            version=version,
            split_digest=split_digest,
            earlier_version=earlier_version,
            earlier_evaluation=earlier_evaluation,
        )


class GateResultNotFound(NotFound):
    """No gate result has this name."""

    reason = "GATE_RESULT_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no gate result {name!r}.", name=name)


class GateNotPassed(FailedPrecondition):
    """Approval can be asked for only after the gate has passed.

    Args:
        name: The gate result.
        failed: One per rule that didn't pass.
    """

    reason = "GATE_NOT_PASSED"

    def __init__(self, name: str, failed: Sequence[PreconditionViolation]) -> None:
        super().__init__(f"{name!r} did not pass.", violations=failed, name=name)


class ApprovalNotFound(NotFound):
    """No approval has this name."""

    reason = "APPROVAL_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no approval {name!r}.", name=name)


class InvalidDeployment(InvalidArgument):
    """The parts of a deployment do not belong together."""

    reason = "INVALID_DEPLOYMENT"

    def __init__(self, endpoint: str, faults: Sequence[FieldViolation]) -> None:
        text = "; ".join(f"{fault.field} {fault.description}" for fault in faults)
        super().__init__(
            f"The deployment at {endpoint!r} is contradictory: {text}.",
            violations=faults,
            endpoint=endpoint,
        )
