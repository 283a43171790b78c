"""What is wrong with how a spec wants its version looked at beside its scores."""

from __future__ import annotations

from collections.abc import Iterator

from services.common.errors import FieldViolation
from services.trainer.core.robustness import Check
from services.trainer.core.spec import JobSpec
from services.trainer.core.tasks import Task


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
        text = f"is {spec.decision_threshold:g}, which is for two classes; the task is {spec.task}"
        yield FieldViolation(f"{root}.decision_threshold", text)
    elif spec.fairness is None and spec.robustness is None:
        text = f"is {spec.decision_threshold:g}; only fairness and robustness judge by it"
        yield FieldViolation(f"{root}.decision_threshold", text)


def _fairness_faults(spec: JobSpec, root: str) -> Iterator[FieldViolation]:
    if spec.fairness is None:
        return
    if spec.task is not Task.BINARY:
        text = f"compares decisions between two classes; the task is {spec.task}"
        yield FieldViolation(f"{root}.fairness", text)
    for index, column in enumerate(spec.fairness.columns):
        if column not in spec.slices:
            sliced = ", ".join(spec.slices) or "there are none"
            text = f"is {column!r}; must be one of slice_columns: {sliced}"
            yield FieldViolation(f"{root}.fairness.columns[{index}]", text)


def _robustness_faults(spec: JobSpec, root: str) -> Iterator[FieldViolation]:
    if spec.robustness is None:
        return
    if not spec.task.meaning.has_classes:
        text = f"counts decisions between classes that change; the task is {spec.task}"
        yield FieldViolation(f"{root}.robustness", text)
    known = ", ".join(Check)
    for name in ("maximum_fall", "maximum_flipped"):
        for check in getattr(spec.robustness, name):
            if check not in set(Check):
                text = f"has a bar for {check!r}; the checks are {known}"
                yield FieldViolation(f"{root}.robustness.{name}", text)
