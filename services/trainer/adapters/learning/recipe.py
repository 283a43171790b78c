"""What an algorithm must bring to be a candidate. Imports no learning library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from services.trainer.adapters.learning.crew import Crew
from services.trainer.adapters.learning.native import Tensors
from services.trainer.adapters.learning.pretrained import Encoder
from services.trainer.adapters.learning.private import PrivateFit
from services.trainer.core.abilities import Ability
from services.trainer.core.acceleration import Acceleration
from services.trainer.core.objectives import Predicted, objective_of
from services.trainer.core.parameters import Parameters, Rules
from services.trainer.core.parents import Mode
from services.trainer.core.privacy import PrivacySpent
from services.trainer.core.regression import TargetScale
from services.trainer.core.tables import TWO_CLASSES, Labels
from services.trainer.core.tasks import Task

Matrix = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float32]


class Encoding(Enum):
    """How a recipe wants its features. Missing numbers become the median, always."""

    SCALED_ONE_HOT = "scaled_one_hot"
    """Numbers standardised; one column per category; unseen categories are all zeros."""
    ORDINAL = "ordinal"
    """For trees: numbers as they are, since the runtime's scaler differs by 1e-6 and that flips
    splits; one integer per category; unseen categories are -1."""
    TOKENS = "tokens"
    """The tokens of the only feature, a text, as the encoder it names cuts it: `max_tokens` whole
    numbers, filled up with the encoder's padding."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far a fit is.

    Attributes:
        number: Epochs, rounds or trees done, from 1.
        total: Steps planned; a fit may end earlier.
        loss: Mean log loss in nats on the rows that are fitted, where it is known; of a regression
            the mean squared error, as a part of the target's variance.
        metrics: Metrics on the watched rows, by name.
        epsilon: That was spent so far; None without privacy.
        gradient_norm: Mean over the step's batches of the gradient's L2 norm, with privacy of the
            clipped and noised one; None where there is no gradient.
        learning_rate: Of the step; None where there is none.
        gpu_utilization: Share of the step's time in which the GPU was busy, 0 to 1; None where
            none is used.
        workers: The fewest that computed it together; None where one does it alone.
        gpu_memory_bytes: Most that the fit had allocated on its GPU; None where none is used.
    """

    number: int
    total: int
    loss: float | None
    metrics: Parameters
    epsilon: float | None = None
    gradient_norm: float | None = None
    learning_rate: float | None = None
    gpu_utilization: float | None = None
    workers: int | None = None
    gpu_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a fit needs to go on as if it had never stopped.

    Attributes:
        step: Steps done.
        data: safetensors, with everything that is not a tensor as JSON in its metadata.
    """

    step: int
    data: bytes


class FitObserver(Protocol):
    """Who hears of a fit's progress and keeps its checkpoints.

    A step is told before its checkpoint is saved. Both methods may raise to stop the fit; a
    fit passes that on.
    """

    def stepped(self, step: Step) -> None:
        """Take note of `step`."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep `checkpoint`; the one before it is durable before this returns."""


@dataclass(frozen=True, eq=False)
class FitTask:
    """One model to fit.

    Attributes:
        rows: float32 [rows, columns], encoded as the recipe asks.
        label: int64 [rows], numbers of classes from 0, each of which has rows. Of a regression
            float64 [rows], at mean 0 and deviation 1, or brought to the scale of `start`.
        watch_rows: float32 [watch rows, columns]: learn nothing from them but when to stop.
            None when the number of steps is settled.
        watch_label: [watch rows], as `label`; None with `watch_rows`.
        parameters: Every parameter of the recipe's rules.
        seed: Start of every random number.
        cores: Threads that may be busy.
        observer: Hears of each step.
        resume_from: Where an earlier attempt at the same task stopped.
        soft_label: float32 [rows], strictly between 0 and 1: the probabilities of label 1 that are
            learned instead of `label`, or of each of more classes [rows, classes]. None unless a
            version is distilled; quantities that its teacher tells are in `label`.
        task: What the labels are; one that the recipe declares.
        classes: How many there are; 0 of a regression.
        scale: Brought `label` and `watch_label` of a regression where they are; None of classes.
        start: `Fitted.weights` of the version to go on from; None unless there is one.
        private: How its rows are kept private; None unless the job asks for it, which it can of
            recipes alone that say so.
        encoder: Reads the tokens; None unless the recipe reads text.
        crew: Computes its gradients; None unless the job asks for workers, which it can of
            recipes alone that say so.
        acceleration: How it is trained faster; only of recipes that say so is it anything else
            than the CPU in 32 bits.
    """

    rows: Matrix
    label: Labels
    watch_rows: Matrix | None
    watch_label: Labels | None
    parameters: Parameters
    seed: int
    cores: int
    observer: FitObserver
    resume_from: Checkpoint | None = None
    task: Task = Task.BINARY
    classes: int = 2
    scale: TargetScale | None = None
    soft_label: Weights | None = None
    start: Tensors | None = None
    private: PrivateFit | None = None
    encoder: Encoder | None = None
    crew: Crew | None = None
    acceleration: Acceleration = field(default_factory=Acceleration)

    @property
    def copies(self) -> int:
        """How often `weighted_rows` has each row."""
        return 1 if self.soft_label is None else self.classes

    def whole(self, name: str) -> int:
        """A parameter that is a whole number."""
        return int(self.parameters[name])


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit gives.

    Attributes:
        estimator: A scikit-learn classifier over the encoded matrix that skl2onnx can convert; its
            classes are the task's numbers. Of a regression, a regressor.
        refit_parameters: Parameters with which to fit again on more rows without watching.
        weights: What a later fit needs to go on from this one; None where the recipe can't.
        privacy: What was spent up to its end; None without privacy.
    """

    estimator: Any  # scikit-learn has no types
    refit_parameters: Parameters
    weights: Tensors | None = None
    privacy: PrivacySpent | None = None


def nothing_to_teach() -> None:
    """For estimators that skl2onnx can convert as it is."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """An algorithm that jobs can name.

    Attributes:
        algorithm: Its name in a spec, and that of its entry point.
        rules: The parameters it takes.
        encoding: How it wants its features.
        fit: Fits one model; deterministic given the task. Raises `NanLoss`.
        modes: What jobs may use it for. `Mode.DISTILLATION` asks `fit` to learn `soft_label`,
            `Mode.WARM_START` and `Mode.INCREMENTAL` to give `weights` and to go on from `start`.
        teach_export: Registers converters that skl2onnx lacks for its estimators; called before
            each export, so again must be harmless.
        ability: What it can be trained for; two classes where it says nothing.
    """

    algorithm: str
    rules: Rules
    encoding: Encoding
    fit: Callable[[FitTask], Fitted]
    teach_export: Callable[[], None] = nothing_to_teach
    modes: frozenset[Mode] = frozenset({Mode.FULL})
    ability: Ability = field(default_factory=Ability)


def predicted(estimator: Any, rows: Matrix, scale: TargetScale | None = None) -> Predicted:
    """What `estimator` says of encoded rows.

    Args:
        estimator: A classifier; with `scale` a regressor.
        rows: float32 [rows, columns].
        scale: Of the target of a regression.

    Returns:
        Float [rows], the probability of label 1 or a quantity in the target's unit, or
        [rows, classes] where there are more than two.
    """
    if scale is not None:
        return scale.restored(estimator.predict(rows))
    probabilities: Predicted = estimator.predict_proba(rows)
    return probabilities[:, 1] if probabilities.shape[1] == len(TWO_CLASSES) else probabilities


def fitted_loss(task: FitTask, estimator: Any) -> float:
    """The `Step.loss` of `estimator` on the rows that were fitted."""
    rows, label, weight = weighted_rows(task)
    told = predicted(estimator, rows) if task.scale is None else estimator.predict(rows)
    return float(np.average(objective_of(task.task).losses(label, told), weights=weight))


def watched_metrics(task: FitTask, estimator: Any) -> dict[str, float]:
    """What `estimator` scores on the watched rows; empty when none are."""
    if task.watch_rows is None or task.watch_label is None:
        return {}
    told = predicted(estimator, task.watch_rows, task.scale)
    return watched_scores(task, task.watch_label, told)


def watched_scores(task: FitTask, label: Labels, told: Predicted) -> dict[str, float]:
    """The metrics of what is told of the watched rows, as `predicted` tells it.

    Args:
        task: What the rows are of.
        label: [rows], as the fit learns them.
        told: [rows, ...].
    """
    truth = label if task.scale is None else task.scale.restored(label)
    return objective_of(task.task).selection_metrics(truth, told)


def weighted_rows(task: FitTask) -> tuple[Matrix, Labels, Weights | None]:
    """Rows, labels and weights of `task` for an algorithm that learns labels.

    A row with a soft label comes once for each class, weighted by its probability: the weighted
    log loss is the cross-entropy with the soft label (Hinton et al., Distilling the Knowledge in a
    Neural Network, 2015, at temperature 1).
    """
    soft = task.soft_label
    if soft is None:
        return task.rows, task.label, None
    weights = np.column_stack([1 - soft, soft]) if soft.ndim == 1 else soft
    count, classes = weights.shape
    label = np.repeat(np.arange(classes), count)
    return np.tile(task.rows, (classes, 1)), label, weights.T.ravel()
