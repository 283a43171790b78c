"""How far columns go by themselves, each learning from the others of its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, polygamma

PRIOR_GRID: Final = (0, 2, 4, 8, 16, 32)
"""Degrees of freedom that a prior is rounded down to, so that few nulls have to be simulated."""

_FEWEST_COLUMNS: Final = 5


@dataclass(frozen=True, slots=True)
class Prior:
    """What the columns of one kind say of one more.

    Attributes:
        freedom: Degrees of freedom that it is worth, one of `PRIOR_GRID`.
        variance: The usual mean square of a column's own effects.
    """

    freedom: int = 0
    variance: float = 0.0

    @classmethod
    def of(cls, mean_squares: npt.NDArray[np.float64], freedom: float) -> Prior:
        """By the method of moments on logarithms (Smyth, Linear models and empirical Bayes
        methods, Stat. Appl. Genet. Mol. Biol. 2004); worth nothing with fewer than five columns.

        Args:
            mean_squares: float64 [columns], of each column's own effects, all above 0.
            freedom: Degrees of freedom of each.
        """
        if mean_squares.size < _FEWEST_COLUMNS or freedom < 1:
            return cls()
        logs = np.log(mean_squares) - digamma(freedom / 2) + np.log(freedom / 2)
        spread = float(logs.var(ddof=1) - polygamma(1, freedom / 2))
        worth = max(each for each in PRIOR_GRID if not each or polygamma(1, each / 2) >= spread)
        if not worth:
            return cls()
        return cls(worth, float(np.exp(logs.mean() + digamma(worth / 2) - np.log(worth / 2))))

    def moderated(self, mean_square: float, freedom: float) -> float:
        """A column's own mean square, of so many degrees of freedom, drawn toward the usual."""
        pooled = self.freedom * self.variance + freedom * mean_square
        return pooled / (self.freedom + freedom)
