"""What an evaluation's rows are used for."""

from __future__ import annotations

from enum import StrEnum


class Purpose(StrEnum):
    """The registry's purposes; see `Evaluation.Purpose` in its evaluation.proto."""

    TEST = "TEST"
    SELECTION = "SELECTION"
    BASELINE = "BASELINE"
    MONITORING = "MONITORING"


def usual_purpose(part: str, *, is_own: bool) -> Purpose:
    """What a part of a job's rows is scored for where nobody says.

    Args:
        part: `train`, `validation`, `test` or `all`.
        is_own: Whether the version is the job's own.
    """
    match part:
        case "test":
            return Purpose.TEST if is_own else Purpose.BASELINE
        case "validation":
            return Purpose.SELECTION
        case _:
            return Purpose.MONITORING
