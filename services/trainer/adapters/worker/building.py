"""What an attempt makes of its winner: the graph, what it scores, and the files of a version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from services.trainer.adapters.export import bundle
from services.trainer.adapters.export.calibrated import calibrated_graph, uncalibrated_scores
from services.trainer.adapters.export.card import card
from services.trainer.adapters.export.documents import (
    EncoderRecord,
    Evidence,
    evaluation_json,
    training_json,
)
from services.trainer.adapters.export.footprint import footprint
from services.trainer.adapters.export.graph import check_parity, export_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.native import WEIGHTS_FILE, native_bytes
from services.trainer.adapters.learning.parent import Parent
from services.trainer.adapters.learning.recipe import Recipe
from services.trainer.adapters.learning.shrinking import ShrunkModel
from services.trainer.adapters.learning.trials import TrainedModel
from services.trainer.adapters.registry_client import SnapshotRef
from services.trainer.adapters.worker.contract import Work
from services.trainer.adapters.worker.parents import compared, latencies_ms
from services.trainer.core.constraints import check_fits
from services.trainer.core.data_report import DataReport
from services.trainer.core.fairness import ColumnFairness, Decisions, compare_groups
from services.trainer.core.jobs import Trial
from services.trainer.core.objectives import Predicted, objective_of
from services.trainer.core.parents import Comparison, Mode
from services.trainer.core.robustness import (
    Decided,
    RobustnessReport,
    Stressed,
    binary_decisions,
    likeliest_class,
    rows_to_stress,
    stress,
)
from services.trainer.core.scores import score_slices
from services.trainer.core.selection import TrialOutcome
from services.trainer.core.spec import JobSpec
from services.trainer.core.splits import Split
from services.trainer.core.tables import TWO_CLASSES, Table
from services.trainer.core.tasks import Task


@dataclass(frozen=True, eq=False)
class Prepared:
    """A job's data, ready to train on."""

    snapshot: SnapshotRef
    table: Table
    split: Split
    parent: Parent | None


@dataclass(frozen=True, eq=False)
class Audited(Prepared):
    """A job's data with what is said of it."""

    report: DataReport


@dataclass(frozen=True, eq=False)
class BuiltVersion:
    """A version's files, but for the manifest, and what is known about it."""

    files: Mapping[str, bytes]
    evidence: Evidence
    latency_ms: Mapping[str, float]


class VersionBuilder:
    """Makes the version of one job.

    Args:
        work: The job.
        recipes: Every algorithm there is.
        threads: Threads that may be busy.
    """

    def __init__(self, work: Work, recipes: Mapping[str, Recipe], threads: int) -> None:
        self._job = work.job
        self._spec = work.spec
        self._recipes = recipes
        self._threads = threads

    def build(
        self,
        prepared: Audited,
        trials: Sequence[Trial],
        winner: TrialOutcome,
        model: TrainedModel | ShrunkModel,
        robustness: RobustnessReport | None,
    ) -> BuiltVersion:
        """The version that `model`, the winner trained again, becomes.

        Raises:
            ExportMismatch: Its graph does not compute what it computes.
            NothingFits: It has become too large or slow by its retraining.
        """
        table, split = prepared.table, prepared.split
        fitted = table.take(split.fit)
        validation = table.take(split.validation)
        graph, parity = self.exported(winner.algorithm, model, fitted, validation)
        if self._spec.constraints is not None:
            check_fits(winner.algorithm, footprint(graph, validation), self._spec.constraints)
        test = table.take(split.test)
        told = GraphModel(graph, self._threads).predicted(test)
        objective = objective_of(self._spec.task, table.classes)
        evidence = Evidence(
            job=self._job,
            spec=self._spec,
            snapshot_digest=prepared.snapshot.digest,
            split=split,
            trials=trials,
            winner=winner,
            threads=self._threads,
            scores=objective.score(test.label, told),
            calibration=model.calibration,
            encoder=encoder_record(model),
            uncalibrated=uncalibrated_scores(graph, test, objective, self._threads),
            slices=score_slices(test.label, told, test.slices, objective.score),
            baseline=objective.score(test.label, objective.baseline(fitted.label, len(test))),
            parity=parity,
            classes=table.classes,
            validation_positive_rate=_positive_rate(validation),
            comparison=self._compared(prepared, graph, told),
            fairness=self._fairness(test, told),
            robustness=robustness,
            learned_until_us=int(fitted.event_time_us.max()),
            privacy=model.privacy if isinstance(model, TrainedModel) else None,
        )
        files = {
            "model.onnx": graph,
            "signature.json": (
                prepared.parent.signature
                if prepared.parent is not None and isinstance(model, ShrunkModel)
                else bundle.json_bytes(bundle.signature(fitted, self._spec.features))
            ),
            "evaluation.json": bundle.json_bytes(evaluation_json(evidence)),
            "data.json": bundle.json_bytes(prepared.report.to_json()),
            "split.parquet": bundle.split_parquet(split),
            "training.json": bundle.json_bytes(training_json(evidence)),
            "card.md": card(evidence).encode(),
        }
        if len(table.classes) <= len(TWO_CLASSES):
            files["profile.json"] = bundle.json_bytes(bundle.profile(fitted, test, told))
        if isinstance(model, TrainedModel) and self._can_go_on(winner.algorithm):
            files[WEIGHTS_FILE] = native_bytes(model.native(winner.algorithm))
        return BuiltVersion(files, evidence, latencies_ms(graph, test, prepared.parent))

    def stressed(
        self,
        prepared: Prepared,
        algorithm: str,
        model: TrainedModel | ShrunkModel,
        noise: float,
    ) -> RobustnessReport:
        """What the graph of `model`, of the train part, loses on changed rows of validation.

        Raises:
            ExportMismatch: The graph does not compute what the model computes.
            NotRobust: It gives changed rows no number.
        """
        spec, table, split = self._spec, prepared.table, prepared.split
        validation = table.take(split.validation)
        graph, _ = self.exported(algorithm, model, table.take(split.train), validation)
        rows = validation.take(rows_to_stress(validation))
        metric = spec.checked_metric
        sign = -1.0 if metric.higher_is_better else 1.0

        objective = objective_of(spec.task)

        def loss(told: Predicted) -> float:
            return sign * objective.selection_metrics(rows.label, told)[metric.value]

        answer = GraphModel(graph, self._threads).predicted
        return stress(rows, Stressed(answer, loss, _decisions(spec)), noise, spec.seed)

    def _compared(self, prepared: Prepared, graph: bytes, told: Predicted) -> Comparison | None:
        parent, split = prepared.parent, prepared.split
        if parent is None:
            return None
        beside = compared(parent, prepared.table, split, graph=graph, told=told)
        test = prepared.table.take(split.test)
        return replace(beside, fairness=self._fairness(test, parent.told[split.test]))

    def _fairness(self, rows: Table, told: Predicted) -> tuple[ColumnFairness, ...]:
        spec = self._spec
        decided = Decisions(rows.label, told, spec.threshold)
        return compare_groups(spec.fairness, decided, rows.slices, spec.seed)

    def exported(
        self,
        algorithm: str,
        model: TrainedModel | ShrunkModel,
        fitted: Table,
        validation: Table,
    ) -> tuple[bytes, float | None]:
        """The graph, and its largest difference from the native model where there is one.

        Raises:
            ExportMismatch: It does not compute what the model computes.
        """
        if isinstance(model, ShrunkModel):
            return model.graph, None
        self._recipes[algorithm].teach_export()
        graph = export_graph(model.encoder, model.estimator, fitted, model.scale)
        if model.calibration is not None:
            graph = calibrated_graph(graph, model.calibration.map)
        runtime = GraphModel(graph, self._threads)
        parity = check_parity(
            runtime, model.encoder, model.calibrated, validation, scale=model.scale
        )
        return graph, parity

    def _can_go_on(self, algorithm: str) -> bool:
        return Mode.WARM_START in self._recipes[algorithm].modes


def _decisions(spec: JobSpec) -> Callable[[Predicted], Decided] | None:
    match spec.task:
        case Task.BINARY:
            return binary_decisions(spec.threshold)
        case Task.MULTICLASS:
            return likeliest_class
        case Task.REGRESSION:
            return None


def encoder_record(model: TrainedModel | ShrunkModel) -> EncoderRecord | None:
    """The pretrained encoder that reads a model's text; None where there is none."""
    if model.reader is None:
        return None
    encoder = model.reader.encoder
    return EncoderRecord(encoder.name, encoder.digest, encoder.licence)


def _positive_rate(rows: Table) -> float | None:
    return float(rows.label.mean()) if len(rows.classes) == len(TWO_CLASSES) else None
