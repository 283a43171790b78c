"""Why a request was not run."""

from __future__ import annotations

from services.common.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    ResourceExhausted,
    Unavailable,
)


class QueueFull(ResourceExhausted):
    """Too much waits already.

    Args:
        unit: What there is too much of: `rows`, `bytes`, or `ms` that the first has waited.
        waiting: So much.
        limit: At most so much may wait.
        retry_after_s: When there should be room.
    """

    reason = "QUEUE_FULL"

    def __init__(self, unit: str, waiting: int, limit: int, retry_after_s: float) -> None:
        super().__init__(
            f"{waiting} {unit} wait; at most {limit} may.",
            subject=f"queue {unit}",
            retry_after_s=retry_after_s,
            **{f"waiting_{unit}": str(waiting), f"limit_{unit}": str(limit)},
        )


class TooManyCalls(ResourceExhausted):
    """One caller has too many calls under way."""

    reason = "TOO_MANY_CALLS"

    def __init__(self, limit: int, retry_after_s: float) -> None:
        super().__init__(
            f"This caller has {limit} calls under way; no more may begin before one has ended.",
            subject="calls of one caller",
            retry_after_s=retry_after_s,
            limit_calls=str(limit),
        )


class QueueDeadlineExceeded(DeadlineExceeded):
    """The request's time ran out before a model could run it."""

    reason = "QUEUE_DEADLINE_EXCEEDED"

    def __init__(self) -> None:
        super().__init__("The deadline passed while the request waited for the model.")


class ModelUnavailable(Unavailable):
    """The model can't run now; the server is working on it."""

    reason = "MODEL_NOT_READY"

    def __init__(self, model: str, description: str) -> None:
        super().__init__(f"{model}: {description}", model=model)


class ModelFailed(FailedPrecondition):
    """The model ran and refused this input."""

    reason = "MODEL_FAILED"

    def __init__(self, model: str, description: str) -> None:
        super().__init__(f"{model} failed: {description}", model=model)
