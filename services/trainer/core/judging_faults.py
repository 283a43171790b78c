"""What is wrong with how a spec wants its version looked at beside its scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from services.common.errors import FieldViolation
from services.trainer.core.row_changes import Check
from services.trainer.core.spec import FeatureKind, JobSpec
from services.trainer.core.tasks import Task

_CHANGED: Final[Mapping[Check, frozenset[FeatureKind]]] = {
    Check.NOISE: frozenset({FeatureKind.NUMERIC}),
    Check.MISSING: frozenset(FeatureKind),
    Check.UNSEEN: frozenset({FeatureKind.CATEGORICAL}),
    Check.UNITS: frozenset({FeatureKind.NUMERIC}),
    Check.OUT_OF_RANGE: frozenset({FeatureKind.NUMERIC}),
    Check.TYPOS: frozenset({FeatureKind.TEXT}),
    Check.DROPPED_WORDS: frozenset({FeatureKind.TEXT}),
}
"""Kinds of features that each check changes."""


def judging_faults(spec: JobSpec, root: str) -> Iterator[FieldViolation]:
    """Everything in `spec` that nothing can be judged by.

    Args:
        spec: As it was sent.
        root: Path of the spec.
    """
    yield from _fairness_faults(spec, root)
    yield from _robustness_faults(spec, root)
    if spec.decision_threshold is None:
        return
    if spec.task is not Task.BINARY:
        text = (
            f"is {spec.decision_threshold:g}, which is for two classes; {spec.task} tells the "
            "likeliest class, or a quantity: leave it out"
        )
        yield FieldViolation(f"{root}.decision_threshold", text)
    elif spec.fairness is None and spec.robustness is None:
        text = f"is {spec.decision_threshold:g}; only fairness and robustness judge by it"
        yield FieldViolation(f"{root}.decision_threshold", text)


def _fairness_faults(spec: JobSpec, root: str) -> Iterator[FieldViolation]:
    if spec.fairness is None:
        return
    if spec.task is not Task.BINARY:
        text = (
            f"compares decisions between two classes; the task is {spec.task}: name the columns in "
            "slice_columns alone, by which scores and gates tell groups apart"
        )
        yield FieldViolation(f"{root}.fairness", text)
    for index, column in enumerate(spec.fairness.columns):
        if column not in spec.slices:
            sliced = ", ".join(spec.slices) or "there are none"
            text = f"is {column!r}; must be one of slice_columns: {sliced}"
            yield FieldViolation(f"{root}.fairness.columns[{index}]", text)


def _robustness_faults(spec: JobSpec, root: str) -> Iterator[FieldViolation]:
    if spec.robustness is None:
        return
    if spec.robustness.maximum_flipped and not spec.task.meaning.has_classes:
        text = f"counts decisions that turn; {spec.task} decides nothing: use maximum_fall"
        yield FieldViolation(f"{root}.robustness.maximum_flipped", text)
    kinds = {feature.kind for feature in spec.features}
    made = [check for check in Check if _CHANGED[check] & kinds]
    for name in ("maximum_fall", "maximum_flipped"):
        for check in getattr(spec.robustness, name):
            if check not in made:
                text = f"has a bar for {check!r}; the checks of these features are "
                yield FieldViolation(f"{root}.robustness.{name}", f"{text}{', '.join(made)}")
