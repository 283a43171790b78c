"""What a search tries next, from what it has tried: a function of the stored trials alone.

No sampler keeps anything between two proposals: after a crash the same trials give the same next
proposal. So Optuna's studies live in memory for one question, and the evolution strategy is told
its generations anew (Optuna would keep it as a pickle in its own store).
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from services.trainer.core.search import Proposal, Sample
from services.trainer.core.search_space import (
    Distribution,
    FloatRange,
    IntRange,
    NumberChoice,
    SearchParameter,
    Space,
    chosen,
    grid,
)
from services.trainer.core.spec import JobSpec
from services.trainer.core.states import TrialState
from services.trainer.core.tuning import Sampler

if TYPE_CHECKING:
    import optuna

CANDIDATE: Final = "candidate"
SIGMA: Final = 0.3
"""First width of the evolution strategy in a unit cube; Hansen's advice is a third of the range."""


def propose(spec: JobSpec, found: Sequence[Sample]) -> Proposal | None:
    """What to try after `found`; None when a grid has nothing left.

    Args:
        spec: Without faults, with tuning.
        found: Everything that was tried, also what has no score yet, in its order.
    """
    assert spec.tuning is not None
    match spec.tuning.sampler:
        case Sampler.GRID:
            return _grid_point(spec, len(found))
        case Sampler.CMA_ES:
            return _by_evolution(spec, found)
        case Sampler.TPE | Sampler.RANDOM:
            return _by_optuna(spec, found)


def _seed(spec: JobSpec, position: int) -> int:
    """A seed of its own for each proposal."""
    digest = hashlib.sha256(f"{spec.seed} {position}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _spaces(spec: JobSpec) -> list[tuple[int, Space]]:
    return [(index, each.space) for index, each in enumerate(spec.candidates) if each.space]


def _grid_point(spec: JobSpec, position: int) -> Proposal | None:
    points = (Proposal(index, point) for index, space in _spaces(spec) for point in grid(space))
    return next((point for number, point in enumerate(points) if number == position), None)


def _by_optuna(spec: JobSpec, found: Sequence[Sample]) -> Proposal:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(direction="minimize", sampler=_sampler(spec, len(found)))
        study.add_trials([_as_trial(spec, sample) for sample in found])
        trial = study.ask()
        spaces = dict(_spaces(spec))
        candidate = trial.suggest_categorical(CANDIDATE, list(spaces))
        return Proposal(
            candidate,
            chosen(
                spaces[candidate],
                lambda parameter: _suggested(
                    trial, f"{candidate}.{parameter.name}", parameter.distribution
                ),
            ),
        )


def _suggested(trial: optuna.Trial, name: str, distribution: Distribution) -> float:
    match distribution:
        case NumberChoice(values=values):
            return float(trial.suggest_categorical(name, values))
        case IntRange(low=low, high=high, log=log, step=step):
            return float(trial.suggest_int(name, low, _last(low, high, step), log=log, step=step))
        case FloatRange(low=low, high=high, log=log, step=step):
            if not step:
                return trial.suggest_float(name, low, high, log=log)
            # By number: Optuna wants the range divisible by the step, which floats rarely are.
            number = trial.suggest_int(name, 0, _steps(distribution))
            return min(low + number * step, high)


def _last(low: int, high: int, step: int) -> int:
    return low + (high - low) // step * step


def _steps(found: FloatRange) -> int:
    return math.floor((found.high - found.low) / found.step + 1e-9)


def _sampler(spec: JobSpec, position: int) -> optuna.samplers.BaseSampler:
    import optuna

    assert spec.tuning is not None
    seed = _seed(spec, position)
    if spec.tuning.sampler is Sampler.RANDOM:
        return optuna.samplers.RandomSampler(seed=seed)
    # Grouped: conditional parameters are modelled together with those they depend on. With a
    # constant liar, trials side by side keep away from each other.
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def _as_trial(spec: JobSpec, sample: Sample) -> optuna.trial.FrozenTrial:
    import optuna

    candidate = sample.proposal.candidate
    space = {each.name: each.distribution for each in spec.candidates[candidate].space}
    spaces = [index for index, _ in _spaces(spec)]
    state = _optuna_state(sample)
    return optuna.trial.create_trial(
        state=state,
        params={
            CANDIDATE: candidate,
            **{
                f"{candidate}.{name}": _back(space[name], value)
                for name, value in sample.proposal.parameters.items()
            },
        },
        distributions={
            CANDIDATE: optuna.distributions.CategoricalDistribution(spaces),
            **{
                f"{candidate}.{name}": _for_optuna(space[name])
                for name in sample.proposal.parameters
            },
        },
        value=sample.loss if state is optuna.trial.TrialState.COMPLETE else None,
        intermediate_values={1: sample.loss}
        if state is optuna.trial.TrialState.PRUNED and sample.loss is not None
        else {},
    )


def _optuna_state(sample: Sample) -> optuna.trial.TrialState:
    import optuna

    match sample.state:
        case TrialState.SUCCEEDED if sample.loss is not None:
            return optuna.trial.TrialState.COMPLETE
        case TrialState.PRUNED:
            return optuna.trial.TrialState.PRUNED
        case TrialState.FAILED | TrialState.SUCCEEDED:
            return optuna.trial.TrialState.FAIL
        case TrialState.PENDING | TrialState.RUNNING:
            return optuna.trial.TrialState.RUNNING


def _for_optuna(distribution: Distribution) -> optuna.distributions.BaseDistribution:
    from optuna import distributions

    match distribution:
        case NumberChoice(values=values):
            return distributions.CategoricalDistribution(values)
        case IntRange(low=low, high=high, log=log, step=step):
            return distributions.IntDistribution(low, _last(low, high, step), log=log, step=step)
        case FloatRange(low=low, high=high, log=log, step=step):
            if not step:
                return distributions.FloatDistribution(low, high, log=log)
            return distributions.IntDistribution(0, _steps(distribution))


def _back(distribution: Distribution, value: float) -> Any:  # as Optuna's distribution gives it
    match distribution:
        case IntRange():
            return int(value)
        case FloatRange(low=low, step=step) if step:
            return round((value - low) / step)
        case _:
            return value


def _by_evolution(spec: JobSpec, found: Sequence[Sample]) -> Proposal:
    from cmaes import CMA

    ((candidate, space),) = _spaces(spec)
    size = len(space)
    strategy = CMA(
        mean=np.full(size, 0.5),
        sigma=SIGMA,
        bounds=np.array([[0.0, 1.0]] * size),
        seed=_seed(spec, 0),
    )
    scored = [
        (_unit_point(space, sample), sample.loss)
        for sample in found
        if sample.state is TrialState.SUCCEEDED and sample.loss is not None
    ]
    generation = strategy.population_size
    for start in range(0, len(scored) - generation + 1, generation):
        strategy.tell(scored[start : start + generation])
    strategy.reseed_rng(_seed(spec, len(found)))
    point = strategy.ask()
    values = {
        each.name: _from_unit(each.distribution, float(share))
        for each, share in zip(space, point, strict=True)
    }
    return Proposal(candidate, values)


def _unit_point(space: Space, sample: Sample) -> Any:  # float64 [parameters], 0 to 1
    to_unit: Callable[[SearchParameter], float] = lambda each: _to_unit(  # noqa: E731
        each.distribution, sample.proposal.parameters[each.name]
    )
    return np.array([to_unit(each) for each in space])


def _ends(distribution: Distribution) -> tuple[float, float]:
    assert not isinstance(distribution, NumberChoice)
    low, high = float(distribution.low), float(distribution.high)
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def _to_unit(distribution: Distribution, value: float) -> float:
    low, high = _ends(distribution)
    at = math.log(value) if distribution.log else value  # type: ignore[union-attr]  # a range
    return (at - low) / (high - low)


def _from_unit(distribution: Distribution, share: float) -> float:
    assert not isinstance(distribution, NumberChoice)
    low, high = _ends(distribution)
    at = low + share * (high - low)
    value = math.exp(at) if distribution.log else at
    if distribution.step:
        most = math.floor((distribution.high - distribution.low) / distribution.step + 1e-9)
        steps = round((value - distribution.low) / distribution.step)
        value = distribution.low + min(steps, most) * distribution.step
    return float(min(max(value, distribution.low), distribution.high))
