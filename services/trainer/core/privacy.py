"""Differential privacy of what a job learns: what is asked for, and what was spent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Privacy:
    """How little a single row may tell through a version's weights.

    Attributes:
        epsilon: Of all fits of the job together, the trial's and the retraining's.
        delta: Probability with which epsilon may not hold; below one over the rows.
        max_grad_norm: L2 norm that each row's gradient is clipped to.
        noise_multiplier: Deviation of the noise over `max_grad_norm`; None means the smallest with
            which all epochs fit into epsilon.
    """

    epsilon: float
    delta: float
    max_grad_norm: float
    noise_multiplier: float | None = None


@dataclass(frozen=True, slots=True)
class PrivacySpent:
    """What a version's fits have spent.

    Attributes:
        epsilon: By the accountant, of all fits together.
        delta: That it holds with.
        noise_multiplier: Of each step.
        max_grad_norm: Of each row's gradient.
        steps: Of all fits together.
        epochs: Of each fit.
        accountant: How it was counted.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    max_grad_norm: float
    steps: int
    epochs: int
    accountant: str = "rdp"

    def to_json(self) -> dict[str, Any]:
        """As files of a version have it."""
        return asdict(self)

    @property
    def metrics(self) -> dict[str, float]:
        """For gates."""
        return {"privacy.epsilon": self.epsilon, "privacy.delta": self.delta}

    @property
    def labels(self) -> dict[str, str]:
        """Of the version."""
        return {"privacy_epsilon": f"{self.epsilon:.6g}", "privacy_delta": f"{self.delta:.6g}"}


def privacy_from_json(document: dict[str, Any]) -> Privacy:
    """The proto3 JSON of the contract's Privacy, with its field names."""
    return Privacy(
        epsilon=document["epsilon"],
        delta=document["delta"],
        max_grad_norm=document.get("max_grad_norm") or 1.0,
        noise_multiplier=document.get("noise_multiplier"),
    )


def privacy_to_json(privacy: Privacy) -> dict[str, Any]:
    """The inverse of `privacy_from_json`, defaults included."""
    return {name: value for name, value in asdict(privacy).items() if value is not None}
