"""What changed rows do to a model whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common import scoring
from services.trainer.core.failures import NotRobust
from services.trainer.core.judging_faults import judging_faults
from services.trainer.core.robustness import (
    MOST_ROWS,
    MOST_TEXTS,
    Robustness,
    RobustnessReport,
    Stressed,
    binary_decisions,
    check_robustness,
    likeliest_class,
    rows_to_stress,
    stress,
)
from services.trainer.core.row_changes import SHORTEST, Check, misspelt, thinned
from services.trainer.core.spec import spec_from_json, spec_to_json
from services.trainer.core.tables import Table
from tests.support.trainer_values import spec, table

ROWS = table(800, seed=3)


def of_distance(rows: Table) -> np.ndarray:
    """Knows the distance alone; a row without it is as likely as not."""
    logits = np.nan_to_num((rows.numeric["distance"] - 1000) / 300)
    return 1 / (1 + np.exp(-np.clip(logits, -50, 50)))


def of_origin(rows: Table) -> np.ndarray:
    return np.where(rows.categorical["origin"] == "EWR", 0.8, 0.3)


def judged(answer, threshold: float = 0.5) -> Stressed:
    return Stressed(
        answer, lambda told: scoring.log_loss(ROWS.label, told), binary_decisions(threshold)
    )


def reported(answer, noise: float = 0.1) -> RobustnessReport:
    return stress(ROWS, judged(answer), noise, 7)


def test_a_feature_that_a_model_ignores_costs_nothing_and_the_one_it_knows_is_named() -> None:
    found = reported(of_distance)
    costly = {(each.check, each.feature) for each in found.stresses if each.fall}
    numeric = (Check.NOISE, Check.MISSING, Check.UNITS, Check.OUT_OF_RANGE)
    assert costly == {(Check.NOISE, ""), *((check, "distance") for check in numeric)}
    for check in (Check.MISSING, Check.UNITS, Check.OUT_OF_RANGE):
        assert found.named(check)[0].feature == "distance"
    assert found.falls[Check.UNSEEN].fall == 0
    assert found.order_difference == 0


def test_what_a_missing_feature_costs_is_the_loss_of_knowing_nothing() -> None:
    found = reported(of_distance)
    worst = found.falls[Check.MISSING]
    plain = of_distance(ROWS)
    assert worst.fall == pytest.approx(np.log(2) - scoring.log_loss(ROWS.label, plain), abs=1e-6)
    assert worst.flipped == pytest.approx(np.mean(plain < 0.5))  # all are decided 1 now
    assert found.metrics["robustness.missing.fall"] == worst.fall


def test_words_that_nobody_has_seen_turn_what_was_decided_by_them() -> None:
    found = reported(of_origin)
    assert found.flips[Check.UNSEEN].flipped == np.mean(ROWS.categorical["origin"] == "EWR")
    assert found.flips[Check.NOISE].flipped == 0


def test_numbers_in_a_smaller_unit_are_all_on_one_side() -> None:
    found = reported(of_distance)
    assert found.falls[Check.UNITS].fall > found.falls[Check.MISSING].fall
    low = np.mean(of_distance(ROWS) < 0.5)
    assert found.flips[Check.UNITS].flipped == pytest.approx(low, abs=0.01)
    # Half of the rows are beyond each end.
    assert 0.4 < found.flips[Check.OUT_OF_RANGE].flipped < 0.6


def test_more_noise_costs_more() -> None:
    little, much = (reported(of_distance, noise).falls[Check.NOISE].fall for noise in (0.01, 3.0))
    assert little < 0.01 < 0.1 < much


def test_an_answer_that_depends_on_the_rows_beside_it_is_told() -> None:
    def of_neighbours(rows: Table) -> np.ndarray:
        return of_distance(rows) * np.linspace(0.5, 1, len(rows))

    assert reported(of_neighbours).order_difference > 0.1


@pytest.mark.parametrize("check", ["missing of wind", "missing of origin"])
def test_a_model_that_gives_no_number_is_told_by_what_it_can_not_take(check: str) -> None:
    name = check.rpartition(" ")[2]

    def fragile(rows: Table) -> np.ndarray:
        column = rows.features[name]
        missing = column == "" if column.dtype == object else np.isnan(column)
        answers = of_distance(rows)
        return np.where(missing.all(), np.nan, answers)

    with pytest.raises(NotRobust, match=check):
        reported(fragile)


def test_a_bar_is_held_against_the_worst_feature_and_both_numbers_are_told() -> None:
    found = reported(of_distance)
    worst = found.falls[Check.MISSING].fall
    check_robustness("mlp", found, Robustness())
    check_robustness("mlp", found, Robustness(maximum_fall={"missing": worst}))
    asked = Robustness(maximum_fall={"missing": worst / 2}, maximum_flipped={"units": 0.01})
    with pytest.raises(NotRobust, match=r"missing of distance .* units of distance .* most 0\.01"):
        check_robustness("mlp", found, asked)


def test_a_table_without_words_is_not_tried_with_any() -> None:
    numbers = replace(ROWS, categorical={})
    found = stress(numbers, judged(of_distance), 0.1, 7)
    assert Check.UNSEEN not in found.falls
    check_robustness("mlp", found, Robustness(maximum_fall={"unseen": 0.0}))


def test_the_likeliest_of_several_classes_is_decided() -> None:
    answers = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    assert likeliest_class(answers).tolist() == [1, 0]


def labelled(label: np.ndarray, features: int) -> Table:
    """Rows of so many empty columns."""
    column = np.zeros(len(label), dtype=np.float32)
    columns = {str(number): column for number in range(features)}
    return Table(columns, {}, label, np.arange(len(label)), {})


def test_quantities_are_chosen_evenly_and_of_texts_fewer() -> None:
    quantities = replace(labelled(np.arange(20_000) / 7, 4), classes=())
    chosen = rows_to_stress(quantities)
    assert (len(chosen), chosen[0], chosen[-1]) == (MOST_ROWS, 0, 19_999)
    assert set(np.diff(chosen)) == {4, 5}
    texts = replace(quantities, numeric={}, text={"said": np.full(20_000, "so", dtype=object)})
    assert len(rows_to_stress(texts)) == MOST_TEXTS


def test_quantities_get_worse_and_turn_no_decision() -> None:
    minutes = replace(ROWS, label=ROWS.numeric["distance"] / 10, classes=())

    def of_ten(rows: Table) -> np.ndarray:
        return np.nan_to_num(rows.numeric["distance"] / 10, nan=100.0)

    def error(told: np.ndarray) -> float:
        return float(np.sqrt(np.mean((told - minutes.label) ** 2)))

    found = stress(minutes, Stressed(of_ten, error, None), 0.1, 7)
    assert found.flips == {}
    assert found.falls[Check.NOISE].fall == pytest.approx(0.1 * np.std(minutes.label), rel=0.1)
    assert not any(name.endswith(".flipped") for name in found.metrics)
    check_robustness("mlp", found, Robustness(maximum_fall={"noise": 10}))
    with pytest.raises(NotRobust, match="units of distance makes the metric worse"):
        check_robustness("mlp", found, Robustness(maximum_fall={"units": 10}))


def test_a_text_is_tried_empty_with_typos_and_with_words_left_out() -> None:
    praise = np.array(
        ["a bright film", "dull and long", "so very bright", "never again"], dtype=object
    )
    texts = Table({}, {}, np.array([1, 0, 1, 0]), np.arange(4), {}, text={"review": praise})

    def of_bright(rows: Table) -> np.ndarray:
        return np.array([0.9 if "bright" in text else 0.1 for text in rows.text["review"]])

    model = Stressed(
        of_bright, lambda told: scoring.log_loss(texts.label, told), binary_decisions(0.5)
    )
    found = stress(texts, model, 5.0, 7)
    assert set(found.falls) == {Check.MISSING, Check.TYPOS, Check.DROPPED_WORDS}
    for check in (Check.MISSING, Check.TYPOS, Check.DROPPED_WORDS):
        assert found.flips[check].flipped == 0.5
        assert found.falls[check].feature == "review"


WORDS = st.lists(st.text("abcdefg", min_size=1, max_size=9), max_size=12)


@given(WORDS, st.floats(0, 1), st.integers(0, 100))
def test_a_typo_is_one_slip_inside_a_longer_word(words: list[str], share: float, seed: int) -> None:
    texts = np.array([" ".join(words)], dtype=object)
    (text,) = misspelt(texts, share, np.random.default_rng(seed))
    found = text.split(" ") if words else []
    assert len(found) == len(words)
    for before, after in zip(words, found, strict=True):
        assert before[0] == after[0]
        assert before[-1] == after[-1]
        assert abs(len(before) - len(after)) <= 1
        if len(before) < SHORTEST:
            assert before == after
    assert misspelt(texts, 0.0, np.random.default_rng(seed)).tolist() == texts.tolist()


@given(WORDS, st.integers(0, 100))
def test_words_that_stay_stay_in_their_order(words: list[str], seed: int) -> None:
    texts = np.array([" ".join(words)], dtype=object)
    (text,) = thinned(texts, 0.5, np.random.default_rng(seed))
    rest = iter(words)
    assert all(word in rest for word in text.split(" ") if word)
    assert thinned(texts, 1.0, np.random.default_rng(seed)).tolist() == [""]
    assert thinned(texts, 0.0, np.random.default_rng(seed)).tolist() == texts.tolist()


@given(st.integers(1, 30_000), st.integers(1, 1000), st.floats(0, 1))
def test_chosen_rows_are_few_and_of_each_class(rows: int, features: int, share: float) -> None:
    label = (np.arange(rows) < share * rows).astype(np.int64)
    chosen = rows_to_stress(labelled(label, features))
    assert len(chosen) <= MOST_ROWS + 1
    assert np.array_equal(np.unique(label[chosen]), np.unique(label))
    assert np.all(np.diff(chosen) > 0) or len(chosen) == 1


def test_a_check_that_there_is_not_has_no_bar() -> None:
    asked = spec(
        robustness=Robustness(maximum_fall={"noise": 1, "rain": 1}), decision_threshold=0.3
    )
    (fault,) = judging_faults(asked, "spec")
    assert fault.field == "spec.robustness.maximum_fall"
    assert "'rain'" in fault.description
    assert "out_of_range" in fault.description
    assert "typos" not in fault.description


def test_json_keeps_what_is_tried() -> None:
    asked = spec(robustness=Robustness(0.2, {"noise": 0.5}, {"units": 0.25}))
    assert spec_from_json(spec_to_json(asked)) == asked
    bare = {**spec_to_json(spec()), "robustness": {}}
    assert spec_from_json(bare).robustness == Robustness()
