"""Every fault of a spec's search, found at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.common.errors import FieldViolation
from services.trainer.core.parameters import Rules
from services.trainer.core.search_space import (
    MAX_GRID_VALUES,
    FloatRange,
    NumberChoice,
    Space,
    space_faults,
)
from services.trainer.core.spec import JobSpec
from services.trainer.core.tuning import Sampler


def tuning_faults(
    spec: JobSpec, recipes: Mapping[str, Rules], root: str
) -> Iterator[FieldViolation]:
    """What is wrong with the search that `spec` asks for.

    Args:
        spec: As it was sent.
        recipes: The parameters of each algorithm there is.
        root: Path of the spec in the request.
    """
    searched = {index: each for index, each in enumerate(spec.candidates) if each.space}
    if spec.tuning is None:
        for index in searched:
            text = "needs `tuning` in the spec, which says how it is searched"
            yield FieldViolation(f"{root}.candidates[{index}].search_space", text)
        return
    if not searched:
        yield FieldViolation(f"{root}.tuning", "needs a candidate with a `search_space`")
    for index, candidate in searched.items():
        path = f"{root}.candidates[{index}].search_space"
        rules = recipes.get(candidate.algorithm)
        if rules is not None:
            yield from space_faults(candidate.space, candidate.parameters, rules, path)
        if spec.tuning.sampler is Sampler.GRID:
            yield from _grid_faults(candidate.space, path)
    if spec.tuning.sampler is Sampler.CMA_ES:
        yield from _cma_es_faults([each.space for each in searched.values()], f"{root}.tuning")


def _grid_faults(space: Space, path: str) -> Iterator[FieldViolation]:
    for index, parameter in enumerate(space):
        found = parameter.distribution
        if isinstance(found, NumberChoice):
            continue
        where = f"{path}[{index}].distribution"
        if found.log:
            yield FieldViolation(where, "is log; a grid takes a choice or a range with a `step`")
        elif isinstance(found, FloatRange) and not found.step:
            yield FieldViolation(where, "has no `step`, which a grid needs")
        elif (found.high - found.low) / found.step > MAX_GRID_VALUES:
            text = f"has more than {MAX_GRID_VALUES} values; a grid needs a larger `step`"
            yield FieldViolation(where, text)


def _cma_es_faults(spaces: list[Space], path: str) -> Iterator[FieldViolation]:
    parameters = [parameter for space in spaces for parameter in space]
    fits = all(
        each.condition is None and not isinstance(each.distribution, NumberChoice)
        for each in parameters
    )
    if len(spaces) != 1 or len(parameters) < 2 or not fits:
        text = (
            "is SAMPLER_CMA_ES, which takes one candidate with a space of at least two ranges, "
            "without choices and conditions; take SAMPLER_TPE"
        )
        yield FieldViolation(f"{path}.sampler", text)
