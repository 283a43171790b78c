"""Scores, gains, splits and reports of more than two classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from services.trainer.core import multiclass
from services.trainer.core.abilities import Ability, ability_faults
from services.trainer.core.data_report import Kind, data_report
from services.trainer.core.failures import DataFault, NotBetter
from services.trainer.core.gains import MinimumGain, check_gains, class_gains
from services.trainer.core.mode_faults import mode_faults
from services.trainer.core.objectives import MulticlassObjective, objective_of
from services.trainer.core.parameters import ParameterRule
from services.trainer.core.parents import Mode
from services.trainer.core.selection import beats_baseline
from services.trainer.core.spec import Candidate, Feature, FeatureKind, spec_from_json, spec_to_json
from services.trainer.core.splits import SplitMethod, SplitShares, split_by_time, split_stratified
from services.trainer.core.suspicion import suspicious_classes
from services.trainer.core.tasks import Task
from services.trainer.core.validation import schema_faults, spec_faults
from tests.support.class_values import CLASSES, class_spec, class_table, digit_spec

RULES = {
    "decision_tree": {"max_depth": ParameterRule(8, 1, 30, whole=True)},
    "cnn": {name: ParameterRule(28, 1, 512, whole=True) for name in ("height", "width")}
    | {"channels": ParameterRule(1, 1, 4, whole=True)},
}


def scored(rows: int, strength: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of four classes, one of them rare, and probabilities that know something of them."""
    random = np.random.default_rng(seed)
    label = random.choice(4, rows, p=(0.5, 0.3, 0.17, 0.03))
    logits = strength * np.eye(4)[label] + random.normal(size=(rows, 4))
    exponents = np.exp(logits)
    return label, exponents / exponents.sum(axis=1, keepdims=True)


@given(st.integers(2, 300), st.floats(0, 4), st.integers(0, 50))
def test_the_metrics_are_those_of_the_textbook(rows: int, strength: float, seed: int) -> None:
    label, told = scored(rows, strength, seed)
    found = multiclass.score_classes(label, told, "abcd")
    guess = told.argmax(axis=1)
    expected = {
        "log_loss": reference.log_loss(label, told, labels=range(4)),
        "accuracy": reference.accuracy_score(label, guess),
        "macro_f1": reference.f1_score(label, guess, average="macro"),
    }
    present = np.unique(label)
    recalls = reference.recall_score(label, guess, average=None, labels=present, zero_division=0)
    expected |= {"balanced_accuracy": recalls.mean(), "worst_recall": recalls.min()}
    assert {name: found.values[name] for name in expected} == pytest.approx(expected)
    assert found.by_class["recall." + "abcd"[present[0]]] == pytest.approx(recalls[0])
    assert np.array(found.confusion).sum() == rows
    assert found.positive_rate is None
    assert "positive_rate" not in found.metrics


def test_a_class_without_rows_has_no_recall_and_costs_nothing() -> None:
    told = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]])
    found = multiclass.score_classes(np.array([0, 1]), told, ("x", "y", "z"))
    assert found.values["balanced_accuracy"] == found.values["macro_f1"] == 1.0
    assert set(found.by_class) == {
        f"{name}.{each}" for name in ("precision", "recall", "f1") for each in "xy"
    }


def test_the_share_of_each_class_is_the_trivial_baseline() -> None:
    objective = objective_of(Task.MULTICLASS, CLASSES)
    fitted = np.array([0, 0, 0, 1, 2, 3])
    assert objective.baseline(fitted, 2) == pytest.approx(
        np.array([[0.5, 1 / 6, 1 / 6, 1 / 6]] * 2)
    )
    label, told = scored(500, 2.0)
    mine, theirs = (
        objective.score(label, told),
        objective.score(label, objective.baseline(label, 500)),
    )
    assert beats_baseline(mine.values, theirs.values, Task.MULTICLASS)
    assert not beats_baseline(theirs.values, theirs.values, Task.MULTICLASS)


@settings(max_examples=25)
@given(st.integers(20, 400), st.floats(0, 3), st.integers(0, 30))
def test_gains_are_the_differences_of_the_scores_and_lie_in_their_intervals(
    rows: int, strength: float, seed: int
) -> None:
    label, told = scored(rows, strength, seed)
    objective = MulticlassObjective("abcd")
    found = objective.gains(label, told, label, seed)
    mine = objective.score(label, told).values
    theirs = objective.score(label, objective.baseline(label, rows)).values
    assert set(found) == set(Task.MULTICLASS.meaning.gains)
    assert found["log_loss"].value == pytest.approx(theirs["log_loss"] - mine["log_loss"])
    assert found["balanced_accuracy"].value == pytest.approx(
        mine["balanced_accuracy"] - theirs["balanced_accuracy"]
    )
    assert found["log_loss"].low <= found["log_loss"].value <= found["log_loss"].high
    assert found == objective.gains(label, told, label, seed)


@pytest.mark.parametrize("rows", [300, 6000])
def test_intervals_are_as_wide_as_resampling_the_rows_themselves_makes_them(rows: int) -> None:
    label, told = scored(rows, 1.0)
    baseline = MulticlassObjective("abcd").baseline(label, rows)
    found = class_gains(label, told, baseline, 1)
    saved = multiclass.log_losses(label, baseline) - multiclass.log_losses(label, told)
    random = np.random.default_rng(2)
    plain: dict[str, list[float]] = {"log_loss": [], "balanced_accuracy": []}
    for _ in range(400):
        draw = random.integers(rows, size=rows)
        confusion = multiclass.confusion_of(label[draw], told[draw])
        present = len(np.unique(label[draw]))
        plain["log_loss"].append(float(saved[draw].mean()))
        plain["balanced_accuracy"].append(
            float(multiclass.balanced_accuracy(confusion)) - 1 / present
        )
    for name, values in plain.items():
        low, high = np.quantile(values, (0.025, 0.975))
        assert found[name].high - found[name].low == pytest.approx(high - low, rel=0.25)
        assert found[name].low == pytest.approx(low, abs=0.25 * (high - low))


def test_an_accurate_guess_of_the_frequent_class_is_not_better() -> None:
    label = np.repeat([0, 1, 2], [960, 20, 20])
    told = np.tile([0.98, 0.01, 0.01], (1000, 1))
    objective = MulticlassObjective("abc")
    assert objective.score(label, told).values["accuracy"] == 0.96
    with pytest.raises(NotBetter, match="balanced_accuracy"):
        check_gains("mlp", objective.gains(label, told, label, 0), MinimumGain())


@given(
    st.lists(st.integers(8, 60), min_size=3, max_size=6),
    st.integers(0, 9),
    st.tuples(*[st.integers(1, 5)] * 3),
)
def test_stratified_parts_have_exact_sizes_and_each_class_nearly_in_proportion(
    counts: list[int], seed: int, weights: tuple[int, int, int]
) -> None:
    label = np.repeat(np.arange(len(counts)), counts)
    names = [str(number) for number in range(len(counts))]
    shares = SplitShares(*(weight / sum(weights) for weight in weights))
    try:
        split = split_stratified(label, shares, seed, names)
    except DataFault:
        assert min(counts) * min(shares.train, shares.validation, shares.test) < 3
        return
    parts = (split.train, split.validation, split.test)
    assert tuple(map(len, parts)) == shares.sizes(len(label))
    assert sorted(split.all) == list(range(len(label)))
    for part in parts:
        for number, count in enumerate(counts):
            expected = count * len(part) / len(label)
            assert abs(int(np.sum(label[part] == number)) - expected) < 3


def test_a_report_counts_each_class_and_tells_the_rarest() -> None:
    rows = class_table()
    rare = np.flatnonzero(rows.label == 0)[:5]
    label = np.where(rows.label == 0, 1, rows.label)
    label[rare] = 0
    split = split_by_time(rows.event_time_us, SplitShares())
    found = data_report(class_spec(), replace(rows, label=label), split, {})
    part = found.balance[0]
    assert part.positive_rate is None
    assert (list(part.class_rows), sum(part.class_rows.values())) == (list(CLASSES), part.rows)
    told = [finding.text for finding in found.findings if finding.kind is Kind.BALANCE]
    assert any("the rarest label, cancelled" in text for text in told)


@pytest.mark.parametrize("whole", [True, False])
def test_a_feature_is_a_leak_if_it_tells_every_class_apart(whole: bool) -> None:
    rows = class_table()
    told = rows.label if whole else (rows.label == 1)
    found = data_report(
        class_spec(),
        rows.replaced({"distance": told.astype(np.float32)}),
        split_by_time(rows.event_time_us, SplitShares()),
        {},
    )
    leaks = [each for each in found.findings if each.kind is Kind.LEAK and each.stops]
    assert [each.column for each in leaks] == (["distance"] if whole else [])


def test_a_label_is_suspicious_if_unseen_rows_are_as_sure_of_another_class() -> None:
    told = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7], [0.05, 0.05, 0.9]])
    assert not suspicious_classes(np.array([0, 1, 2, 2]), told).any()
    found = suspicious_classes(np.array([0, 1, 2, 1]), told)
    assert found == pytest.approx([0, 0, 0, 0.95])


def fields(faulty: object, abilities: dict[str, Ability]) -> list[str]:
    faults = [*spec_faults(faulty, RULES), *ability_faults(faulty, RULES, abilities)]
    return [fault.field.removeprefix("training_job.spec.") for fault in faults]


def test_the_task_settles_metric_gains_and_type_of_the_target() -> None:
    job = class_spec(metric="auc", minimum_gain=MinimumGain(auc=0.1))
    assert fields(job, {}) == ["metric", "minimum_gain.auc"]
    good = class_spec(minimum_gain=MinimumGain(balanced_accuracy=0.1, log_loss=0.1))
    assert fields(good, {}) == []
    assert spec_from_json(spec_to_json(good)) == good
    document = spec_to_json(good)
    del document["metric"]
    assert spec_from_json(document).metric == Task.MULTICLASS.meaning.metrics[0] == "log_loss"
    columns = {"event_time": "timestamp[us]", "distance": "float", "wind": "float"}
    columns |= {"origin": "string", "carrier": "string"}
    assert schema_faults(good, {**columns, "fate": "string"}) == []
    (fault,) = schema_faults(good, {**columns, "fate": "double"})
    assert fault.field.endswith("target")


def test_more_than_two_classes_are_not_pruned() -> None:
    job = class_spec(mode=Mode.PRUNING, parent_version="projects/p/models/m/versions/1")
    modes = {"decision_tree": frozenset(Mode)}
    assert [fault.field for fault in mode_faults(job, modes, "spec")] == ["spec.mode"]


def test_a_task_that_an_algorithm_cannot_do_is_named() -> None:
    both = frozenset({Task.BINARY, Task.MULTICLASS})
    assert fields(class_spec(), {"decision_tree": Ability()}) == ["candidates[0].algorithm"]
    assert fields(class_spec(), {"decision_tree": Ability(both)}) == []


@pytest.mark.parametrize(
    ("parameters", "features", "named"),
    [
        ({"height": 8, "width": 8}, None, []),
        ({"height": 8, "width": 7}, None, ["candidates[0].parameters"]),
        ({}, None, ["candidates[0].parameters"]),
        ({"height": 1, "width": 1}, "categorical", ["candidates[0].algorithm"]),
    ],
)
def test_the_features_of_an_image_are_its_pixels(
    parameters: dict[str, float], features: str | None, named: list[str]
) -> None:
    job = digit_spec(candidates=(Candidate("cnn", parameters),))
    if features:
        job = replace(job, features=(Feature("word", FeatureKind.CATEGORICAL),))
    abilities = {"cnn": Ability(frozenset(Task), reads_images=True)}
    assert fields(job, abilities) == named


def test_folds_of_many_classes_name_the_label_that_one_would_not_learn() -> None:
    from services.trainer.core.cross_validation import folds_of
    from services.trainer.core.partition import parted

    rows = class_table()
    late = np.where(np.arange(len(rows)) < 700, np.minimum(rows.label, 2), rows.label)
    job = class_spec(cross_validation_folds=5)
    table = replace(rows, label=np.where(late == 3, 3, late % 3))
    with pytest.raises(DataFault, match="learn from no row with label on time"):
        folds_of(job, table, parted(job, table))
    even = replace(job, split_method=SplitMethod.STRATIFIED)
    assert len(folds_of(even, rows, parted(even, rows))) == 5
