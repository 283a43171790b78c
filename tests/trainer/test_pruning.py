"""Graphs that whole trees, branches and hidden units are left out of."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from services.common import scoring
from services.trainer.adapters.export.calibrated import calibrated_graph, uncalibrated_graph
from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.adapters.learning.parent import Parent
from services.trainer.adapters.learning.shrinking import ShrinkingBench
from services.trainer.adapters.pruners import PRUNERS, pruned
from services.trainer.core.calibration import SigmoidMap
from services.trainer.core.constraints import P99, SIZE, Constraints
from services.trainer.core.failures import UnusableParent
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.parents import Mode
from services.trainer.core.splits import SplitShares, split_by_time
from services.trainer.core.tables import Table
from tests.support.fits import Recorder
from tests.support.graphs import exported
from tests.support.trainer_values import spec, table

DATA, UNSEEN = table(), table(500, seed=9)
FOREST = {"trees": 20, "max_depth": 6, "min_leaf_rows": 5}
BOOSTED = {"rounds": 40, "min_leaf_rows": 10, "leaves": 15}


@pytest.fixture(scope="module")
def graphs() -> dict[str, bytes]:
    """Of a model of each kind."""
    return {
        "random_forest": exported(DATA, "random_forest", **FOREST),
        "lightgbm": exported(DATA, "lightgbm", **BOOSTED),
        "decision_tree": exported(DATA, "decision_tree", max_depth=6, min_leaf_rows=5),
        "mlp": exported(DATA, "mlp", hidden_units=64, epochs=8),
        "logistic_regression": exported(DATA, "logistic_regression"),
    }


def made(graph: bytes, algorithm: str, **parameters: float) -> bytes:
    return pruned(graph, DATA, algorithm, completed(parameters, PRUNERS[algorithm].rules))


def answers(graph: bytes, rows: Table = UNSEEN) -> np.ndarray:
    return GraphModel(graph, 1).predicted(rows)


def trees_of(graph: bytes) -> int:
    node = next(
        each
        for each in onnx.load_from_string(graph).graph.node
        if each.op_type == "TreeEnsembleClassifier"
    )
    found = next(each for each in node.attribute if each.name == "nodes_treeids")
    return len(set(found.ints))


def loss(graph: bytes) -> float:
    return scoring.log_loss(UNSEEN.label, answers(graph))


@pytest.mark.parametrize("kind", ["random_forest", "lightgbm"])
def test_fewer_trees_are_a_smaller_graph_that_answers_nearly_as_well(
    graphs: dict[str, bytes], kind: str
) -> None:
    whole = graphs[kind]
    half = made(whole, "fewer_trees", share=0.5)
    assert trees_of(half) == trees_of(whole) // 2
    assert len(half) < 0.7 * len(whole)
    assert loss(half) < loss(whole) + 0.05
    assert np.corrcoef(answers(half), answers(whole))[0, 1] > 0.95
    onnx.checker.check_model(onnx.load_from_string(half))


@pytest.mark.parametrize("kind", ["random_forest", "lightgbm"])
def test_all_trees_are_the_model_as_it_was(graphs: dict[str, bytes], kind: str) -> None:
    same = made(graphs[kind], "fewer_trees", share=1.0)
    assert np.array_equal(answers(same), answers(graphs[kind]))


def test_half_of_boosting_is_boosting_of_half_the_rounds() -> None:
    short = exported(DATA, "lightgbm", **{**BOOSTED, "rounds": 20})
    whole = exported(DATA, "lightgbm", **BOOSTED)
    assert answers(made(whole, "fewer_trees", share=0.5)) == pytest.approx(answers(short), abs=1e-5)


def test_half_of_a_forest_is_the_mean_of_those_trees() -> None:
    short = exported(DATA, "random_forest", **{**FOREST, "trees": 10})
    whole = exported(DATA, "random_forest", **FOREST)
    assert answers(made(whole, "fewer_trees", share=0.5)) == pytest.approx(answers(short), abs=1e-5)


@pytest.mark.parametrize("kind", ["random_forest", "lightgbm", "decision_tree"])
def test_shallower_trees_are_smaller_and_say_the_mean_of_what_was_below(
    graphs: dict[str, bytes], kind: str
) -> None:
    whole = graphs[kind]
    low, lower = (made(whole, "shallower_trees", max_depth=depth) for depth in (3, 1))
    assert len(lower) < len(low) < len(whole)
    assert trees_of(low) == trees_of(whole)
    assert loss(low) < loss(whole) + 0.1
    assert len(np.unique(answers(low).round(7))) < len(np.unique(answers(whole).round(7)))
    if kind != "lightgbm":  # boosting adds up log odds, of which no mean is kept
        assert answers(low, DATA).mean() == pytest.approx(answers(whole, DATA).mean(), abs=1e-3)
    onnx.checker.check_model(onnx.load_from_string(low))


def test_trees_that_are_low_enough_are_told(graphs: dict[str, bytes]) -> None:
    with pytest.raises(UnusableParent, match=r"trees of depth 6: none above 6"):
        made(graphs["decision_tree"], "shallower_trees", max_depth=6)
    with pytest.raises(UnusableParent, match="a single tree; shallower_trees"):
        made(graphs["decision_tree"], "fewer_trees")


@pytest.mark.parametrize("refit", [0, 1])
def test_fewer_units_are_smaller_matrices_that_answer_nearly_the_same(
    graphs: dict[str, bytes], refit: int
) -> None:
    whole = graphs["mlp"]
    half = made(whole, "fewer_units", share=0.5, refit=refit)
    shapes = [
        tuple(each.dims)
        for each in onnx.load_from_string(half).graph.initializer
        if len(each.dims) == 2 and min(each.dims) > 0 and each.data_type == onnx.TensorProto.FLOAT
    ]
    assert {(32, 16), (16, 1)} <= set(shapes)
    assert len(half) < 0.7 * len(whole)
    assert np.abs(answers(half) - answers(whole)).mean() < 0.05
    onnx.checker.check_model(onnx.load_from_string(half))


def test_weights_that_are_fitted_anew_stay_nearer_to_the_parent(graphs: dict[str, bytes]) -> None:
    whole = graphs["mlp"]
    apart = {
        refit: np.abs(
            answers(made(whole, "fewer_units", share=0.2, refit=refit)) - answers(whole)
        ).mean()
        for refit in (0, 1)
    }
    assert apart[1] < apart[0]


def test_all_units_answer_as_before(graphs: dict[str, bytes]) -> None:
    same = made(graphs["mlp"], "fewer_units", share=1.0, refit=0)
    assert answers(same) == pytest.approx(answers(graphs["mlp"]), abs=1e-6)
    fitted = made(graphs["mlp"], "fewer_units", share=1.0)
    assert answers(fitted) == pytest.approx(answers(graphs["mlp"]), abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("mlp", "fewer_trees"),
        ("logistic_regression", "shallower_trees"),
        ("lightgbm", "fewer_units"),
        ("logistic_regression", "fewer_units"),
    ],
)
def test_a_graph_without_what_is_left_out_is_refused_by_what_it_has(
    graphs: dict[str, bytes], kind: str, algorithm: str
) -> None:
    with pytest.raises(UnusableParent, match=r"parent_version has no .* its graph has "):
        made(graphs[kind], algorithm)


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [("lightgbm", "fewer_trees"), ("random_forest", "shallower_trees"), ("mlp", "fewer_units")],
)
def test_a_calibration_stays_as_it_is_and_the_same_bytes_come_again(
    graphs: dict[str, bytes], kind: str, algorithm: str
) -> None:
    calibration = SigmoidMap(0.4, -0.1)
    small = made(calibrated_graph(graphs[kind], calibration), algorithm)
    assert small == made(calibrated_graph(graphs[kind], calibration), algorithm)
    bare = uncalibrated_graph(small)
    assert bare is not None
    assert answers(small) == pytest.approx(calibration.of(answers(bare)), abs=1e-5)


def test_a_trial_tells_its_size_and_is_judged_by_the_graph_that_is_registered(
    graphs: dict[str, bytes],
) -> None:
    split = split_by_time(DATA.event_time_us, SplitShares())
    network = graphs["mlp"]
    parent = Parent("v", "sha256:0", network, b"{}", np.zeros(len(DATA), np.float32), DATA)
    parameters = completed({}, PRUNERS["fewer_units"].rules)
    trial = Trial("only", 0, "fewer_units", parameters)
    for constraints in (None, Constraints(max_graph_bytes=10)):
        job = spec("fewer_units", mode=Mode.PRUNING, parent_version="v", constraints=constraints)
        bench = ShrinkingBench(job, DATA, split, parent=parent)
        outcome = bench.run_trial(trial, Recorder(), None)
        model = bench.retrain(outcome, Recorder(), None)
        assert outcome.metrics[SIZE] == len(model.graph) < len(network)
        assert (P99 in outcome.metrics) == (constraints is not None)
        assert bench.of_train(outcome, Recorder()).graph == model.graph
