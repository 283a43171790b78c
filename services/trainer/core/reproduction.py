"""How a job that repeats another compares with it, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

Json = Mapping[str, Any]  # the content of a message

USUAL_TOLERANCE: Final = 1e-5
"""As much as a graph may differ from the native model that it was exported from."""


class Subject(StrEnum):
    """What is compared, in a job's order of work. The values are names of the contract."""

    SPEC = "SUBJECT_SPEC"
    SNAPSHOT = "SUBJECT_SNAPSHOT"
    SPLIT = "SUBJECT_SPLIT"
    ENVIRONMENT = "SUBJECT_ENVIRONMENT"
    PARAMETERS = "SUBJECT_PARAMETERS"
    POINTS = "SUBJECT_POINTS"
    SCORES = "SUBJECT_SCORES"
    WINNER = "SUBJECT_WINNER"
    RETRAINING = "SUBJECT_RETRAINING"
    GRAPH = "SUBJECT_GRAPH"

    @property
    def decides(self) -> bool:
        """Whether a difference in it is one of results; another package is a cause."""
        return self is not Subject.ENVIRONMENT


class Outcome(StrEnum):
    """How two runs compare in one subject, the best first. The values are names of the contract."""

    EQUAL = "OUTCOME_EQUAL"
    WITHIN_TOLERANCE = "OUTCOME_WITHIN_TOLERANCE"
    NOT_KEPT = "OUTCOME_NOT_KEPT"
    DIFFERENT = "OUTCOME_DIFFERENT"


class Verdict(StrEnum):
    """What a repetition came to, as `Outcome`. The values are names of the contract."""

    BIT_EQUAL = "VERDICT_BIT_EQUAL"
    WITHIN_TOLERANCE = "VERDICT_WITHIN_TOLERANCE"
    UNKNOWN = "VERDICT_UNKNOWN"
    DIFFERENT = "VERDICT_DIFFERENT"


_VERDICTS: Final = dict(zip(Outcome, Verdict, strict=True))
_SEVERITY: Final = {outcome: place for place, outcome in enumerate(Outcome)}


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """The one that says least in favour; EQUAL where there is none."""
    return max(outcomes, key=_SEVERITY.__getitem__, default=Outcome.EQUAL)


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two runs differ.

    Attributes:
        subject: What it is of.
        trial: Trial's id, or `retrain`; empty for what is of no trial.
        item: Series, metric, parameter, package or field.
        step: Of the series, or number of the fold; 0 for what has none.
        original: What the original recorded; empty if nothing.
        repeated: What it is this time; empty if nothing.
    """

    subject: Subject
    trial: str
    item: str
    step: int
    original: str
    repeated: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs in one subject.

    Attributes:
        subject: What is compared.
        outcome: How they compare.
        compared: Values that were.
        differing: Those of them that differ in a bit.
        largest_difference: Between two numbers, as a part of the larger one where that is above 1.
        first: The first value that differs; None if none does.
        note: What could not be compared; empty if everything was.
    """

    subject: Subject
    outcome: Outcome
    compared: int = 0
    differing: int = 0
    largest_difference: float = 0.0
    first: Difference | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What a job that repeats another has found.

    Attributes:
        original: Job that it repeats, by resource name.
        tolerance: The most that numbers may differ by.
        comparisons: One for each subject, in their order; empty until it has succeeded.
    """

    original: str
    tolerance: float
    comparisons: tuple[Comparison, ...] = ()

    @property
    def verdict(self) -> Verdict | None:
        """The worst outcome of what decides; None until it has succeeded."""
        if not self.comparisons:
            return None
        return _VERDICTS[worst([each.outcome for each in self.comparisons if each.subject.decides])]

    @property
    def parted(self) -> Difference | None:
        """The first difference of what decides; None if there is none."""
        firsts = (each.first for each in self.comparisons if each.subject.decides)
        return next((first for first in firsts if first is not None), None)


def reproduction_to_json(reproduction: Reproduction) -> dict[str, Any]:
    """What `reproduction_from_json` reads."""
    return asdict(reproduction)


def reproduction_from_json(document: Json) -> Reproduction:
    """The inverse of `reproduction_to_json`."""
    return Reproduction(
        document["original"],
        document["tolerance"],
        tuple(comparison_from_json(each) for each in document["comparisons"]),
    )


def comparison_to_json(comparison: Comparison) -> dict[str, Any]:
    """The proto3 JSON of the contract's Comparison, with its field names."""
    return asdict(comparison)


def comparison_from_json(document: Json) -> Comparison:
    """The inverse of `comparison_to_json`; what is left out is zero."""
    first = document.get("first")
    return Comparison(
        subject=Subject(document["subject"]),
        outcome=Outcome(document["outcome"]),
        # A 64-bit number is a string in the JSON of messages.
        compared=int(document.get("compared", 0)),
        differing=int(document.get("differing", 0)),
        largest_difference=document.get("largest_difference", 0.0),
        first=None if first is None else _difference_from_json(first),
        note=document.get("note", ""),
    )


def _difference_from_json(document: Json) -> Difference:
    return Difference(
        subject=Subject(document["subject"]),
        trial=document.get("trial", ""),
        item=document.get("item", ""),
        step=int(document.get("step", 0)),
        original=document.get("original", ""),
        repeated=document.get("repeated", ""),
    )
