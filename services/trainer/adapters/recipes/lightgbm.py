"""Gradient boosted trees, by LightGBM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from services.trainer.adapters.learning.native import Tensors
from services.trainer.adapters.learning.recipe import (
    Encoding,
    FitTask,
    Fitted,
    Recipe,
    Step,
    watched_scores,
    weighted_rows,
)
from services.trainer.adapters.learning.thresholds import snap_booster
from services.trainer.core import multiclass
from services.trainer.core.abilities import TABULAR, Ability
from services.trainer.core.parameters import ParameterRule
from services.trainer.core.parents import Mode
from services.trainer.core.tasks import Task

ROUNDS_PER_STEP = 10
_NAMES = {"binary_logloss": "log_loss", "multi_logloss": "log_loss"}


def fit(task: FitTask) -> Fitted:
    """Boost until the watched loss stops falling, or for all rounds when none is watched."""
    import lightgbm

    quantities = task.task is Task.REGRESSION
    model = (lightgbm.LGBMRegressor if quantities else lightgbm.LGBMClassifier)(
        n_estimators=task.whole("rounds"),
        learning_rate=task.parameters["learning_rate"],
        num_leaves=task.whole("leaves"),
        min_child_samples=task.copies * task.whole("min_leaf_rows"),
        subsample=task.parameters["row_share"],
        subsample_freq=1,
        colsample_bytree=task.parameters["column_share"],
        reg_lambda=task.parameters["l2"],
        random_state=task.seed,
        n_jobs=task.cores,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
    )
    if quantities:
        # Else its own metric, of what is learned, comes before those of the target.
        model.set_params(metric="None")
    callbacks: list[Any] = [_reporter(task)]  # Any: LightGBM has no types
    if task.watch_rows is not None:
        patience = task.whole("patience_rounds")
        callbacks.append(lightgbm.early_stopping(patience, first_metric_only=True, verbose=False))
    start = None if task.start is None else _booster(task.start)
    before = 0 if start is None else start.current_iteration()
    rows, label, weight = weighted_rows(task)
    model.fit(
        rows,
        label,
        sample_weight=weight,
        eval_X=task.watch_rows,
        eval_y=task.watch_label,
        eval_metric=_metrics(task),
        callbacks=callbacks,
        init_model=start,
    )
    rounds = model.best_iteration_ or before + task.whole("rounds")
    snap_booster(model, rounds)
    text = model.booster_.model_to_string()
    weights = {"model": np.frombuffer(text.encode(), dtype=np.uint8)}
    return Fitted(model, {**task.parameters, "rounds": float(rounds - before)}, weights)


def _booster(start: Tensors) -> Any:  # LightGBM has no types
    import lightgbm

    return lightgbm.Booster(model_str=start["model"].tobytes().decode())


def _metrics(task: FitTask) -> list[Any]:
    """The first one says when to stop."""
    match task.task:
        case Task.BINARY:
            return ["binary_logloss", "auc"]
        case Task.MULTICLASS:
            return ["multi_logloss", _by_class]
        case Task.REGRESSION:
            return [_of_quantities(task)]


def _by_class(label: Any, probabilities: Any) -> list[tuple[str, float, bool]]:
    measured = multiclass.selection_metrics(label.astype(np.int64), probabilities)
    return [(name, measured[name], True) for name in ("macro_f1", "balanced_accuracy")]


def _of_quantities(task: FitTask) -> Callable[[Any, Any], list[tuple[str, float, bool]]]:
    # A function, since LightGBM copies all else that it is given, to the depths of the observer.
    def measure(label: Any, learned: Any) -> list[tuple[str, float, bool]]:
        assert task.scale is not None, "quantities are scaled"
        found = watched_scores(task, label, task.scale.restored(learned))
        return [(each.value, found[each], each.higher_is_better) for each in metrics]

    metrics = task.task.meaning.metrics
    return measure


def _reporter(task: FitTask) -> Any:
    def report(environment: Any) -> None:
        # A booster that is trained further counts the rounds that it has on.
        number = environment.iteration - environment.begin_iteration + 1
        total = environment.end_iteration - environment.begin_iteration
        if number % ROUNDS_PER_STEP == 0 or number == total:
            results = environment.evaluation_result_list or []
            metrics = {_NAMES.get(result[1], result[1]): float(result[2]) for result in results}
            task.observer.stepped(Step(number, total, None, metrics))

    return report


def teach_export() -> None:
    """Teach skl2onnx to convert LightGBM's classifier and regressor."""
    from lightgbm import LGBMClassifier, LGBMRegressor
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    update_registered_converter(
        LGBMClassifier,
        "LightGbmLGBMClassifier",
        calculate_linear_classifier_output_shapes,
        convert_lightgbm,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    update_registered_converter(
        LGBMRegressor,
        "LightGbmLGBMRegressor",
        calculate_linear_regressor_output_shapes,
        convert_lightgbm,
    )


RECIPE = Recipe(
    algorithm="lightgbm",
    rules={
        "rounds": ParameterRule(default=200, minimum=1, maximum=5000, whole=True),
        "learning_rate": ParameterRule(default=0.06, minimum=1e-4, maximum=1.0),
        "leaves": ParameterRule(default=31, minimum=2, maximum=1024, whole=True),
        "min_leaf_rows": ParameterRule(default=100, minimum=1, maximum=100_000, whole=True),
        "row_share": ParameterRule(default=0.8, minimum=0.01, maximum=1.0),
        "column_share": ParameterRule(default=0.8, minimum=0.01, maximum=1.0),
        "l2": ParameterRule(default=1.0, minimum=0.0, maximum=1e6),
        "patience_rounds": ParameterRule(default=40, minimum=1, maximum=5000, whole=True),
    },
    encoding=Encoding.ORDINAL,
    ability=Ability(TABULAR),
    fit=fit,
    teach_export=teach_export,
    modes=frozenset({Mode.FULL, Mode.DISTILLATION, Mode.WARM_START, Mode.INCREMENTAL}),
)
