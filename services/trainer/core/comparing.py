"""Two runs of one job held against each other, in the order in which a job works."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from services.trainer.core.constraints import without_times
from services.trainer.core.jobs import RETRAIN, RUN_SERIES, MetricPoint, Trial
from services.trainer.core.objectives import Predicted
from services.trainer.core.reproduction import Comparison, Difference, Outcome, Subject, worst
from services.trainer.core.spec import JobSpec, spec_to_json
from services.trainer.core.states import TrialState

LONGEST_VALUE: Final = 200
"""Characters of a field of a spec that are told as they are; of a longer one its digest is."""

VERSION_GONE: Final = "the version that the original made is not kept"
GRAPH_GONE: Final = "its bytes are others, and those of the original's graph can't be read any more"


@dataclass(frozen=True, slots=True)
class MadeWith:
    """What a version's files say of how it was made.

    Attributes:
        snapshot: Digest of the snapshot.
        split: Digest of the split.
        threads: Threads that training could keep busy.
        algorithm: Recipe of the winner.
        package: Package and version that brought it.
        environment: All that it depends on beside the spec, threads and package among it, by name.
    """

    snapshot: str
    split: str
    threads: int
    algorithm: str
    package: str
    environment: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class RunRecord:
    """What a run has recorded.

    Attributes:
        spec: That it followed.
        trials: In their order.
        points: Of all trials and of the retraining.
        winner: Trial that won, by its id.
        made_with: What its version says; None where that is gone.
        graph: Digest of its graph; None where that is gone.
    """

    spec: JobSpec
    trials: Sequence[Trial]
    points: Sequence[MetricPoint]
    winner: str
    made_with: MadeWith | None
    graph: str | None


class Place(NamedTuple):
    """Where in a run a value stands: such places are in the order in which a job comes to them.

    Attributes:
        position: Of the trial, from 0.
        step: Of the series, or number of the fold.
        item: Series, metric, parameter, package or field.
        trial: Trial's id.
    """

    position: int = 0
    step: int = 0
    item: str = ""
    trial: str = ""


Value = float | str
Values = Mapping[Place, Value]


def compare(
    original: RunRecord,
    repeated: RunRecord,
    tolerance: float,
    *,
    graph_difference: float | None = None,
) -> tuple[Comparison, ...]:
    """Both runs in every subject, in their order.

    Args:
        original: As it was recorded.
        repeated: Of the same trials, by their ids.
        tolerance: The most that two numbers may differ by.
        graph_difference: The most that what both graphs say of a row differs by, finite; None where
            they are the same or one of them can't be read.
    """
    alike = _ended_alike(original, repeated)
    return (
        held(Subject.SPEC, _spec(original), _spec(repeated), tolerance),
        *_held_versions(original.made_with, repeated.made_with),
        held(Subject.PARAMETERS, _parameters(original), _parameters(repeated), tolerance),
        _held_points(Subject.POINTS, original, repeated, tolerance),
        held(Subject.SCORES, _scores(original, alike), _scores(repeated, alike), tolerance),
        held(Subject.WINNER, _winner(original), _winner(repeated), tolerance),
        _held_points(Subject.RETRAINING, original, repeated, tolerance),
        _held_graphs(original.graph, repeated.graph, tolerance, graph_difference),
    )


def held(subject: Subject, original: Values, repeated: Values, tolerance: float) -> Comparison:
    """Two runs in the values of one subject; one that only one of them has differs."""
    places = sorted(original.keys() | repeated.keys())
    outcomes: list[Outcome] = []
    largest, first = 0.0, None
    for place in places:
        theirs, ours = original.get(place), repeated.get(place)
        outcome, difference = _held_value(theirs, ours, tolerance)
        if outcome is Outcome.EQUAL:
            continue
        outcomes.append(outcome)
        largest = max(largest, difference)
        told = (_text(theirs), _text(ours))
        first = first or Difference(subject, place.trial, place.item, place.step, *told)
    return Comparison(subject, worst(outcomes), len(places), len(outcomes), largest, first)


def largest_difference(
    original: Predicted, repeated: Predicted, deviation: float | None = None
) -> float:
    """The most that two graphs' answers to a row differ by.

    Args:
        original: Float [rows] or [rows, classes].
        repeated: As `original`.
        deviation: Of a quantity over the rows that were fitted: its differences count as a part of
            the answer or of that, whichever is larger. None of probabilities.
    """
    told = original.astype(np.float64)
    difference = np.abs(told - repeated)
    if deviation is not None:
        difference /= np.maximum(np.abs(told), deviation)
    return float(difference.max())


def stops(trials: Sequence[Trial], points: Sequence[MetricPoint], metric: str) -> dict[str, int]:
    """The step after which each trial that was stopped early ended, by its id.

    An attempt that was lost may have measured later ones.

    Args:
        trials: Of a run.
        points: Of the run.
        metric: That it decides by.
    """
    series = f"validation_{metric}"
    ended_at = {
        trial.id: trial.metrics.get(metric) for trial in trials if trial.state is TrialState.PRUNED
    }
    found: dict[str, int] = {}
    for point in points:
        if point.series == series and ended_at.get(point.trial) == point.value:
            found[point.trial] = max(point.step, found.get(point.trial, 0))
    return found


def _held_value(
    original: Value | None, repeated: Value | None, tolerance: float
) -> tuple[Outcome, float]:
    """How two values compare, and by how much two numbers differ."""
    if isinstance(original, float) and isinstance(repeated, float):
        if original.hex() == repeated.hex():
            return Outcome.EQUAL, 0.0
        difference = abs(original - repeated) / max(1.0, abs(original), abs(repeated))
        if not math.isfinite(difference):
            return Outcome.DIFFERENT, 0.0
        within = difference <= tolerance
        return Outcome.WITHIN_TOLERANCE if within else Outcome.DIFFERENT, difference
    return Outcome.EQUAL if original == repeated else Outcome.DIFFERENT, 0.0


def _text(value: Value | None) -> str:
    return "" if value is None else str(value)


def _named(values: Mapping[str, str]) -> dict[Place, Value]:
    return {Place(item=name): value for name, value in values.items()}


def _spec(record: RunRecord) -> dict[Place, Value]:
    fields = spec_to_json(record.spec)
    del fields["threads"]
    texts = {name: json.dumps(value, sort_keys=True) for name, value in fields.items()}
    return {
        Place(item=name): text if len(text) <= LONGEST_VALUE else _digest(text)
        for name, text in texts.items()
    }


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _held_versions(original: MadeWith | None, repeated: MadeWith | None) -> list[Comparison]:
    """What was trained on, and by what, as the versions say."""
    subjects = (Subject.SNAPSHOT, Subject.SPLIT, Subject.ENVIRONMENT)
    if original is None or repeated is None:
        return [Comparison(each, Outcome.NOT_KEPT, note=VERSION_GONE) for each in subjects]
    # What is noted since then only has nothing to be held against.
    known = {
        name: text for name, text in repeated.environment.items() if name in original.environment
    }
    values = (
        ({"digest": original.snapshot}, {"digest": repeated.snapshot}),
        ({"digest": original.split}, {"digest": repeated.split}),
        (original.environment, known),
    )
    return [
        held(subject, _named(theirs), _named(ours), 0.0)
        for subject, (theirs, ours) in zip(subjects, values, strict=True)
    ]


def _parameters(record: RunRecord) -> dict[Place, Value]:
    return {
        Place(trial.index, item=name, trial=trial.id): float(value)
        for trial in record.trials
        for name, value in trial.parameters.items()
    }


def _held_points(
    subject: Subject, original: RunRecord, repeated: RunRecord, tolerance: float
) -> Comparison:
    theirs, ours = _points(original, subject), _points(repeated, subject)
    lost = {place.trial for place in ours} - {place.trial for place in theirs}
    known = {place: value for place, value in ours.items() if place.trial not in lost}
    found = held(subject, theirs, known, tolerance)
    if not lost:
        return found
    outcome = worst([found.outcome, Outcome.NOT_KEPT])
    return replace(found, outcome=outcome, note=f"no point of {', '.join(sorted(lost))} is kept")


def _points(record: RunRecord, subject: Subject) -> dict[Place, Value]:
    """Points of what was learned: those of all trials, or those of the retraining."""
    positions = {trial.id: trial.index for trial in record.trials}
    last = stops(record.trials, record.points, record.spec.metric)
    return {
        Place(positions.get(point.trial, 0), point.step, point.series, point.trial): point.value
        for point in record.points
        if point.series not in RUN_SERIES
        and (point.trial == RETRAIN) == (subject is Subject.RETRAINING)
        and point.step <= last.get(point.trial, point.step)
    }


def _ended_alike(original: RunRecord, repeated: RunRecord) -> frozenset[str]:
    """Trials that ended in one state in both runs."""
    states = {trial.id: trial.state for trial in original.trials}
    return frozenset(trial.id for trial in repeated.trials if states.get(trial.id) is trial.state)


def _scores(record: RunRecord, alike: Collection[str]) -> dict[Place, Value]:
    """How trials ended; what those scored is compared that ended alike."""
    found: dict[Place, Value] = {}
    for trial in record.trials:
        found[Place(trial.index, item="state", trial=trial.id)] = trial.state.value
        if trial.id not in alike:
            continue
        scores = {
            0: {
                **without_times(trial.metrics),
                **{f"chosen.{name}": value for name, value in trial.chosen_parameters.items()},
            },
            **{number: fold.metrics for number, fold in enumerate(trial.folds, 1)},
        }
        found |= {
            Place(trial.index, step, name, trial.id): float(value)
            for step, values in scores.items()
            for name, value in values.items()
        }
    return found


def _winner(record: RunRecord) -> dict[Place, Value]:
    return _named({"trial": record.winner})


def _held_graphs(
    original: str | None, repeated: str | None, tolerance: float, difference: float | None
) -> Comparison:
    if original is None or repeated is None:
        return Comparison(Subject.GRAPH, Outcome.NOT_KEPT, note=VERSION_GONE)
    if original == repeated:
        return Comparison(Subject.GRAPH, Outcome.EQUAL, compared=1)
    first = Difference(Subject.GRAPH, "", "digest", 0, original, repeated)
    if difference is None:
        return Comparison(Subject.GRAPH, Outcome.NOT_KEPT, 1, 1, first=first, note=GRAPH_GONE)
    outcome = Outcome.WITHIN_TOLERANCE if difference <= tolerance else Outcome.DIFFERENT
    return Comparison(Subject.GRAPH, outcome, 1, 1, difference, first)
