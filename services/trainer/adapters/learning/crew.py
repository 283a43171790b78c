"""Workers that compute the gradients of a fit together. Imports no learning library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from services.trainer.adapters.learning.shards import SharedFit

Vector = npt.NDArray[np.float32]
"""float32 [parameters]: a number for each of a network, one tensor after the other."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of a fit.

    Attributes:
        epoch: From 0.
        number: In its epoch, from 0.
    """

    epoch: int
    number: int


@dataclass(frozen=True, eq=False)
class Gradients:
    """What some shards of a batch say, in their order.

    Attributes:
        losses: The part of each in the batch's mean loss.
        values: float32 [shards, parameters], the part of each in the batch's gradient.
    """

    losses: tuple[float, ...]
    values: npt.NDArray[np.float32]


class Crew(Protocol):
    """The worker and its helpers, of which there may be none at times.

    A helper that is lost costs no more than what it was computing, which another one does again.
    """

    @property
    def shards(self) -> int:
        """Parts of each batch."""
        ...

    @property
    def fewest(self) -> int:
        """Workers, itself included, that have computed each batch since the epoch began."""
        ...

    def begin(self, fit: SharedFit) -> None:
        """Turn to `fit`, whatever was done before."""
        ...

    def begin_epoch(self) -> None:
        """Take up the helpers that have come since.

        Raises:
            WorkerLost: There are too few workers, and no more come.
        """
        ...

    def gradients(self, batch: Batch, weights: Vector) -> Gradients:
        """What all shards of `batch` say with `weights`.

        Raises:
            OutOfMemory: A worker needs more memory than there is.
            WorkerLost: There are too few workers, and no more come.
        """
        ...
