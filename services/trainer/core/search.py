"""What a search has chosen so far, what it has to go on, and when it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import Parameters
from services.trainer.core.search_space import chosen
from services.trainer.core.spec import JobSpec
from services.trainer.core.states import TrialState
from services.trainer.core.tasks import Metric
from services.trainer.core.tuning import Tuning


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to try next.

    Attributes:
        candidate: Position of the candidate in the spec.
        parameters: Those of its search space that are chosen.
    """

    candidate: int
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class Sample:
    """What was tried.

    Attributes:
        proposal: As it was chosen.
        state: Of its trial.
        loss: The metric that picks the winner, lower is better; None without a score.
    """

    proposal: Proposal
    state: TrialState
    loss: float | None


def loss_of(metrics: Mapping[str, float], metric: Metric) -> float | None:
    """The metric such that lower is better; None where it was not measured."""
    value = metrics.get(metric.value)
    return value if value is None or not metric.higher_is_better else -value


def tuned(spec: JobSpec, trials: Sequence[Trial]) -> list[Trial]:
    """The trials that tuning chose, in their order."""
    return [trial for trial in trials if spec.candidates[trial.candidate].space]


def samples(spec: JobSpec, trials: Sequence[Trial]) -> list[Sample]:
    """The trials that tuning chose, as its sampler sees them, in their order."""
    return [
        Sample(
            Proposal(trial.candidate, _choice(spec, trial)),
            trial.state,
            loss_of(trial.deciding_metrics, spec.checked_metric),
        )
        for trial in tuned(spec, trials)
    ]


def _choice(spec: JobSpec, trial: Trial) -> Parameters:
    space = spec.candidates[trial.candidate].space
    return chosen(space, lambda parameter: trial.parameters[parameter.name])


def why_over(tuning: Tuning, found: Sequence[Sample], elapsed_s: float, cost_micros: int) -> str:
    """Why no further trial starts; empty while one may.

    Args:
        tuning: The limits.
        found: What was tried.
        elapsed_s: Time that attempts have worked on the job.
        cost_micros: What it has cost so far.
    """
    if len(found) >= tuning.max_trials:
        return f"{tuning.max_trials} trials were tried"
    if tuning.max_duration_s and elapsed_s >= tuning.max_duration_s:
        return f"{tuning.max_duration_s:g} s are over"
    if tuning.max_cost is not None and cost_micros >= tuning.max_cost.micros:
        return f"{tuning.max_cost} are spent"
    if tuning.patience_trials and _since_best(found) >= tuning.patience_trials:
        return f"{tuning.patience_trials} trials brought nothing better"
    return ""


def _since_best(found: Sequence[Sample]) -> int:
    """Trials that are over and come after the best one so far."""
    over = [sample for sample in found if sample.state.over]
    losses = [
        sample.loss if sample.state is TrialState.SUCCEEDED and sample.loss is not None else None
        for sample in over
    ]
    scored = [(loss, index) for index, loss in enumerate(losses) if loss is not None]
    return len(over) - 1 - min(scored)[1] if scored else len(over)
