"""The same fit makes the same graph, byte for byte, in every process."""

from __future__ import annotations

import os
import subprocess
import sys

from services.trainer.adapters.export.bundle import sha256
from services.trainer.adapters.export.graph import export_graph
from services.trainer.adapters.learning.trials import Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.parameters import completed
from services.trainer.core.partition import parted
from services.trainer.core.selection import TrialOutcome
from tests.support.class_values import class_spec, class_table
from tests.support.fits import Recorder

ALGORITHMS = ("decision_tree", "mlp")
"""One whose graph needs operators of machine learning, one that does without."""


def digests() -> str:
    """Of each algorithm's graph, a line each."""
    recipes, data, lines = load_recipes(), class_table(300), []
    for algorithm in ALGORITHMS:
        job, recipe = class_spec(algorithm), recipes[algorithm]
        bench = Workbench(job, recipes, data, parted(job, data), cores=1)
        winner = TrialOutcome(0, algorithm, {}, completed({}, recipe.rules))
        model = bench.retrain(winner, Recorder(), None)
        recipe.teach_export()
        lines.append(f"{algorithm} {sha256(export_graph(model.encoder, model.estimator, data))}")
    return "\n".join(lines)


def printed(seed: str) -> subprocess.Popen[str]:
    """`digests` in a process that hashes strings by `seed`."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import digests; print(digests())"],
        env={**os.environ, "PYTHONHASHSEED": seed},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_graphs_do_not_depend_on_the_hashes_of_a_process() -> None:
    with printed("0") as one, printed("1") as other:
        told = [each.communicate()[0].split() for each in (one, other)]
    assert told[0] == told[1]
    assert told[0][::2] == list(ALGORITHMS)
