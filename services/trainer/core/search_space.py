"""Spaces that tuning searches: which parameters, from what, and when."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from services.common.errors import FieldViolation
from services.trainer.core.parameters import ParameterRule, Parameters, Rules

MAX_GRID_VALUES = 1000
"""Values of one parameter in a grid."""


@dataclass(frozen=True, slots=True)
class FloatRange:
    """Real numbers.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Equal ratios are equally likely.
        step: Distance between the values that are tried; 0 means any value.
    """

    low: float
    high: float
    log: bool = False
    step: float = 0.0


@dataclass(frozen=True, slots=True)
class IntRange:
    """Whole numbers.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Equal ratios are equally likely.
        step: Distance between the values that are tried.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1


@dataclass(frozen=True, slots=True)
class NumberChoice:
    """Some numbers, none nearer to another than to the rest."""

    values: tuple[float, ...]


Distribution: TypeAlias = FloatRange | IntRange | NumberChoice


@dataclass(frozen=True, slots=True)
class Condition:
    """When a parameter is chosen.

    Attributes:
        parameter: Named before it in the same space.
        values: Of that parameter.
    """

    parameter: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """One parameter that tuning chooses.

    Attributes:
        name: Of the recipe's parameter.
        distribution: What it is chosen from.
        condition: When it is chosen; None means always.
    """

    name: str
    distribution: Distribution
    condition: Condition | None = None


Space: TypeAlias = tuple[SearchParameter, ...]


def chosen(space: Space, choose: Callable[[SearchParameter], float]) -> dict[str, float]:
    """A value for each parameter of `space` whose condition holds, in the order of the space."""
    values: dict[str, float] = {}
    for parameter in space:
        if _applies(parameter.condition, values):
            values[parameter.name] = choose(parameter)
    return values


def contains(space: Space, values: Parameters) -> bool:
    """Whether `values` is something that could have been chosen from `space`."""
    asked = {
        parameter.name for parameter in space if _applies(parameter.condition, values)
    } == values.keys()
    return asked and all(
        _within(parameter.distribution, values[parameter.name])
        for parameter in space
        if parameter.name in values
    )


def grid(space: Space) -> Iterator[dict[str, float]]:
    """Every combination of the values of `space`, the last parameter changing fastest."""
    return _combinations(space, {})


def grid_values(distribution: Distribution) -> Sequence[float]:
    """The values of one parameter in a grid; its ranges have a step."""
    match distribution:
        case NumberChoice(values=values):
            return values
        case IntRange(low=low, high=high, step=step):
            return [float(value) for value in range(low, high + 1, step)]
        case FloatRange(low=low, high=high, step=step):
            count = math.floor((high - low) / step + 1e-9) + 1
            return [min(low + number * step, high) for number in range(count)]


def space_faults(space: Space, fixed: Parameters, rules: Rules, path: str) -> list[FieldViolation]:
    """Everything that is wrong with a space, named from `path` on."""
    faults = []
    earlier: dict[str, Distribution] = {}
    for index, parameter in enumerate(space):
        where = f"{path}[{index}]"
        name = _name_fault(parameter.name, earlier, fixed, rules)
        if name:
            faults.append(FieldViolation(f"{where}.name", name))
        rule = rules.get(parameter.name)
        text = _distribution_fault(parameter.distribution, rule)
        if text:
            faults.append(FieldViolation(f"{where}.distribution", text))
        text = _condition_fault(parameter.condition, earlier)
        if text:
            faults.append(FieldViolation(f"{where}.condition", text))
        earlier[parameter.name] = parameter.distribution
    return faults


def space_from_json(documents: Sequence[Mapping[str, Any]]) -> Space:
    """The space in the proto3 JSON of the contract's SearchParameters."""
    return tuple(
        SearchParameter(
            each["name"],
            _distribution_from_json(each),
            Condition(each["condition"]["parameter"], tuple(each["condition"]["values"]))
            if "condition" in each
            else None,
        )
        for each in documents
    )


def space_to_json(space: Space) -> list[dict[str, Any]]:
    """The inverse of `space_from_json`."""
    documents = []
    for parameter in space:
        document = {"name": parameter.name, **_distribution_to_json(parameter.distribution)}
        if parameter.condition is not None:
            document["condition"] = {
                "parameter": parameter.condition.parameter,
                "values": list(parameter.condition.values),
            }
        documents.append(document)
    return documents


def _applies(condition: Condition | None, values: Parameters) -> bool:
    return condition is None or values.get(condition.parameter) in condition.values


def _combinations(space: Space, before: dict[str, float]) -> Iterator[dict[str, float]]:
    if not space:
        yield before
        return
    first, rest = space[0], space[1:]
    if not _applies(first.condition, before):
        yield from _combinations(rest, before)
        return
    yield from itertools.chain.from_iterable(
        _combinations(rest, {**before, first.name: value})
        for value in grid_values(first.distribution)
    )


def _within(distribution: Distribution, value: float) -> bool:
    match distribution:
        case NumberChoice(values=values):
            return value in values
        case FloatRange(low=low, high=high):
            return low <= value <= high
        case IntRange(low=low, high=high):
            return low <= value <= high and value == int(value)


def _name_fault(
    name: str, earlier: Mapping[str, Distribution], fixed: Parameters, rules: Rules
) -> str:
    if name not in rules:
        return f"is {name!r}; must be one of {', '.join(rules)}"
    if name in fixed:
        return f"is {name!r}, which the candidate fixes in `parameters`; give it in one of them"
    if name in earlier:
        return f"is {name!r}, which the space names before"
    return ""


def _distribution_fault(distribution: Distribution, rule: ParameterRule | None) -> str:
    if isinstance(distribution, NumberChoice):
        ends: Sequence[float] = distribution.values
    else:
        low, high = distribution.low, distribution.high
        if isinstance(distribution, FloatRange) and rule is not None and rule.whole:
            return "is float_range; the parameter takes whole numbers: use int_range"
        if not low < high:
            return f"goes from {low:g} to {high:g}; `low` must be below `high`"
        if distribution.log and (low <= 0 or _spaced(distribution)):
            return "is log, which needs `low` above 0 and no `step`"
        ends = (low, high)
    faults = [] if rule is None else [rule.fault(end) for end in ends]
    return next((fault for fault in faults if fault), "")


def _spaced(distribution: FloatRange | IntRange) -> bool:
    return distribution.step > (1 if isinstance(distribution, IntRange) else 0)


def _condition_fault(condition: Condition | None, earlier: Mapping[str, Distribution]) -> str:
    if condition is None:
        return ""
    distribution = earlier.get(condition.parameter)
    if distribution is None:
        return f"names {condition.parameter!r}; must name a parameter before it in the space"
    outside = [value for value in condition.values if not _within(distribution, value)]
    if outside:
        return f"asks for {outside[0]:g}, which {condition.parameter!r} never takes"
    return ""


def _distribution_from_json(document: Mapping[str, Any]) -> Distribution:
    if "choice" in document:
        return NumberChoice(tuple(float(value) for value in document["choice"]["values"]))
    if "int_range" in document:
        found = document["int_range"]
        low, high = int(found.get("low", 0)), int(found.get("high", 0))
        return IntRange(low, high, found.get("log", False), int(found.get("step", 0)) or 1)
    found = document["float_range"]
    low, high = found.get("low", 0.0), found.get("high", 0.0)
    return FloatRange(low, high, found.get("log", False), found.get("step", 0.0))


def _distribution_to_json(distribution: Distribution) -> dict[str, Any]:
    match distribution:
        case NumberChoice(values=values):
            return {"choice": {"values": list(values)}}
        case FloatRange(low=low, high=high, log=log, step=step):
            return {"float_range": {"low": low, "high": high, "log": log, "step": step}}
        case IntRange(low=low, high=high, log=log, step=step):
            return {"int_range": {"low": low, "high": high, "log": log, "step": step}}
