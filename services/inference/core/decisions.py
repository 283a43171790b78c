"""What to do with a probability: the decision policy, versioned apart from the weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.inference.core.errors import InvalidPolicy


@dataclass(frozen=True, slots=True)
class Decision:
    """One row's decision.

    Attributes:
        label: 1 when the probability of class 1 reaches the policy's threshold.
        confidence: Probability of the chosen label, as calibrated as the model is.
        action: What the policy recommends.
    """

    label: int
    confidence: float
    action: str


@dataclass(frozen=True, slots=True)
class DecisionPolicy:
    """Turns the probability of class 1 into a label and an action.

    Attributes:
        version: Grows by one with each change of the policy.
        threshold: Lowest probability of class 1 that is labelled 1, in [0, 1].
        positive_action: Recommended for label 1.
        negative_action: Recommended for label 0.
        minimum_confidence: Confidence under which `abstain_action` is recommended instead; 0 never.
        abstain_action: Recommended when confidence is too low.
    """

    version: int = 1
    threshold: float = 0.5
    positive_action: str = "act"
    negative_action: str = "none"
    minimum_confidence: float = 0.0
    abstain_action: str = ""

    def __post_init__(self) -> None:
        """Refuse a policy that contradicts itself.

        Raises:
            InvalidPolicy: A number is no probability, or abstaining has no action.
        """
        if not 0.0 <= self.threshold <= 1.0:
            raise InvalidPolicy("threshold", "is not between 0 and 1")
        if not 0.0 <= self.minimum_confidence <= 1.0:
            raise InvalidPolicy("minimum_confidence", "is not between 0 and 1")
        if self.minimum_confidence > 0.0 and not self.abstain_action:
            raise InvalidPolicy("abstain_action", "is empty although minimum_confidence is set")

    def decide(self, probability: float) -> Decision:
        """The decision for one row whose class 1 has `probability`."""
        if probability >= self.threshold:
            label, confidence, action = 1, probability, self.positive_action
        else:
            label, confidence, action = 0, 1.0 - probability, self.negative_action
        if confidence < self.minimum_confidence:
            action = self.abstain_action
        return Decision(label, confidence, action)

    def labels(self, probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
        """The label of each row, int64 [rows]; agrees with `decide` row by row."""
        # float64 as in `decide`: in float32 the threshold itself would be rounded.
        reached: NDArray[np.int64] = (probabilities.astype(np.float64) >= self.threshold).astype(
            np.int64
        )
        return reached
