"""What an algorithm can be told, and the refusal of everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.common.errors import FieldViolation


@dataclass(frozen=True, slots=True)
class ParameterRule:
    """One number that an algorithm takes.

    Attributes:
        default: Value where the spec says nothing.
        minimum: Smallest value accepted.
        maximum: Largest value accepted.
        whole: The value must be an integer.
    """

    default: float
    minimum: float
    maximum: float
    whole: bool = False

    def fault(self, value: object) -> str | None:
        """What is wrong with `value`, or None."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"is {value!r}; must be a number"
        if not self.minimum <= value <= self.maximum:
            return f"is {value:g}; must lie between {self.minimum:g} and {self.maximum:g}"
        if self.whole and value != int(value):
            return f"is {value:g}; must be a whole number"
        return None


Parameters = Mapping[str, float]
"""Values by name, checked."""

UncheckedParameters = Mapping[str, object]
"""Values by name, as somebody sent them."""

Rules = Mapping[str, ParameterRule]


def completed(parameters: Parameters, rules: Rules) -> dict[str, float]:
    """Every parameter of `rules`, from `parameters` or by default, in the order of `rules`."""
    return {name: float(parameters.get(name, rule.default)) for name, rule in rules.items()}


def parameter_faults(
    parameters: UncheckedParameters, rules: Rules, path: str
) -> list[FieldViolation]:
    """Everything that is wrong with `parameters`, named from `path` on."""
    faults = []
    for name, value in parameters.items():
        rule = rules.get(name)
        text = f"is unknown; known are {', '.join(rules)}" if rule is None else rule.fault(value)
        if text is not None:
            faults.append(FieldViolation(f'{path}["{name}"]', text))
    return faults
