"""One decision tree."""

from __future__ import annotations

from services.trainer.adapters.learning.recipe import (
    Encoding,
    FitTask,
    Fitted,
    Recipe,
    Step,
    fitted_loss,
    watched_metrics,
    weighted_rows,
)
from services.trainer.adapters.learning.thresholds import snap_tree
from services.trainer.core.abilities import TABULAR, Ability
from services.trainer.core.parameters import ParameterRule
from services.trainer.core.parents import Mode
from services.trainer.core.tasks import Task


def fit(task: FitTask) -> Fitted:
    """Grow the tree; one step, reported when it is over."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeRegressor if task.task is Task.REGRESSION else DecisionTreeClassifier
    model = kind(
        max_depth=task.whole("max_depth"),
        min_samples_leaf=task.copies * task.whole("min_leaf_rows"),
        random_state=task.seed,
    )
    rows, label, weight = weighted_rows(task)
    model.fit(rows, label, sample_weight=weight)
    snap_tree(model.tree_)
    loss = fitted_loss(task, model)
    task.observer.stepped(Step(1, 1, loss, watched_metrics(task, model)))
    return Fitted(model, task.parameters)


RECIPE = Recipe(
    algorithm="decision_tree",
    rules={
        "max_depth": ParameterRule(default=8, minimum=1, maximum=30, whole=True),
        "min_leaf_rows": ParameterRule(default=100, minimum=1, maximum=100_000, whole=True),
    },
    encoding=Encoding.ORDINAL,
    ability=Ability(TABULAR),
    fit=fit,
    modes=frozenset({Mode.FULL, Mode.DISTILLATION}),
)
