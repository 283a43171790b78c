"""What the models of a job predict."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Task(StrEnum):
    """What a target is. The values are names of the contract."""

    BINARY = "TASK_BINARY_CLASSIFICATION"
    MULTICLASS = "TASK_MULTICLASS_CLASSIFICATION"


MAX_CLASSES: Final = 50
"""Each class brings three metrics of its own, and an evaluation holds 256."""
