"""Networks of classes and quantities, and encoders of texts, whose weights become integers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from services.trainer.adapters.export.graph import export_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.encoding import TextReader
from services.trainer.adapters.learning.parent import Parent
from services.trainer.adapters.learning.shrinking import ShrinkingBench
from services.trainer.adapters.learning.trials import Workbench
from services.trainer.adapters.quantizers import QUANTIZERS, quantized
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.failures import UnusableParent
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.parents import Mode, fidelity
from services.trainer.core.partition import parted
from services.trainer.core.selection import TrialOutcome
from services.trainer.core.spec import JobSpec
from services.trainer.core.tables import Table
from services.trainer.core.tasks import Task
from tests.support.class_values import class_spec, class_table
from tests.support.fits import Recorder
from tests.support.quantity_values import quantity_spec, quantity_table
from tests.support.text_values import reader, small_encoder, text_spec, text_table

RECIPES = load_recipes()
NETWORK = {"hidden_units": 64.0, "epochs": 8.0, "batch_rows": 64.0, "learning_rate": 0.01}
TASKS = {
    "classes": (class_spec("mlp"), class_table),
    "quantities": (quantity_spec("mlp"), quantity_table),
}


def graph_of(
    job: JobSpec, data: Table, parameters: dict[str, float], text: TextReader | None = None
) -> bytes:
    """The graph of the only candidate, trained."""
    (candidate,) = job.candidates
    recipe = RECIPES[candidate.algorithm]
    bench = Workbench(job, RECIPES, data, parted(job, data), cores=1, reader=text)
    winner = TrialOutcome(0, candidate.algorithm, {}, completed(parameters, recipe.rules))
    model = bench.retrain(winner, Recorder(), None)
    recipe.teach_export()
    return export_graph(model.encoder, model.estimator, data, model.scale)


def shrunk(
    job: JobSpec, data: Table, graph: bytes, algorithm: str, text: TextReader | None = None
) -> tuple[TrialOutcome, bytes]:
    """What a job makes of a version with this graph."""
    told = GraphModel(graph, 1).predicted(data)
    parent = Parent("v", "", graph, b"{}", told, data, None, job.task, data.classes)
    bench = ShrinkingBench(job, data, parted(job, data), parent=parent, reader=text)
    parameters = completed({}, QUANTIZERS[algorithm].rules)
    outcome = bench.run_trial(Trial("only", 0, algorithm, parameters), Recorder(), None)
    model = bench.retrain(outcome, Recorder(), None)
    assert model.reader is text
    return outcome, model.graph


def integers(graph: bytes) -> list[list[int]]:
    """Shapes of the matrices of 8-bit integers."""
    kinds = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    constants = onnx.load_from_string(graph).graph.initializer
    return [list(each.dims) for each in constants if each.data_type in kinds and len(each.dims) > 1]


@pytest.mark.parametrize("algorithm", sorted(QUANTIZERS))
@pytest.mark.parametrize("kind", TASKS)
def test_networks_of_classes_and_quantities_become_integers_and_answers_stay_near(
    kind: str, algorithm: str
) -> None:
    job, rows = TASKS[kind]
    data = rows(900)
    graph = graph_of(job, data, NETWORK)
    outcome, small = shrunk(job, data, graph, algorithm)
    assert len(integers(small)) == 3
    assert len(small) < 0.9 * len(graph)
    unseen = rows(500, seed=9)
    before, after = (GraphModel(each, 1).predicted(unseen) for each in (graph, small))
    found = fidelity(after, before, job.task)
    unit = float(np.std(data.label)) if job.task is Task.REGRESSION else 1.0
    assert 0 < found.mean_difference < 0.05 * unit
    assert found.agreement is None or found.agreement > 0.95
    assert outcome.gains[job.task.meaning.gains[0]].value > 0.05
    assert (small, outcome) == shrunk(job, data, graph, algorithm)[::-1]


def test_quantities_of_a_linear_regression_have_no_network_to_quantise() -> None:
    job = quantity_spec("linear_regression")
    data = quantity_table(600)
    graph = graph_of(job, data, {})
    with pytest.raises(UnusableParent, match="nothing to quantise"):
        quantized(graph, data, "int8_dynamic", {"per_channel": 1.0})


def test_an_encoder_becomes_integers_with_its_tokens_and_reads_as_before(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    small_reader = reader(small_encoder(tmp_path_factory.mktemp("encoders") / "small"))
    job, data = text_spec("text_frozen", mode=Mode.FULL), text_table(160)
    graph = graph_of(job, data, {"epochs": 3.0}, small_reader)
    _, small = shrunk(job, data, graph, "int8_dynamic", small_reader)
    shape = small_reader.encoder.shape
    # Six products of each layer, the tokens, and the layer that tells the classes.
    assert len(integers(small)) == 6 * shape.layers + 2
    assert [shape.tokens, shape.width] in integers(small)
    odd = data.replaced({"review": np.resize(["", "a b", "Épée 日本", "x" * 300], len(data))})
    for rows in (data, odd.replaced({"review": odd.text["review"].astype(object)})):
        before, after = (GraphModel(each, 1).predicted(rows) for each in (graph, small))
        assert 0 < np.abs(before - after).mean() < 0.1
    told = GraphModel(small, 1).predicted(data)
    assert np.corrcoef(told, GraphModel(graph, 1).predicted(data))[0, 1] > 0.9
