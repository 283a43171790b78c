"""One attempt at a job: data, trials, winner, version."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa

from services.common.blobs.port import BlobStore
from services.common.rpc.tracing import tracer
from services.trainer.adapters.evaluation_record import EvaluationRecord
from services.trainer.adapters.export import bundle
from services.trainer.adapters.learned_until import learned_until
from services.trainer.adapters.learning.auditing import suspects
from services.trainer.adapters.learning.calibrating import fit_calibration
from services.trainer.adapters.learning.crew import Crew
from services.trainer.adapters.learning.loading import load_table
from services.trainer.adapters.learning.reading import reader_of
from services.trainer.adapters.learning.recipe import Recipe
from services.trainer.adapters.learning.shrinking import ShrunkModel
from services.trainer.adapters.learning.trials import TrainedModel, Workbench
from services.trainer.adapters.registry_client import (
    Registration,
    RegistryClient,
)
from services.trainer.adapters.worker.building import (
    Audited,
    BuiltVersion,
    Prepared,
    VersionBuilder,
)
from services.trainer.adapters.worker.contract import Work
from services.trainer.adapters.worker.freshness import check_fresh
from services.trainer.adapters.worker.lanes import Bench, Lanes, TrialData
from services.trainer.adapters.worker.link import TrainerLink
from services.trainer.adapters.worker.observing import (
    Checkpoints,
    RepeatableObserver,
    StopTraining,
    TrialObserver,
)
from services.trainer.adapters.worker.parents import (
    check_reader,
    parent_of,
    validation_metrics,
)
from services.trainer.adapters.worker.sweep import Sweep, numbers
from services.trainer.core.calibration import Calibration, CalibrationMethod
from services.trainer.core.constraints import fitting, smallest
from services.trainer.core.cross_validation import means
from services.trainer.core.data_report import DataReport, data_report
from services.trainer.core.errors import SnapshotHeld, UnusableSnapshot
from services.trainer.core.failures import DataFault
from services.trainer.core.gains import check_gains
from services.trainer.core.jobs import RETRAIN, Trial
from services.trainer.core.parents import Comparison, Mode, check_losses, loses_little
from services.trainer.core.partition import parted_after
from services.trainer.core.purposes import Purpose
from services.trainer.core.robustness import RobustnessReport, check_robustness, told
from services.trainer.core.scores import Scores
from services.trainer.core.selection import TrialOutcome, best_trial
from services.trainer.core.spec import JobSpec
from services.trainer.core.splits import Split, rows_digest
from services.trainer.core.states import JobState, TrialState
from services.trainer.core.tables import Table
from services.trainer.core.use_cases.attempts import Order

MANIFEST: Final = "manifest.json"


class AttemptRun:
    """Runs one attempt from its claim to the registered version.

    Args:
        work: What was claimed.
        link: To the trainer.
        registry: For the data and the version.
        blobs: For checkpoints.
        recipes: Every algorithm there is.
        lanes: Where trials run.
        threads: Threads that training may keep busy.
        checkpoint_interval_s: Between two checkpoints of a fit at the least.
        encoders: Where pretrained encoders are, by name.
        crew: The workers that train together; None unless the job asks for them.
    """

    def __init__(
        self,
        work: Work,
        link: TrainerLink,
        registry: RegistryClient,
        blobs: BlobStore,
        *,
        recipes: Mapping[str, Recipe],
        lanes: Lanes,
        threads: int,
        checkpoint_interval_s: float,
        encoders: Mapping[str, str],
        crew: Crew | None,
    ) -> None:
        self._work = work
        self._link = link
        self._registry = registry
        self._checkpoints = Checkpoints(blobs, work, link, checkpoint_interval_s)
        self._recipes = recipes
        self._lanes = lanes
        self._threads = threads
        self._builder = VersionBuilder(work, recipes, threads)
        self._encoders = encoders
        self._crew = crew

    async def run(self) -> None:
        """Do everything that earlier attempts left, and report the version.

        Raises:
            StopTraining: The job is paused, and this is a good place.
            TrainingFailure: The attempt can't go on.
        """
        spec = self._work.spec
        with tracer().start_as_current_span("trainer.prepare"):
            prepared = await self._audited(await self._load())
        bench, trials = await self._try(prepared)
        winner = self._winner(prepared, outcomes(trials))
        if spec.minimum_gain is not None:
            check_gains(winner.algorithm, winner.gains, spec.minimum_gain)
        self._check_losses(prepared, winner)
        self._stop_if_told()
        await self._link.entered(JobState.EVALUATING)
        self._link.logged(f"winner {winner.algorithm}: {numbers(winner.deciding_metrics)}")
        calibration = await self._calibrate(bench, winner)
        robustness = await self._stressed(bench, prepared, winner, calibration)
        model = replace(await self._retrain(bench, winner), calibration=calibration)
        with tracer().start_as_current_span("trainer.export"):
            version = await asyncio.to_thread(
                self._builder.build, prepared, trials, winner, model, robustness
            )
        self._stop_if_told()
        await self._link.entered(JobState.REGISTERING)
        with tracer().start_as_current_span("trainer.register"):
            await self._register(version, trials[winner.index])

    async def _load(self) -> Prepared:
        spec = self._work.spec
        try:
            snapshot = await self._registry.snapshot(spec.snapshot)
        except UnusableSnapshot as error:
            raise DataFault(f"snapshot {error}") from error
        except SnapshotHeld as error:
            raise DataFault(str(error)) from error
        files = [
            pa.py_buffer(await self._registry.snapshot_file(snapshot, path))
            for path in snapshot.files
        ]
        parent = await parent_of(spec, self._registry, files)
        readers = [pa.BufferReader(file) for file in files]
        classes = None if parent is None else parent.classes
        table = await asyncio.to_thread(load_table, readers, spec, classes)
        split = parted_after(spec, table, await learned_until(spec, self._registry))
        self._link.logged(
            f"{len(table)} rows of {snapshot.name}: {len(split.train)} to train, "
            f"{len(split.validation)} to validate, {len(split.test)} to test; split {split.digest}"
        )
        return Prepared(snapshot, table, split, parent)

    async def _audited(self, prepared: Prepared) -> Audited:
        spec, table, split = self._work.spec, prepared.table, prepared.split
        await check_fresh(spec, split, self._registry)
        report = await asyncio.to_thread(_reported, spec, table, split)
        for finding in report.findings:
            self._link.logged(f"data, {finding.kind.value}: {finding.text}")
        report.check()
        return Audited(prepared.snapshot, table, split, prepared.parent, report)

    async def _try(
        self, prepared: Prepared, *, ends: Mapping[str, int] | None = None
    ) -> tuple[Bench, list[Trial]]:
        """Where trials were run, and all of them at their end; `ends` as `Sweep` takes them."""
        spec = self._work.spec
        await self._link.entered(JobState.RUNNING)
        reader = await asyncio.to_thread(reader_of, spec, self._encoders)
        await asyncio.to_thread(check_reader, prepared.parent, reader)
        data = TrialData(spec, prepared.table, prepared.split, prepared.parent, reader)
        bench = await asyncio.to_thread(data.bench, self._recipes, self._threads, self._crew)
        self._lanes.open(data, bench, self._threads)
        sweep = Sweep(self._work, self._link, self._checkpoints, self._lanes.free, ends=ends)
        return bench, await sweep.run()

    def _winner(self, prepared: Prepared, trials: Sequence[TrialOutcome]) -> TrialOutcome:
        """The best trial within the constraints; of pruning, the smallest that loses little."""
        spec, parent = self._work.spec, prepared.parent
        fit = fitting(trials, spec.constraints)
        if spec.mode is Mode.PRUNING and parent is not None and spec.maximum_loss is not None:
            theirs = validation_metrics(parent, prepared.table, prepared.split)
            good = [
                each
                for each in fit
                if loses_little(each.metrics, theirs, spec.maximum_loss, spec.task)
            ]
            if good:
                return smallest(good, spec.checked_metric)
        return best_trial(fit, spec.checked_metric)

    def _check_losses(self, prepared: Prepared, winner: TrialOutcome) -> None:
        spec = self._work.spec
        if prepared.parent is None:
            return
        theirs = validation_metrics(prepared.parent, prepared.table, prepared.split)
        self._link.logged(f"{prepared.parent.version} on the validation part: {numbers(theirs)}")
        if spec.maximum_loss is not None:
            check_losses(
                winner.algorithm,
                winner.metrics,
                theirs,
                maximum=spec.maximum_loss,
                task=spec.task,
            )

    async def _calibrate(self, bench: Bench, winner: TrialOutcome) -> Calibration | None:
        method = self._work.spec.calibration
        if method is CalibrationMethod.NONE or not isinstance(bench, Workbench):
            return None
        with tracer().start_as_current_span("trainer.calibrate"):
            unseen = await asyncio.to_thread(bench.unseen, winner, RepeatableObserver(self._link))
            calibration = await asyncio.to_thread(fit_calibration, method, unseen)
        self._link.logged(f"{method.value} learned from {len(unseen.label)} rows")
        return calibration

    async def _stressed(
        self,
        bench: Bench,
        prepared: Prepared,
        winner: TrialOutcome,
        calibration: Calibration | None,
    ) -> RobustnessReport | None:
        asked = self._work.spec.robustness
        if asked is None:
            return None
        with tracer().start_as_current_span("trainer.stress"):
            learned = await asyncio.to_thread(
                bench.of_train, winner, RepeatableObserver(self._link)
            )
            model = replace(learned, calibration=calibration)
            report = await asyncio.to_thread(
                self._builder.stressed, prepared, winner.algorithm, model, asked.noise
            )
        self._link.logged(f"worst on {report.rows} rows: {told(list(report.falls.values()))}")
        check_robustness(winner.algorithm, report, asked)
        return report

    async def _retrain(self, bench: Bench, winner: TrialOutcome) -> TrainedModel | ShrunkModel:
        observer = TrialObserver(
            self._link,
            self._checkpoints,
            None,
            RETRAIN,
            asyncio.get_running_loop(),
            metric=self._work.spec.checked_metric,
        )
        checkpoint = await self._checkpoints.newest(RETRAIN)
        with tracer().start_as_current_span("trainer.retrain"):
            model = await asyncio.to_thread(bench.retrain, winner, observer, checkpoint)
            await observer.settled()
        return model

    async def _register(self, built: BuiltVersion, winner: Trial) -> None:
        spec, evidence = self._work.spec, built.evidence
        beside = evidence.comparison
        manifest = bundle.manifest_bytes(built.files)
        registration = Registration(
            model=spec.model,
            training_job=self._work.job,
            snapshot=spec.snapshot,
            parent_version=spec.parent_version,
            labels={} if evidence.privacy is None else evidence.privacy.labels,
            files={**built.files, MANIFEST: manifest},
            manifest_digest=bundle.sha256(manifest),
        )
        version = await self._registry.register(registration, self._work.uid)
        split, positive_rate = evidence.split, evidence.validation_positive_rate
        selected = EvaluationRecord(
            version=version,
            snapshot=spec.snapshot,
            split="validation",
            split_digest=rows_digest(split.validation),
            scores=Scores(len(split.validation), positive_rate, evidence.winner.metrics),
            slices=(),
            evaluator=self._work.job,
            purpose=Purpose.SELECTION,
            latency_ms={},
        )
        await self._registry.record(selected, self._work.uid)
        tested = EvaluationRecord(
            version=version,
            snapshot=spec.snapshot,
            split="test",
            split_digest=rows_digest(split.test),
            scores=evidence.scores,
            slices=evidence.slices,
            uncalibrated=evidence.uncalibrated,
            evaluator=self._work.job,
            purpose=Purpose.TEST,
            latency_ms=built.latency_ms,
            further={
                **({} if beside is None else beside.metrics),
                **({} if evidence.robustness is None else evidence.robustness.metrics),
                **({} if evidence.privacy is None else evidence.privacy.metrics),
            },
            fairness=evidence.fairness,
        )
        evaluation = await self._registry.record(tested, self._work.uid)
        if beside is not None:
            await self._record_parent(tested, beside)
        self._link.logged(f"registered {version}: test {numbers(evidence.scores.values)}")
        await self._link.succeeded(version, evaluation, winner.id)

    async def _record_parent(self, tested: EvaluationRecord, beside: Comparison) -> None:
        """Record what the parent scored on the rows that its successor was tested on."""
        baseline = replace(
            tested,
            version=beside.parent,
            scores=beside.scores,
            slices=beside.slices,
            purpose=Purpose.BASELINE,
            latency_ms={},
            further={},
            uncalibrated=None,
            fairness=beside.fairness,
        )
        await self._registry.record(baseline, uuid.uuid5(self._work.uid, "parent"))
        self._link.logged(
            f"beside {beside.parent}: {beside.fidelity}; graph of {beside.size_bytes} bytes "
            f"instead of {beside.parent_size_bytes}"
        )

    def _stop_if_told(self) -> None:
        if self._link.order is Order.PAUSE:
            raise StopTraining


def _reported(spec: JobSpec, table: Table, split: Split) -> DataReport:
    return data_report(spec, table, split, suspects(table, split, spec.seed))


def outcomes(trials: Sequence[Trial]) -> list[TrialOutcome]:
    """The trials that went to their end."""
    return [
        TrialOutcome(
            trial.index,
            trial.algorithm,
            trial.metrics,
            trial.chosen_parameters,
            means(trial.folds),
            trial.gains,
        )
        for trial in trials
        if trial.state is TrialState.SUCCEEDED
    ]
