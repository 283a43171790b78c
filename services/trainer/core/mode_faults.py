"""What is wrong with how a spec uses its parent version."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from services.common.errors import FieldViolation
from services.trainer.core.parents import Mode
from services.trainer.core.spec import JobSpec
from services.trainer.core.tasks import Task


def mode_faults(
    spec: JobSpec, modes: Mapping[str, Collection[Mode]], root: str
) -> Iterator[FieldViolation]:
    """Everything in `spec` that its mode can't do.

    Args:
        spec: As it was sent.
        modes: What each algorithm there is can be used for.
        root: Path of the spec.
    """
    if spec.mode is Mode.FULL:
        if spec.maximum_loss is not None:
            text = f"is for modes that take over from parent_version; this is {spec.mode}"
            yield FieldViolation(f"{root}.maximum_loss", text)
    elif spec.task is not Task.BINARY:
        text = f"is {spec.mode}, which takes over from two classes alone; the task is {spec.task}"
        yield FieldViolation(f"{root}.mode", text)
    elif not spec.parent_version:
        text = f"is empty; {spec.mode} takes over from a version"
        yield FieldViolation(f"{root}.parent_version", text)
    able = sorted(algorithm for algorithm, uses in modes.items() if spec.mode in uses)
    for index, candidate in enumerate(spec.candidates):
        if candidate.algorithm in modes and candidate.algorithm not in able:
            text = f"is {candidate.algorithm!r}, which can't do {spec.mode}; {', '.join(able)} can"
            yield FieldViolation(f"{root}.candidates[{index}].algorithm", text)
