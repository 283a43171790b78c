"""A random forest."""

from __future__ import annotations

from services.trainer.adapters.learning.recipe import (
    Encoding,
    FitTask,
    Fitted,
    Recipe,
    Step,
    watched_metrics,
    weighted_rows,
)
from services.trainer.adapters.learning.thresholds import snap_tree
from services.trainer.core.abilities import TABULAR, Ability
from services.trainer.core.parameters import ParameterRule
from services.trainer.core.parents import Mode
from services.trainer.core.tasks import Task

TREES_PER_STEP = 10


def fit(task: FitTask) -> Fitted:
    """Grow the forest, ten trees a step."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestRegressor if task.task is Task.REGRESSION else RandomForestClassifier
    model = kind(
        n_estimators=0,
        warm_start=True,
        max_depth=task.whole("max_depth"),
        min_samples_leaf=task.copies * task.whole("min_leaf_rows"),
        max_samples=task.parameters["row_share"],
        random_state=task.seed,
    )
    rows, label, weight = weighted_rows(task)
    total = task.whole("trees")
    grown = 0
    while grown < total:
        grown = min(grown + TREES_PER_STEP, total)
        model.n_estimators = grown
        model.n_jobs = task.cores
        model.fit(rows, label, sample_weight=weight)
        # Threads add up the trees' votes in any order, which changes the last bits.
        model.n_jobs = 1
        task.observer.stepped(Step(grown, total, None, watched_metrics(task, model)))
    for tree in model.estimators_:
        snap_tree(tree.tree_)
    return Fitted(model, task.parameters)


RECIPE = Recipe(
    algorithm="random_forest",
    rules={
        "trees": ParameterRule(default=60, minimum=1, maximum=1000, whole=True),
        "max_depth": ParameterRule(default=12, minimum=1, maximum=30, whole=True),
        "min_leaf_rows": ParameterRule(default=20, minimum=1, maximum=100_000, whole=True),
        "row_share": ParameterRule(default=0.4, minimum=0.01, maximum=1.0),
    },
    encoding=Encoding.ORDINAL,
    ability=Ability(TABULAR),
    fit=fit,
    modes=frozenset({Mode.FULL, Mode.DISTILLATION}),
)
