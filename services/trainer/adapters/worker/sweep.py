"""The trials of one attempt: what earlier attempts left, then what tuning proposes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.common.rpc.tracing import tracer
from services.trainer.adapters.learning.recipe import Step
from services.trainer.adapters.sampling import propose
from services.trainer.adapters.worker.contract import Work
from services.trainer.adapters.worker.lanes import Lane
from services.trainer.adapters.worker.link import TrainerLink
from services.trainer.adapters.worker.observing import (
    Checkpoints,
    FoldObserver,
    StopTraining,
    TrialObserver,
    TrialPruned,
)
from services.trainer.core.failures import NanLoss, OutOfMemory, WorkerLost
from services.trainer.core.jobs import Trial
from services.trainer.core.pruning import Runner, why_pruned
from services.trainer.core.search import loss_of, samples, why_over
from services.trainer.core.states import TrialState
from services.trainer.core.use_cases.attempts import Order


class Sweep:
    """Runs trials on every lane until none is left.

    Args:
        work: What was claimed.
        link: To the trainer.
        checkpoints: Of the job.
        lanes: Where trials run; one that loses its process is not used again.
        ends: Of a job that repeats another, the step after which each trial ends that was stopped
            early, by its id; nothing is searched then. None for a job that searches.
    """

    def __init__(
        self,
        work: Work,
        link: TrainerLink,
        checkpoints: Checkpoints,
        lanes: Sequence[Lane],
        *,
        ends: Mapping[str, int] | None = None,
    ) -> None:
        self._ends = ends
        self._spec = work.spec
        self._link = link
        self._checkpoints = checkpoints
        self._lanes = lanes
        self._trials = {trial.index: trial for trial in work.trials}
        self._waiting = [trial for trial in work.trials if not trial.state.over]
        self._curves: dict[str, dict[int, float]] = {}
        self._choosing = asyncio.Lock()
        self._started = time.monotonic() - work.worked_s
        self._over = ""

    async def run(self) -> list[Trial]:
        """Every trial of the job at its end, in their order.

        Raises:
            StopTraining: The job is to stop; each lane was at a good place.
            WorkerLost: No lane is left.
            TrainingFailure: The attempt can't go on.
        """
        tuning = self._spec.tuning
        if self._ends is None and tuning is not None and tuning.pruning is not None:
            self._curves = await self._link.curves(f"validation_{self._spec.metric}")
        serving = [asyncio.ensure_future(self._serve(lane)) for lane in self._lanes]
        results = await asyncio.gather(*serving, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        lost = [failure for failure in failures if isinstance(failure, WorkerLost)]
        for failure in failures:
            if failure not in lost:
                raise failure
        if len(lost) == len(self._lanes) or self._waiting:
            raise lost[0]
        return [trial for _, trial in sorted(self._trials.items())]

    async def _serve(self, lane: Lane) -> None:
        while True:
            trial = await self._next()
            if trial is None:
                return
            await self._run(lane, trial)

    async def _next(self) -> Trial | None:
        async with self._choosing:
            if self._link.order is Order.PAUSE:
                raise StopTraining
            if self._waiting:
                return self._waiting.pop(0)
            tuning = self._spec.tuning
            if tuning is None or self._over or self._ends is not None:
                return None
            trials = [trial for _, trial in sorted(self._trials.items())]
            found = samples(self._spec, trials)
            self._over = why_over(
                tuning, found, time.monotonic() - self._started, self._link.cost_micros
            )
            proposal = None
            if not self._over:
                proposal = await asyncio.to_thread(propose, self._spec, found)
                self._over = "" if proposal else "the grid has no further point"
            if proposal is None:
                self._link.logged(f"the search is over: {self._over}")
                return None
            trial = await self._link.added(len(trials), proposal)
            self._trials[trial.index] = trial
            return trial

    async def _run(self, lane: Lane, trial: Trial) -> None:
        running = replace(trial, state=TrialState.RUNNING)
        self._trials[trial.index] = running
        self._link.trial_moved(running)
        observer = TrialObserver(
            self._link,
            self._checkpoints,
            running,
            trial.id,
            asyncio.get_running_loop(),
            metric=self._spec.checked_metric,
            judge=CurveJudge(self, running),
            share=self._share,
        )
        attributes = {"roundhouse.trial": trial.id, "roundhouse.algorithm": trial.algorithm}
        try:
            with tracer().start_as_current_span("trainer.trial", attributes=attributes):
                if not running.chosen_parameters:
                    await self._train(lane, running, observer)
                for number in range(len(running.folds), self._spec.cross_validation_folds):
                    await self._judge(lane, self._trials[trial.index], number)
        except (NanLoss, OutOfMemory) as failure:
            reached = self._trials[trial.index]
            over = replace(reached, state=TrialState.FAILED, message=str(failure))
        except TrialPruned as pruned:
            reached = observer.reached or running
            over = replace(reached, state=TrialState.PRUNED, message=str(pruned))
        except WorkerLost as lost:
            self._link.logged(f"{lost}; {trial.id} waits for another")
            self._waiting.insert(0, self._trials[trial.index])
            raise
        else:
            over = replace(self._trials[trial.index], state=TrialState.SUCCEEDED, progress=1.0)
        await observer.settled()
        over = replace(over, duration_s=trial.duration_s + observer.elapsed_s)
        await self._link.trial_kept(over)
        self._trials[trial.index] = over
        self._link.logged(f"{over.id} {over.message or numbers(over.deciding_metrics)}")

    @property
    def _share(self) -> float:
        """Of a trial's work that each of its fits is."""
        return 1 / (1 + self._spec.cross_validation_folds)

    async def _train(self, lane: Lane, trial: Trial, observer: TrialObserver) -> None:
        """Fit the trial on the train part, from its newest checkpoint on."""
        checkpoint = await self._checkpoints.newest(trial.id)
        if checkpoint is not None:
            self._link.logged(f"{trial.id} goes on after step {checkpoint.step}")
        outcome = await asyncio.to_thread(lane.run_trial, trial, observer, checkpoint)
        self._trials[trial.index] = replace(
            trial,
            progress=self._share,
            metrics=outcome.metrics,
            chosen_parameters=outcome.refit_parameters,
            gains=outcome.gains,
            duration_s=trial.duration_s + observer.elapsed_s,
        )

    async def _judge(self, lane: Lane, trial: Trial, number: int) -> None:
        """Have one fold of the trial done and stored, so that no attempt does it again."""
        started = time.monotonic()
        observer = FoldObserver(self._link, trial, self._share)
        found = await asyncio.to_thread(lane.run_fold, trial, number, observer)
        judged = replace(
            trial,
            progress=trial.progress + self._share,
            folds=(*trial.folds, found),
            duration_s=trial.duration_s + time.monotonic() - started,
        )
        self._trials[trial.index] = judged
        await self._link.trial_kept(judged)
        self._link.logged(f"{trial.id} fold {number + 1}: {numbers(found.metrics)}")

    def why_pruned(self, trial: Trial, step: Step) -> str:
        """Why a trial of tuning is stopped after `step`; called from the trial's thread."""
        if self._ends is not None:
            ended = step.number >= self._ends.get(trial.id, math.inf)
            return f"after step {step.number}, as the job that is repeated did" if ended else ""
        tuning, loss = self._spec.tuning, loss_of(step.metrics, self._spec.checked_metric)
        if tuning is None or tuning.pruning is None or loss is None:
            return ""
        if not self._spec.candidates[trial.candidate].space:
            return ""
        self._curves.setdefault(trial.id, {})[step.number] = step.metrics[self._spec.metric]
        others = [
            self._runner(other)
            for other in list(self._trials.values())
            if other.algorithm == trial.algorithm and other.id != trial.id
        ]
        return why_pruned(tuning.pruning, self._runner(trial), step.number, others)

    def _runner(self, trial: Trial) -> Runner:
        sign = -1.0 if self._spec.checked_metric.higher_is_better else 1.0
        curve = dict(self._curves.get(trial.id, {}))
        finished = trial.state is TrialState.SUCCEEDED
        return Runner(trial.index, {at: sign * value for at, value in curve.items()}, finished)


class CurveJudge:
    """Holds one trial against the others of its sweep.

    Args:
        sweep: That it is of.
        trial: That it judges.
    """

    def __init__(self, sweep: Sweep, trial: Trial) -> None:
        self._sweep = sweep
        self._trial = trial

    def why_pruned(self, step: Step) -> str:
        """Why the trial that has just done `step` is stopped; empty when it goes on."""
        return self._sweep.why_pruned(self._trial, step)


def numbers(values: Mapping[str, float]) -> str:
    """Metrics for a log line."""
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())
