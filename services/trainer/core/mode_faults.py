"""What is wrong with how a spec uses its parent version."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict

from services.common.errors import FieldViolation
from services.trainer.core.parents import Mode
from services.trainer.core.spec import FeatureKind, JobSpec
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
    else:
        if spec.mode is Mode.PRUNING:
            yield from _pruning_faults(spec, root)
        if not spec.parent_version:
            text = f"is empty; {spec.mode} takes over from a version"
            yield FieldViolation(f"{root}.parent_version", text)
        yield from _loss_faults(spec, root)
    able = sorted(algorithm for algorithm, uses in modes.items() if spec.mode in uses)
    for index, candidate in enumerate(spec.candidates):
        if candidate.algorithm in modes and candidate.algorithm not in able:
            text = f"is {candidate.algorithm!r}, which can't do {spec.mode}; {', '.join(able)} can"
            yield FieldViolation(f"{root}.candidates[{index}].algorithm", text)


def _pruning_faults(spec: JobSpec, root: str) -> Iterator[FieldViolation]:
    instead = "distil the version into a smaller one, or quantise it"
    if spec.task is not Task.BINARY:
        text = f"is {spec.mode}, which is for two classes; the task is {spec.task}: {instead}"
        yield FieldViolation(f"{root}.mode", text)
    if texts := spec.named(FeatureKind.TEXT):
        text = f"is {spec.mode}, but what reads the text {texts[0]!r} has no trees or hidden units"
        yield FieldViolation(f"{root}.mode", f"{text}: {instead}")


def _loss_faults(spec: JobSpec, root: str) -> Iterator[FieldViolation]:
    if spec.maximum_loss is None:
        return
    told = spec.task.meaning.losses
    for name, most in asdict(spec.maximum_loss).items():
        if most and name not in told:
            text = f"is {most:g}; {spec.task} tells losses in {' and '.join(told)} alone"
            yield FieldViolation(f"{root}.maximum_loss.{name}", text)
