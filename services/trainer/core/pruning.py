"""Which trials are stopped before their end, by what others had reached by then.

A curve is a trial's value by step, lower is better.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Curve: TypeAlias = Mapping[int, float]


@dataclass(frozen=True, slots=True)
class MedianPruning:
    """Stop what is worse than the median of what finished trials had reached by the same step.

    Attributes:
        startup_trials: Finished trials before the first is stopped.
        warmup_steps: Steps that each trial may do in any case.
    """

    startup_trials: int = 5
    warmup_steps: int = 0


@dataclass(frozen=True, slots=True)
class HyperbandPruning:
    """Asynchronous successive halving (Li et al., MLSys 2020) in brackets (Hyperband, JMLR 2018).

    Attributes:
        min_steps: Steps to the first rung of the first bracket.
        reduction_factor: How many trials compete for a place on the next rung.
        brackets: Trials take turns; each bracket starts one rung later.
    """

    min_steps: int = 1
    reduction_factor: int = 3
    brackets: int = 3


Pruning: TypeAlias = MedianPruning | HyperbandPruning


@dataclass(frozen=True, slots=True)
class Runner:
    """A trial of the same algorithm.

    Attributes:
        index: Position among the job's trials.
        curve: What it has reached.
        finished: Whether it was trained to its end.
    """

    index: int
    curve: Curve
    finished: bool


def why_pruned(rule: Pruning, runner: Runner, step: int, others: Sequence[Runner]) -> str:
    """Why a trial that has just done `step` is stopped; empty when it goes on."""
    match rule:
        case MedianPruning():
            return _by_median(rule, runner, step, [each.curve for each in others if each.finished])
        case HyperbandPruning():
            return _by_rungs(rule, runner, step, others)


def _by_median(rule: MedianPruning, runner: Runner, step: int, finished: Sequence[Curve]) -> str:
    reached = [curve[step] for curve in finished if step in curve]
    if step <= rule.warmup_steps or len(reached) < rule.startup_trials:
        return ""
    best, median = _best(runner.curve, step), statistics.median(reached)
    if best <= median:
        return ""
    return f"step {step}: {best:.6g} is worse than the median {median:.6g} of {len(reached)} trials"


def _by_rungs(rule: HyperbandPruning, runner: Runner, step: int, others: Sequence[Runner]) -> str:
    bracket = runner.index % rule.brackets
    rung = _rung_at(rule, bracket, runner.curve, step)
    if rung is None:
        return ""
    mine = _best(runner.curve, step)
    rivals = [
        _best(other.curve, first)
        for other in others
        if other.index % rule.brackets == bracket
        and (first := _first_from(other.curve, rung)) is not None
    ]
    places = max(1, (len(rivals) + 1) // rule.reduction_factor)
    better = sum(value < mine for value in rivals)
    if better < places:
        return ""
    return f"step {step}: {better} of {len(rivals)} others were better at rung {rung}"


def _rung_at(rule: HyperbandPruning, bracket: int, curve: Curve, step: int) -> int | None:
    """The highest rung that `step` is the first to reach; None if it reaches none."""
    before = max((each for each in curve if each < step), default=0)
    rung: int | None = None
    place = rule.min_steps * rule.reduction_factor**bracket
    while place <= step:
        if place > before:
            rung = place
        place *= rule.reduction_factor
    return rung


def _first_from(curve: Curve, rung: int) -> int | None:
    return min((step for step in curve if step >= rung), default=None)


def _best(curve: Curve, step: int) -> float:
    return min(value for at, value in curve.items() if at <= step)
