"""The version that a job takes over from, as training sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from services.trainer.adapters.learning.native import NativeModel
from services.trainer.core.tables import Rows, Table

Probabilities = npt.NDArray[np.float32]

SURE: Final = np.float32(1e-6)
"""Probabilities that are taught keep this far from 0 and 1, so that both labels have a weight."""


@dataclass(frozen=True, eq=False)
class Parent:
    """A registered version and what it gives the rows of a job.

    Attributes:
        version: Resource name.
        digest: Of its manifest.
        graph: ONNX.
        signature: Its `signature.json`.
        probability: float32 [rows of the snapshot], of label 1.
        sample: Some of the rows, with the features that it takes: to measure its latency on.
        native: What it can be trained further from; None unless the job does that.
    """

    version: str
    digest: str
    graph: bytes
    signature: bytes
    probability: Probabilities
    sample: Table
    native: NativeModel | None = None

    def taught(self, rows: Rows) -> Probabilities:
        """What a student learns of `rows`: float32 [rows], strictly between 0 and 1."""
        return np.clip(self.probability[rows], SURE, 1 - SURE)
