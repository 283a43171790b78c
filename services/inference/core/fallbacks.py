"""What answers when the variant that should have can't."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from services.inference.core.decisions import Decider, Span
from services.inference.core.errors import InvalidFallback
from services.inference.core.routing import Variant
from services.inference.core.rows import Tensors
from services.inference.core.signature import LABELS, PROBABILITIES

LABEL: Final = "label"


class FallbackReason(StrEnum):
    """Why the variant did not answer."""

    UNAVAILABLE = "unavailable"
    FAILED = "failed"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class DefaultDecision:
    """What is decided when no model is asked.

    Attributes:
        label: The class.
        action: Recommended.
        probability: Told as that of class 1, such as the share seen in training.
    """

    label: int
    action: str
    probability: float

    def __post_init__(self) -> None:
        """Refuse a decision that is none.

        Raises:
            InvalidFallback: Naming the field.
        """
        if self.label not in LABELS:
            raise InvalidFallback("decision.label", f"is {self.label}; models know {LABELS}")
        if not self.action:
            raise InvalidFallback("decision.action", "is empty")
        if not 0.0 <= self.probability <= 1.0:
            raise InvalidFallback("decision.probability", "is not between 0 and 1")

    def decider(self, endpoint: str) -> Decider:
        """Decides so, whatever the probability."""
        return Decider(f"{endpoint}/fallback", 0, (), [Span(self.label, self.action)])

    def outputs(self, count: int) -> Tensors:
        """The tensors of a model that would answer so, `count` rows."""
        row = np.array([[1.0 - self.probability, self.probability]], dtype=np.float32)
        return {
            LABEL: np.full(count, self.label, dtype=np.int64),
            PROBABILITIES: np.repeat(row, count, axis=0),
        }


@dataclass(frozen=True, slots=True)
class Fallback:
    """What an endpoint declares.

    Attributes:
        variant: The version that answers instead, kept loaded without a share; or
        decision: what is decided instead. Exactly one of them is given.
        budget_s: Time that the variants have, in seconds; None: as long as the caller waits.
    """

    variant: Variant | None
    decision: DefaultDecision | None
    budget_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse none, or both.

        Raises:
            InvalidFallback: Neither a version nor a decision is named.
        """
        if (self.variant is None) == (self.decision is None):
            raise InvalidFallback("answer", "must be either a version or a decision")
