"""Trials on the train part, and the winner trained again on train and validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer

from services.trainer.adapters.export.footprint import footprint
from services.trainer.adapters.export.graph import export_graph
from services.trainer.adapters.learning.calibrating import CalibratedClassifier, Unseen
from services.trainer.adapters.learning.crew import Crew
from services.trainer.adapters.learning.encoding import EncodedRows, TextReader, frame, learned
from services.trainer.adapters.learning.native import EncoderState, NativeModel, Tensors
from services.trainer.adapters.learning.parent import Parent
from services.trainer.adapters.learning.private import PrivateFit, planned
from services.trainer.adapters.learning.recipe import (
    Checkpoint,
    FitObserver,
    FitTask,
    Recipe,
    predicted,
)
from services.trainer.core.acceleration import Acceleration
from services.trainer.core.calibration import Calibration, check_rows
from services.trainer.core.cross_validation import Fold, FoldScores, folds_of
from services.trainer.core.failures import DataFault
from services.trainer.core.jobs import Trial
from services.trainer.core.objectives import Predicted, objective_of
from services.trainer.core.parameters import Parameters
from services.trainer.core.parents import Mode
from services.trainer.core.privacy import PrivacySpent
from services.trainer.core.regression import TargetScale
from services.trainer.core.selection import TrialOutcome
from services.trainer.core.spec import JobSpec
from services.trainer.core.splits import Indices, Split
from services.trainer.core.tables import TWO_CLASSES, Labels, Rows, Table


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model with its preprocessing, as its libraries know it.

    Attributes:
        encoder: Raw features into the matrix that `estimator` takes.
        estimator: A scikit-learn classifier, or regressor.
        scale: Of what a regressor has learned; None of classes.
        calibration: Of its scores; None where none is asked for.
        weights: What a later job needs to go on from it; None where its recipe can't.
        privacy: What it and the fits before it have spent; None without privacy.
        reader: Of its text; None where it has none.
    """

    encoder: ColumnTransformer
    estimator: Any  # scikit-learn has no types
    scale: TargetScale | None = None
    calibration: Calibration | None = None
    weights: Tensors | None = None
    privacy: PrivacySpent | None = None
    reader: TextReader | None = None

    @property
    def calibrated(self) -> Any:  # as untyped as the estimator
        """The estimator, with its scores calibrated where they are to be."""
        if self.calibration is None:
            return self.estimator
        return CalibratedClassifier(self.estimator, self.calibration.map)

    def native(self, algorithm: str) -> NativeModel:
        """What a later job of `algorithm`, which made it, needs to go on from it."""
        assert self.weights is not None, f"{algorithm} says that it gives weights"
        reader = self.reader
        texts = {} if reader is None else {reader.feature: reader.encoder.digest}
        return NativeModel(algorithm, self.weights, learned(self.encoder), self.scale, texts)

    def predicted(self, table: Table) -> Predicted:
        """What it says of the rows of `table`, as `recipe.predicted` does."""
        matrix = np.ascontiguousarray(self.encoder.transform(frame(table)), dtype=np.float32)
        return predicted(self.calibrated, matrix, self.scale)


def check_labels(table: Table, split: Split) -> None:
    """That trials can be told apart on `split`.

    Raises:
        DataFault: The target is the same in every row of the train or the validation part, or the
            train part lacks a class.
    """
    for name, rows in (("train", split.train), ("validation", split.validation)):
        if len(np.unique(table.label[rows])) < len(TWO_CLASSES):
            raise DataFault(f"target has one value in every row of the {name} part")
    lacking = table.lacking(split.train)
    if lacking:
        raise DataFault(
            f"the train part has no row with label {', '.join(lacking)}, which a model must learn "
            "from; split by METHOD_STRATIFIED, or bring more rows"
        )


class Workbench:
    """Trains the trials of one job on one split.

    Args:
        spec: The job.
        recipes: Every algorithm that `spec` names.
        table: The snapshot.
        split: Its parts.
        cores: Threads that may be busy.
        parent: The version that it takes over from; None with `Mode.FULL`.
        reader: Of the text; None where the spec has none.
        crew: Computes gradients; None unless the spec has `parallelism`.

    Raises:
        DataFault: See `check_labels`; or there are too few rows for the folds or the calibration.
    """

    def __init__(
        self,
        spec: JobSpec,
        recipes: Mapping[str, Recipe],
        table: Table,
        split: Split,
        *,
        cores: int,
        parent: Parent | None = None,
        reader: TextReader | None = None,
        crew: Crew | None = None,
    ) -> None:
        check_labels(table, split)
        self._spec = spec
        self._recipes = recipes
        self._table = table
        self._split = split
        self._cores = cores
        self._reader = reader
        assert (crew is None) == (spec.parallelism is None), "other shards are other bits"
        self._crew = crew
        self._teacher = parent if spec.mode is Mode.DISTILLATION else None
        self._start = None if parent is None else parent.native
        self._rows = EncodedRows(table, split.train, split.validation, self._state, reader)
        self._folds = folds_of(spec, table, split)
        self._objective = objective_of(spec.task, table.classes)
        self._unseen = [*self._folds, Fold(split.train, split.validation)]
        check_rows(spec.calibration, table.label[_judged(self._unseen)], table.classes)

    def run_trial(
        self, trial: Trial, observer: FitObserver, resume_from: Checkpoint | None
    ) -> TrialOutcome:
        """The trial, trained on the train part and scored on validation.

        Raises:
            NanLoss: It can't be trained with its parameters.
        """
        recipe = self._recipes[trial.algorithm]
        matrices = self._rows.encoded(recipe.encoding)
        watched, fitted_label = self._table.label[self._split.validation], self._rows.fit.label
        scale = self._scale(fitted_label)
        private = self._private_fit(trial.parameters, 0)
        task = FitTask(
            rows=matrices.fit,
            label=self._label(self._split.train, scale),
            watch_rows=matrices.watch,
            watch_label=_learned(watched, scale),
            parameters=trial.parameters if private is None else _with_epochs(trial, private),
            seed=self._spec.seed,
            task=self._spec.task,
            classes=len(self._table.classes),
            scale=scale,
            cores=self._cores,
            observer=observer,
            resume_from=resume_from,
            soft_label=self._soft_label(self._split.train),
            start=self._tensors,
            private=private,
            encoder=None if self._reader is None else self._reader.encoder,
            crew=self._crew,
            acceleration=self._spec.acceleration or Acceleration(),
        )
        fitted = recipe.fit(task)
        assert matrices.watch is not None, "validation rows are watched"
        model = TrainedModel(matrices.encoder, fitted.estimator, scale)
        told = predicted(fitted.estimator, matrices.watch, scale)
        return TrialOutcome(
            trial.index,
            recipe.algorithm,
            {
                **self._objective.score(watched, told).values,
                **self._footprint(recipe, model),
            },
            fitted.refit_parameters,
            gains=self._objective.gains(watched, told, fitted_label, self._spec.seed),
        )

    def _footprint(self, recipe: Recipe, model: TrainedModel) -> Mapping[str, float]:
        """What a trial costs to serve; empty where nothing is asked of that."""
        if self._spec.constraints is None:
            return {}
        recipe.teach_export()
        graph = export_graph(model.encoder, model.estimator, self._rows.fit, model.scale)
        return footprint(graph, self._table.take(self._split.validation))

    def run_fold(self, trial: Trial, number: int, observer: FitObserver) -> FoldScores:
        """The trial, trained and judged on fold `number` of the train part, from 0.

        Its preprocessing is fitted on the rows that the fold learns from. How long it trains was
        settled on the validation part: the rows that judge don't say when to stop.

        Raises:
            NanLoss: It can't be trained with its parameters.
        """
        fold = self._folds[number]
        told = self._judge(trial.algorithm, trial.chosen_parameters, fold, observer)
        scores = self._objective.score(self._table.label[fold.judge], told)
        return FoldScores(len(fold.learn), len(fold.judge), scores.values)

    def unseen(self, winner: TrialOutcome, observer: FitObserver) -> Unseen:
        """What the winner scores of rows that it does not learn from.

        Of the validation part, having learned from the train part, and of each fold, having
        learned from its others. Never of the test part.
        """
        probability: Predicted = np.concatenate(
            [
                self._judge(winner.algorithm, winner.refit_parameters, fold, observer)
                for fold in self._unseen
            ]
        )
        label = self._table.label[_judged(self._unseen)]
        return Unseen(label, probability, self._table.classes)

    def of_train(self, winner: TrialOutcome, observer: FitObserver) -> TrainedModel:
        """The winner, trained on the train part alone with its number of steps settled."""
        return self._fit(self._split.train, winner.algorithm, winner.refit_parameters, observer)

    def retrain(
        self, winner: TrialOutcome, observer: FitObserver, resume_from: Checkpoint | None
    ) -> TrainedModel:
        """The winner, trained on train and validation with its number of steps settled."""
        private = self._private_fit(winner.refit_parameters, 1)
        return self._fit(
            self._split.fit,
            winner.algorithm,
            winner.refit_parameters,
            observer,
            resume_from,
            private,
        )

    def _private_fit(self, parameters: Parameters, number: int) -> PrivateFit | None:
        """How a fit keeps its rows private: the trial's is 0, the retraining's 1.

        Raises:
            DataFault: The budget does not pay for both.
        """
        if self._spec.privacy is None:
            return None
        rows = (len(self._split.train), len(self._split.fit))
        batch_rows, epochs = int(parameters["batch_rows"]), int(parameters["epochs"])
        return planned(self._spec.privacy, rows, batch_rows, epochs)[number]

    def _judge(
        self, algorithm: str, parameters: Parameters, fold: Fold, observer: FitObserver
    ) -> Predicted:
        """What a model of the rows that a fold learns from says of those that judge."""
        model = self._fit(fold.learn, algorithm, parameters, observer)
        return model.predicted(self._table.take(fold.judge))

    def _fit(
        self,
        learn: Indices,
        algorithm: str,
        parameters: Parameters,
        observer: FitObserver,
        resume_from: Checkpoint | None = None,
        private: PrivateFit | None = None,
    ) -> TrainedModel:
        """A model of the rows at `learn`, with its number of steps settled."""
        recipe = self._recipes[algorithm]
        rows = EncodedRows(self._table, learn, None, self._state, self._reader)
        matrices = rows.encoded(recipe.encoding)
        scale = self._scale(rows.fit.label)
        task = FitTask(
            rows=matrices.fit,
            label=self._label(learn, scale),
            watch_rows=None,
            watch_label=None,
            parameters=parameters,
            seed=self._spec.seed,
            task=self._spec.task,
            classes=len(self._table.classes),
            scale=scale,
            cores=self._cores,
            observer=observer,
            resume_from=resume_from,
            soft_label=self._soft_label(learn),
            start=self._tensors,
            private=private,
            encoder=None if self._reader is None else self._reader.encoder,
            crew=self._crew,
            acceleration=self._spec.acceleration or Acceleration(),
        )
        fitted = recipe.fit(task)
        return TrainedModel(
            matrices.encoder,
            fitted.estimator,
            scale,
            weights=fitted.weights,
            privacy=fitted.privacy,
            reader=self._reader,
        )

    def _scale(self, fitted: Labels) -> TargetScale | None:
        """What the rows that are fitted say of the target of a regression, they alone.

        Weights that are trained further have learned the parent's.
        """
        if self._spec.task.meaning.has_classes:
            return None
        return TargetScale.of(fitted) if self._start is None else self._start.scale

    @property
    def _state(self) -> EncoderState | None:
        return None if self._start is None else self._start.encoder

    @property
    def _tensors(self) -> Tensors | None:
        return None if self._start is None else self._start.tensors

    def _label(self, rows: Rows, scale: TargetScale | None) -> Labels:
        """What is learned of `rows`: their labels, or the quantities that the teacher tells."""
        if scale is None or self._teacher is None:
            return _learned(self._table.label[rows], scale)
        return scale.scaled(self._teacher.taught(rows))

    def _soft_label(self, rows: Rows) -> Predicted | None:
        """The probabilities that the teacher tells of `rows`."""
        if self._teacher is None or not self._spec.task.meaning.has_classes:
            return None
        return self._teacher.taught(rows)


def _with_epochs(trial: Trial, private: PrivateFit) -> Parameters:
    """The trial's parameters with the epochs that the budget pays for."""
    return {**trial.parameters, "epochs": float(private.epochs)}


def _learned(label: Labels, scale: TargetScale | None) -> Labels:
    return label if scale is None else scale.scaled(label)


def _judged(folds: Sequence[Fold]) -> Indices:
    return np.concatenate([fold.judge for fold in folds])
