"""What an algorithm can be trained for, and the refusal of everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from services.common.errors import FieldViolation
from services.trainer.core.parameters import Rules, completed
from services.trainer.core.spec import Candidate, FeatureKind, JobSpec
from services.trainer.core.tasks import Task
from services.trainer.core.validation import ROOT

CLASSIFICATION: Final = frozenset({Task.BINARY, Task.MULTICLASS})
REGRESSION: Final = frozenset({Task.REGRESSION})
TABULAR: Final = CLASSIFICATION | REGRESSION

IMAGE_SHAPE: Final = ("height", "width", "channels")
"""Parameters of algorithms that read images."""


@dataclass(frozen=True, slots=True)
class Ability:
    """What an algorithm can do.

    Attributes:
        tasks: That it can be trained for.
        reads_images: Its features are the pixels of one image each, of the shape that its
            parameters `IMAGE_SHAPE` tell: line by line, in a line by column, then by channel.
        trains_privately: It heeds `FitTask.private`; it has the parameters `epochs` and
            `batch_rows`.
        reads_text: Its only feature is a text; others read none.
        trains_in_parallel: It heeds `FitTask.crew`; it has the parameter `batch_rows`.
        accelerates: It heeds the device and the precision of `FitTask.acceleration`.
        compiles: It heeds its `compile` too.
    """

    tasks: frozenset[Task] = frozenset({Task.BINARY})
    reads_images: bool = False
    trains_privately: bool = False
    reads_text: bool = False
    trains_in_parallel: bool = False
    accelerates: bool = False
    compiles: bool = False


def ability_faults(
    spec: JobSpec, recipes: Mapping[str, Rules], abilities: Mapping[str, Ability]
) -> list[FieldViolation]:
    """What `spec` asks of algorithms that they can't do.

    Args:
        spec: As it was sent.
        recipes: The parameters of each algorithm there is.
        abilities: What each of them can do.
    """
    faults = []
    for index, candidate in enumerate(spec.candidates):
        ability = abilities.get(candidate.algorithm)
        if ability is None:
            continue
        path = f"{ROOT}.candidates[{index}]"
        if spec.task not in ability.tasks:
            can = ", ".join(sorted(ability.tasks))
            text = f"is {candidate.algorithm!r}, which does {can} and not {spec.task}"
            faults.append(FieldViolation(f"{path}.algorithm", text))
        if ability.reads_images:
            faults += _image_faults(spec, candidate, recipes[candidate.algorithm], path)
    return faults


def unable(
    spec: JobSpec,
    abilities: Mapping[str, Ability],
    can: Callable[[Ability], bool],
    why: str,
    root: str,
) -> Iterator[FieldViolation]:
    """The candidates of `spec` whose algorithms can't do what it asks, with those that can.

    Args:
        spec: As it was sent.
        abilities: What each algorithm there is can do.
        can: Whether one with this ability can.
        why: What is said of one that can't, such as `which reads no text`.
        root: Path of the spec.
    """
    able = ", ".join(sorted(name for name, each in abilities.items() if can(each)))
    for index, candidate in enumerate(spec.candidates):
        ability = abilities.get(candidate.algorithm)
        if ability is not None and not can(ability):
            text = f"is {candidate.algorithm!r}, {why}; {able} can"
            yield FieldViolation(f"{root}.candidates[{index}].algorithm", text)


def _image_faults(
    spec: JobSpec, candidate: Candidate, rules: Rules, path: str
) -> Iterator[FieldViolation]:
    words = spec.named(FeatureKind.CATEGORICAL)
    if words:
        text = f"reads images, whose every feature is a number; {words[0]!r} is categorical"
        yield FieldViolation(f"{path}.algorithm", text)
    for index, parameter in enumerate(candidate.space):
        if parameter.name in IMAGE_SHAPE:
            text = f"is {parameter.name!r}, which the features settle; it can't be searched"
            yield FieldViolation(f"{path}.search_space[{index}].name", text)
    shape = [completed(_numbers(candidate), rules)[name] for name in IMAGE_SHAPE]
    height, width, channels = shape
    if height * width * channels != len(spec.features):
        text = (
            f"says {height:g} x {width:g} pixels of {channels:g} channels by height, width and "
            f"channels: {height * width * channels:g} features; the spec has {len(spec.features)}"
        )
        yield FieldViolation(f"{path}.parameters", text)


def _numbers(candidate: Candidate) -> dict[str, float]:
    """What is no number is a fault of its own."""
    given = candidate.parameters.items()
    return {name: value for name, value in given if isinstance(value, int | float)}
