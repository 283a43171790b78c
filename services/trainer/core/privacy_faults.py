"""What can't be had together with differential privacy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.common.errors import FieldViolation
from services.trainer.core.abilities import Ability, unable
from services.trainer.core.calibration import CalibrationMethod
from services.trainer.core.parents import Mode
from services.trainer.core.spec import JobSpec


def privacy_faults(
    spec: JobSpec, abilities: Mapping[str, Ability], root: str
) -> Iterator[FieldViolation]:
    """Everything in `spec` whose choice would cost privacy that nobody counts.

    Args:
        spec: As it was sent.
        abilities: What each algorithm there is can do.
        root: Path of the spec.
    """
    if spec.privacy is None:
        return
    why = "which can't train with privacy"
    yield from unable(spec, abilities, lambda each: each.trains_privately, why, root)
    if len(spec.candidates) > 1:
        text = "compares candidates by their scores, which tells of the rows: name one with privacy"
        yield FieldViolation(f"{root}.candidates", text)
    if spec.tuning is not None:
        text = "compares trials by their scores, which tells of the rows: leave it out with privacy"
        yield FieldViolation(f"{root}.tuning", text)
    if spec.cross_validation_folds:
        text = "fits rows once more for each fold: leave it out with privacy"
        yield FieldViolation(f"{root}.cross_validation", text)
    if spec.calibration is not CalibrationMethod.NONE:
        text = f"is {spec.calibration}, which learns from rows without noise"
        yield FieldViolation(f"{root}.calibration", text)
    if spec.mode is not Mode.FULL:
        text = f"is {spec.mode}, which takes over what the parent learned without counting it"
        yield FieldViolation(f"{root}.mode", text)
