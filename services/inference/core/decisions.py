"""What to do with a probability: decision policies, which count apart from the weights."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.inference.core.errors import InvalidPolicy


@dataclass(frozen=True, slots=True)
class Decision:
    """One row's decision.

    Attributes:
        label: The class that the policy decides on.
        confidence: Probability of the chosen label, as calibrated as the model is.
        action: What the policy recommends.
    """

    label: int
    confidence: float
    action: str


@dataclass(frozen=True, slots=True)
class Span:
    """What is decided while the probability of class 1 is between two cuts."""

    label: int
    action: str


class Decider:
    """A policy made ready to decide, when it is loaded and not per request.

    Every rule here comes down to spans of the probability of class 1.

    Args:
        name: What decides, as answers and observations name it.
        version: Its number.
        cuts: Where one span ends and the next begins, ascending; a cut belongs to the upper one.
        spans: One more than cuts.
    """

    __slots__ = ("_cuts", "_labels", "_spans", "name", "version")

    def __init__(
        self, name: str, version: int, cuts: Sequence[float], spans: Sequence[Span]
    ) -> None:
        self.name = name
        self.version = version
        self._cuts = tuple(cuts)
        self._spans = tuple(spans)
        self._labels = np.array([span.label for span in spans], dtype=np.int64)

    def decide(self, probability: float) -> Decision:
        """The decision for one row whose class 1 has `probability`."""
        span = self._spans[bisect_right(self._cuts, probability)]
        confidence = probability if span.label else 1.0 - probability
        return Decision(span.label, confidence, span.action)

    def labels(self, probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
        """The label of each row, int64 [rows]; agrees with `decide` row by row."""
        # float64 as in `decide`: in float32 the cut itself would be rounded.
        places = np.searchsorted(self._cuts, probabilities.astype(np.float64), side="right")
        labels: NDArray[np.int64] = self._labels[places]
        return labels


@dataclass(frozen=True, slots=True)
class DecisionPolicy:
    """A threshold that an endpoint keeps itself.

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
            raise InvalidPolicy("decision_policy.threshold", "is not between 0 and 1")
        if not 0.0 <= self.minimum_confidence <= 1.0:
            raise InvalidPolicy("decision_policy.minimum_confidence", "is not between 0 and 1")
        if self.minimum_confidence > 0.0 and not self.abstain_action:
            raise InvalidPolicy(
                "decision_policy.abstain_action", "is empty although minimum_confidence is set"
            )

    def decider(self, endpoint: str) -> Decider:
        """This policy of `endpoint`, ready to decide."""
        name = f"{endpoint}/decisionPolicies/{self.version}"
        # Label 0 is sure enough up to the cut, label 1 from it on: hence the next number above.
        unsure = math.nextafter(1.0 - self.minimum_confidence, math.inf)
        cuts = (
            min(self.threshold, unsure),
            self.threshold,
            max(self.threshold, self.minimum_confidence),
        )
        spans = (
            Span(0, self.negative_action),
            Span(0, self.abstain_action),
            Span(1, self.abstain_action),
            Span(1, self.positive_action),
        )
        return Decider(name, self.version, cuts, spans)
