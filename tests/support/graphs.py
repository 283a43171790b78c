"""Graphs of models that were fitted for a test."""

from __future__ import annotations

import numpy as np

from services.trainer.adapters.export.graph import export_graph
from services.trainer.adapters.learning.encoding import EncodedRows
from services.trainer.adapters.learning.recipe import FitTask
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.parameters import completed
from services.trainer.core.tables import Table
from tests.support.fits import Recorder

RECIPES = load_recipes()


def exported(data: Table, algorithm: str, **parameters: float) -> bytes:
    """The graph of a model that was fitted on all of `data`."""
    recipe = RECIPES[algorithm]
    rows = EncodedRows(data, np.arange(len(data)), None)
    matrices = rows.encoded(recipe.encoding)
    task = FitTask(
        rows=matrices.fit,
        label=rows.fit.label,
        watch_rows=None,
        watch_label=None,
        parameters=completed(parameters, recipe.rules),
        seed=3,
        cores=1,
        observer=Recorder(),
    )
    recipe.teach_export()
    return export_graph(matrices.encoder, recipe.fit(task).estimator, data)
