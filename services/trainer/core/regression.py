"""How good predicted quantities are. numpy only; every function is pure.

Throughout: `target` and `predicted` float [rows], in the target's own unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.common import scoring
from services.trainer.core.scores import Scores

Quantities = npt.NDArray[Any]  # any float dtype
Floats = npt.NDArray[np.float64]

_Z_95: Final = 1.959964


@dataclass(frozen=True, slots=True)
class TargetScale:
    """Brings a target to mean 0 and deviation 1, which is what models learn.

    Attributes:
        mean: Of the rows that are fitted, in the target's unit.
        deviation: Of the same rows, above 0.
    """

    mean: float
    deviation: float

    @classmethod
    def of(cls, target: Quantities) -> TargetScale:
        """The scale of `target`, which has two values at least."""
        values = target.astype(np.float64)
        return cls(float(values.mean()), float(values.std()))

    def scaled(self, target: Quantities) -> Floats:
        """float64 [rows]: what is learned."""
        return np.asarray((target.astype(np.float64) - self.mean) / self.deviation)

    def restored(self, learned: Quantities) -> Floats:
        """float64 [rows]: the inverse of `scaled`."""
        return np.asarray(learned.astype(np.float64) * self.deviation + self.mean)


def selection_metrics(target: Quantities, predicted: Quantities) -> dict[str, float]:
    """The metrics that trials are picked by; at least one row.

    Without `r2` where every row has the same target: there is nothing to tell apart.
    """
    errors = _errors(target, predicted)
    squared = float(np.mean(errors**2))
    variance = _variance(target)
    return {
        "rmse": float(np.sqrt(squared)),
        "mae": float(np.abs(errors).mean()),
        "median_absolute_error": float(np.median(np.abs(errors))),
        **({"r2": 1 - squared / variance} if variance else {}),
    }


def score_quantities(target: Quantities, predicted: Quantities) -> Scores:
    """Everything measured of `predicted`; at least one row."""
    return Scores(
        rows=len(target),
        positive_rate=None,
        values=selection_metrics(target, predicted),
        standard_errors=_standard_errors(target, predicted),
    )


def _variance(target: Quantities) -> float:
    """0 for equal values, of which the mean may be another in its last bit."""
    values = target.astype(np.float64)
    return float(values.var()) if np.ptp(values) else 0.0


def _errors(target: Quantities, predicted: Quantities) -> Floats:
    return np.asarray(predicted.astype(np.float64) - target.astype(np.float64))


def _standard_errors(target: Quantities, predicted: Quantities) -> dict[str, float]:
    """Of a mean, and by the delta method of what is made of means; of a median by its ranks."""
    rows = len(target)
    if rows < 2:
        return {}
    errors = _errors(target, predicted)
    absolute, squared = np.abs(errors), errors**2
    mean_squared, centred = squared.mean(), (target - target.mean()) ** 2
    found = {
        "mae": scoring.mean_standard_error(absolute),
        "median_absolute_error": _median_standard_error(absolute),
    }
    if mean_squared:
        found["rmse"] = scoring.mean_standard_error(squared) / (2 * float(np.sqrt(mean_squared)))
    if variance := _variance(target):
        with np.errstate(over="ignore"):
            influence = (mean_squared * centred / variance - squared) / variance
            found["r2"] = scoring.mean_standard_error(influence)
    return {name: error for name, error in found.items() if np.isfinite(error)}


def _median_standard_error(values: Floats) -> float:
    """Half the width of the 95 % interval between ranks, as a standard error.

    Conover, Practical Nonparametric Statistics, 1999, section 3.2.
    """
    rows = len(values)
    reach = _Z_95 * np.sqrt(rows) / 2
    ranks = np.clip([np.floor(rows / 2 - reach), np.ceil(rows / 2 + reach)], 0, rows - 1)
    low, high = np.sort(values)[ranks.astype(np.int64)]
    return float((high - low) / (2 * _Z_95))
