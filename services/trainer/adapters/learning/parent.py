"""The version that a job takes over from, as training sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from services.trainer.adapters.learning.native import NativeModel
from services.trainer.core.objectives import Objective, Predicted, objective_of
from services.trainer.core.tables import TWO_CLASSES, Rows, Table
from services.trainer.core.tasks import Task

SURE: Final = np.float32(1e-6)
"""Probabilities that are taught keep this far from 0 and 1, so that each label has a weight."""


@dataclass(frozen=True, eq=False)
class Parent:
    """A registered version and what it tells of the rows of a job.

    Attributes:
        version: Resource name.
        digest: Of its manifest.
        graph: ONNX.
        signature: Its `signature.json`.
        told: float32 [rows of the snapshot], of label 1 or a quantity, or [rows, classes].
        sample: Some of the rows, with the features that it takes: to measure its latency on.
        native: What it can be trained further from; None unless the job does that.
        task: What it does.
        classes: Names by their numbers; empty of quantities.
    """

    version: str
    digest: str
    graph: bytes
    signature: bytes
    told: Predicted
    sample: Table
    native: NativeModel | None = None
    task: Task = Task.BINARY
    classes: tuple[str, ...] = TWO_CLASSES

    @property
    def objective(self) -> Objective:
        """How what it tells is judged."""
        return objective_of(self.task, self.classes)

    def taught(self, rows: Rows) -> Predicted:
        """What a student learns of `rows`: float32 [rows] or [rows, classes].

        Probabilities are strictly between 0 and 1.
        """
        told = self.told[rows]
        if not self.task.meaning.has_classes:
            return told
        unsure: Predicted = np.clip(told, SURE, 1 - SURE)
        return unsure if unsure.ndim == 1 else unsure / unsure.sum(axis=1, keepdims=True)
