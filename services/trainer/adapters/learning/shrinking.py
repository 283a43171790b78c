"""The parent of a job, quantised or pruned in the ways that its trials ask for."""

from __future__ import annotations

from dataclasses import dataclass

from services.trainer.adapters.export.footprint import footprint
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.encoding import TextReader
from services.trainer.adapters.learning.parent import Parent
from services.trainer.adapters.learning.recipe import Checkpoint, FitObserver, Step
from services.trainer.adapters.learning.trials import check_labels
from services.trainer.adapters.pruners import PRUNERS, pruned
from services.trainer.adapters.quantizers import quantized
from services.trainer.core.calibration import Calibration
from services.trainer.core.constraints import SIZE
from services.trainer.core.cross_validation import FoldScores, folds_of
from services.trainer.core.failures import UnusableParent
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import Parameters
from services.trainer.core.parents import Mode
from services.trainer.core.selection import TrialOutcome
from services.trainer.core.spec import JobSpec
from services.trainer.core.splits import Split
from services.trainer.core.tables import Rows, Table


@dataclass(frozen=True, eq=False)
class ShrunkModel:
    """A graph with integers for weights, or with fewer of them.

    Attributes:
        graph: ONNX.
        calibration: None; that of its parent is in the graph, and stays.
        reader: Of its text; None where it has none.
    """

    graph: bytes
    calibration: Calibration | None = None
    reader: TextReader | None = None


class ShrinkingBench:
    """Makes the parent of one job smaller in the ways that its trials ask for.

    Args:
        spec: The job.
        table: The snapshot.
        split: Its parts.
        parent: What is made smaller.
        reader: Of the text; None where the spec has none.

    Raises:
        DataFault: The train or the validation part holds a single class, or there are too few
            rows for the folds.
        UnusableParent: It takes other features than the job has.
    """

    def __init__(
        self,
        spec: JobSpec,
        table: Table,
        split: Split,
        *,
        parent: Parent,
        reader: TextReader | None = None,
    ) -> None:
        check_labels(table, split)
        mine, theirs = _inputs(table), _inputs(parent.sample)
        if mine != theirs:
            raise UnusableParent(
                f"features are {', '.join(mine)}; a smaller version takes those of its parent: "
                f"{', '.join(theirs)}"
            )
        self._spec = spec
        self._table = table
        self._split = split
        self._parent = parent
        self._reader = reader
        self._objective = parent.objective
        self._folds = folds_of(spec, table, split)

    def run_trial(
        self,
        trial: Trial,
        observer: FitObserver,
        resume_from: Checkpoint | None,  # noqa: ARG002 - nothing is left to go on with
    ) -> TrialOutcome:
        """The parent, made smaller with the train part at hand and scored on validation.

        Raises:
            UnusableParent: There is nothing in it that this could make smaller.
        """
        graph = self._smaller(trial.algorithm, trial.parameters, self._split.train)
        watched = self._table.take(self._split.validation)
        told = GraphModel(graph, 1).predicted(watched)
        observer.stepped(Step(1, 1, None, self._objective.selection_metrics(watched.label, told)))
        costs = {SIZE: float(len(graph))} if self._spec.mode is Mode.PRUNING else {}
        if self._spec.constraints is not None:
            costs = footprint(graph, watched)
        fitted = self._table.label[self._split.train]
        return TrialOutcome(
            trial.index,
            trial.algorithm,
            {**self._objective.score(watched.label, told).values, **costs},
            trial.parameters,
            gains=self._objective.gains(watched.label, told, fitted, self._spec.seed),
        )

    def run_fold(self, trial: Trial, number: int, observer: FitObserver) -> FoldScores:
        """The parent, made smaller by what fold `number` learns from, judged on its others."""
        fold = self._folds[number]
        graph = self._smaller(trial.algorithm, trial.chosen_parameters, fold.learn)
        judged = self._table.take(fold.judge)
        scores = self._objective.score(judged.label, GraphModel(graph, 1).predicted(judged))
        observer.stepped(Step(1, 1, None, {}))
        return FoldScores(len(fold.learn), len(fold.judge), scores.values)

    def retrain(
        self,
        winner: TrialOutcome,
        observer: FitObserver,
        resume_from: Checkpoint | None,  # noqa: ARG002 - nothing is left to go on with
    ) -> ShrunkModel:
        """The graph that won: what the validation part has judged is what is registered."""
        graph = self._smaller(winner.algorithm, winner.refit_parameters, self._split.train)
        observer.stepped(Step(1, 1, None, {}))
        return ShrunkModel(graph, reader=self._reader)

    def of_train(
        self,
        winner: TrialOutcome,
        observer: FitObserver,  # noqa: ARG002 - there is nothing to watch
    ) -> ShrunkModel:
        """The graph that won, which learned from the train part at most."""
        graph = self._smaller(winner.algorithm, winner.refit_parameters, self._split.train)
        return ShrunkModel(graph)

    def _smaller(self, algorithm: str, parameters: Parameters, rows: Rows) -> bytes:
        make = pruned if algorithm in PRUNERS else quantized
        return make(self._parent.graph, self._table.take(rows), algorithm, parameters)


def _inputs(table: Table) -> list[str]:
    """The features with their kinds, whatever their order."""
    kinds = {"numeric": table.numeric, "categorical": table.categorical, "text": table.text}
    return sorted(f"{name} ({kind})" for kind, columns in kinds.items() for name in columns)
