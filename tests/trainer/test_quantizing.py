"""Graphs whose weights become integers, and those that have none to become it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from services.trainer.adapters.export.calibrated import calibrated_graph, uncalibrated_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.parent import Parent
from services.trainer.adapters.learning.shrinking import ShrinkingBench
from services.trainer.adapters.quantizers import QUANTIZERS, quantized
from services.trainer.core.calibration_maps import CalibrationMap, PiecewiseMap, SigmoidMap
from services.trainer.core.failures import UnusableParent
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.parents import Mode
from services.trainer.core.splits import SplitShares, split_by_time
from services.trainer.core.tables import Table
from tests.support.fits import Recorder
from tests.support.graphs import exported
from tests.support.trainer_values import spec, table

ALGORITHMS = sorted(QUANTIZERS)


@pytest.fixture(scope="module")
def data() -> Table:
    """Rows to learn and to calibrate on."""
    return table()


@pytest.fixture(scope="module")
def network(data: Table) -> bytes:
    """The graph of a network."""
    return exported(data, "mlp", hidden_units=64, epochs=4)


def made(graph: bytes, data: Table, algorithm: str) -> bytes:
    return quantized(graph, data, algorithm, completed({}, QUANTIZERS[algorithm].rules))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_weights_become_integers_and_answers_stay_near(
    network: bytes, data: Table, algorithm: str
) -> None:
    small = made(network, data, algorithm)
    weights = onnx.load_from_string(small).graph.initializer
    assert (
        sum(found.data_type == onnx.TensorProto.INT8 and len(found.dims) == 2 for found in weights)
        == 3
    )
    assert len(small) < 0.9 * len(network)
    unseen = table(500, seed=9)
    before, after = (GraphModel(graph, 1).predicted(unseen) for graph in (network, small))
    assert 0 < np.abs(before - after).mean() < 0.01
    assert np.mean((before > 0.5) == (after > 0.5)) > 0.95


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    "calibration",
    [SigmoidMap(0.4, -0.1), PiecewiseMap((0.25, 0.5, 0.75), (0.1, 0.3, 0.9))],
    ids=["sigmoid", "isotonic"],
)
def test_a_calibration_stays_as_it_is(
    network: bytes, data: Table, algorithm: str, calibration: CalibrationMap
) -> None:
    small = made(calibrated_graph(network, calibration), data, algorithm)
    bare = uncalibrated_graph(small)
    assert bare is not None
    unseen = table(500, seed=9)
    scores = GraphModel(bare, 1).predicted(unseen)
    assert GraphModel(small, 1).predicted(unseen) == pytest.approx(calibration.of(scores), abs=1e-5)
    assert np.array_equal(scores, GraphModel(made(network, data, algorithm), 1).predicted(unseen))


def test_ranges_learned_beforehand_answer_a_row_the_same_in_any_batch(
    network: bytes, data: Table
) -> None:
    model = GraphModel(made(network, data, "int8_static"), 1)
    rows = data.take(np.arange(40))
    alone = np.concatenate([model.predicted(rows.take(np.array([row]))) for row in range(40)])
    assert np.array_equal(alone, model.predicted(rows))


def test_another_process_makes_the_same_bytes(network: bytes, data: Table, tmp_path: Path) -> None:
    (tmp_path / "network").write_bytes(network)
    code = (
        "import sys, pathlib\n"
        "from services.trainer.adapters.quantizers import QUANTIZERS, quantized\n"
        "from services.trainer.core.parameters import completed\n"
        "from tests.support.trainer_values import table\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for name, found in QUANTIZERS.items():\n"
        "    graph = (folder / 'network').read_bytes()\n"
        "    made = quantized(graph, table(), name, completed({}, found.rules))\n"
        "    (folder / name).write_bytes(made)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
    for algorithm in ALGORITHMS:
        assert (tmp_path / algorithm).read_bytes() == made(network, data, algorithm)


@pytest.mark.parametrize("recipe", ["lightgbm", "logistic_regression"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_graph_without_matrix_products_is_refused_by_what_it_has(
    data: Table, algorithm: str, recipe: str
) -> None:
    with pytest.raises(UnusableParent, match=r"TreeEnsembleClassifier|LinearClassifier"):
        made(exported(data, recipe), data, algorithm)


def test_a_trial_is_judged_and_won_by_the_graph_that_is_registered(
    network: bytes, data: Table
) -> None:
    job = spec("int8_static", mode=Mode.QUANTIZATION, parent_version="v")
    split = split_by_time(data.event_time_us, SplitShares())
    parent = Parent("v", "sha256:0", network, b"{}", np.zeros(len(data), np.float32), data)
    bench = ShrinkingBench(job, data, split, parent=parent)
    parameters = completed({}, QUANTIZERS["int8_static"].rules)
    outcome = bench.run_trial(Trial("only", 0, "int8_static", parameters), Recorder(), None)
    assert 0.7 < outcome.metrics["auc"] <= 1
    assert outcome.gains["auc"].value == pytest.approx(outcome.metrics["auc"] - 0.5)
    model = bench.retrain(outcome, Recorder(), None)
    assert model.graph == quantized(network, data.take(split.train), "int8_static", parameters)


def test_features_that_the_parent_does_not_take_are_told(network: bytes, data: Table) -> None:
    split = split_by_time(data.event_time_us, SplitShares())
    fewer = replace(data, numeric={"wind": data.numeric["wind"]})
    parent = Parent("v", "sha256:0", network, b"{}", np.zeros(len(data), np.float32), data)
    with pytest.raises(UnusableParent, match=r"features.*distance \(numeric\)"):
        ShrinkingBench(spec("int8_dynamic", mode=Mode.QUANTIZATION), fewer, split, parent=parent)
