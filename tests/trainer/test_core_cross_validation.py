"""Folds of the train part, and what they say together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.core.cross_validation import FoldScores, folds_of, means, spreads
from services.trainer.core.failures import DataFault
from services.trainer.core.jobs import Trial
from services.trainer.core.partition import parted
from services.trainer.core.search import samples
from services.trainer.core.search_space import IntRange, SearchParameter
from services.trainer.core.selection import TrialOutcome, best_trial
from services.trainer.core.spec import Candidate
from services.trainer.core.splits import SplitMethod
from services.trainer.core.states import TrialState
from services.trainer.core.tables import Table
from services.trainer.core.tasks import Metric
from tests.support.trainer_values import spec


def rows(count: int = 400, positives: int = 120) -> Table:
    """Rows in no order of time, in 30 groups."""
    random = np.random.default_rng(5)
    return Table(
        numeric={},
        categorical={},
        label=(random.permutation(count) < positives).astype(np.int64),
        event_time_us=random.integers(0, 1000, count),
        slices={},
        groups=random.choice([f"plane-{number}" for number in range(30)], count).astype(object),
    )


@pytest.mark.parametrize("method", [each for each in SplitMethod if each is not SplitMethod.TIME])
@pytest.mark.parametrize("count", [2, 5])
def test_each_row_of_the_train_part_judges_once_and_teaches_the_other_folds(
    method: SplitMethod, count: int
) -> None:
    job, table = spec(split_method=method, cross_validation_folds=count), rows()
    split = parted(job, table)
    folds = folds_of(job, table, split)
    assert len(folds) == count
    judged = np.concatenate([fold.judge for fold in folds])
    assert sorted(judged) == sorted(split.train)
    for fold in folds:
        assert sorted([*fold.learn, *fold.judge]) == sorted(split.train)
        assert np.all(np.diff(table.event_time_us[fold.learn]) >= 0)


@given(st.integers(2, 8), st.integers(0, 99))
def test_by_time_no_fold_learns_from_what_comes_after_the_rows_that_judge(
    count: int, seed: int
) -> None:
    job, table = spec(cross_validation_folds=count, seed=seed), rows()
    split = parted(job, table)
    folds = folds_of(job, table, split)
    for fold in folds:
        assert table.event_time_us[fold.learn].max() <= table.event_time_us[fold.judge].min()
    lengths = [len(fold.learn) for fold in folds]
    assert lengths == sorted(set(lengths))
    assert [*folds[-1].learn, *folds[-1].judge] == split.train.tolist()


def test_stratified_folds_have_each_label_alike() -> None:
    job = spec(split_method=SplitMethod.STRATIFIED, cross_validation_folds=5)
    table = rows()
    positives = [
        int(table.label[fold.judge].sum()) for fold in folds_of(job, table, parted(job, table))
    ]
    assert max(positives) - min(positives) <= 1


def test_no_group_is_learned_from_and_judged_by_in_one_fold() -> None:
    job = spec(split_method=SplitMethod.GROUPED, group_column="plane", cross_validation_folds=4)
    table = rows()
    assert table.groups is not None
    for fold in folds_of(job, table, parted(job, table)):
        assert not set(table.groups[fold.learn]) & set(table.groups[fold.judge])


@pytest.mark.parametrize(
    ("method", "positives", "text"),
    [
        (SplitMethod.STRATIFIED, 10, "has 7 rows with label 1"),
        (SplitMethod.TIME, 3, "rows of one label alone"),
        (SplitMethod.RANDOM, 3, "rows of one label alone"),
    ],
)
def test_too_few_rows_of_a_label_are_named(method: SplitMethod, positives: int, text: str) -> None:
    job, table = spec(split_method=method, cross_validation_folds=10), rows(positives=positives)
    with pytest.raises(DataFault, match=rf"cross_validation\.folds.*{text}"):
        folds_of(job, table, parted(job, table))


def test_fewer_groups_than_folds_are_named() -> None:
    job = spec(split_method=SplitMethod.GROUPED, cross_validation_folds=20)
    few = np.random.default_rng(0).choice(["a", "b", "c", "d", "e"], 400).astype(object)
    table = replace(rows(), groups=few)
    with pytest.raises(DataFault, match=r"folds is 20, but the train part has \d groups"):
        folds_of(job, table, parted(job, table))


FOLDS = (FoldScores(100, 50, {"auc": 0.7}), FoldScores(100, 50, {"auc": 0.8}))


def test_folds_are_summed_up_by_mean_and_sample_deviation() -> None:
    assert means(FOLDS) == pytest.approx({"auc": 0.75})
    assert spreads(FOLDS) == pytest.approx({"auc": 0.05 * 2**0.5})
    assert (means(()), spreads(FOLDS[:1])) == ({}, {})


def test_the_mean_over_folds_picks_the_winner_whatever_validation_says() -> None:
    trials = [
        TrialOutcome(0, "mlp", {"auc": 0.9}, {}, {"auc": 0.6}),
        TrialOutcome(1, "mlp", {"auc": 0.5}, {}, {"auc": 0.7}),
    ]
    assert best_trial(trials, Metric.AUC).index == 1


def test_tuning_goes_on_from_the_mean_over_folds() -> None:
    space = (SearchParameter("epochs", IntRange(1, 9)),)
    searched = spec(candidates=(Candidate("mlp", {}, space),))
    trial = Trial(
        "mlp-1", 0, "mlp", {"epochs": 3}, TrialState.SUCCEEDED, metrics={"auc": 0.9}, folds=FOLDS
    )
    (sample,) = samples(searched, [trial])
    assert sample.loss == pytest.approx(-0.75)


def test_a_report_that_tells_less_than_is_known_is_older() -> None:
    trained = Trial("mlp-1", 0, "mlp", {}, TrialState.RUNNING, chosen_parameters={"epochs": 3})
    judged = replace(trained, folds=FOLDS[:1])
    untrained = replace(trained, chosen_parameters={})
    assert untrained.is_older_than(trained)
    assert trained.is_older_than(judged)
    assert not judged.is_older_than(judged)
    assert not judged.is_older_than(trained)
