"""Label shift and concept drift: told apart where that is possible, and only there."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.core.moderation import Prior
from services.monitor.core.naming import named_change
from services.monitor.core.outcome_changes import (
    features_prior,
    label_shift_move,
    named_move,
    named_outcome_change,
    odds_factor,
)
from services.monitor.core.resources import ChangeKind, ConceptState, Severity
from tests.support.drift_worlds import (
    INDEPENDENT,
    SEASONAL,
    Change,
    DriftWorld,
    Nature,
    sight_of_days,
)

BEFORE = np.array([[8000, 1000], [3000, 3000], [1000, 4000]])
LOGITS = np.array([-2.0, 0.0, 1.4])
CERTAIN = ConceptState(log_values=(), evidence=9.0, threshold=5.0, outcomes=9, reason="Alarm: x.")


def names(nature: Nature, change: Change, worlds: int = 6) -> Counter[ChangeKind]:
    """What one changed week of each world is called."""
    found: Counter[ChangeKind] = Counter()
    for seed in range(worlds):
        world = DriftWorld(seed, columns=16, nature=nature)
        profile = world.profile()
        found[named_outcome_change(sight_of_days(profile, world.days(7, change)))[0]] += 1
    return found


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (Change(odds=2.0), ChangeKind.LABEL_SHIFT),
        (Change(concept=0.6), ChangeKind.CONCEPT_DRIFT),
    ],
)
def test_where_scores_stay_by_themselves_the_two_are_told_apart(
    change: Change, kind: ChangeKind
) -> None:
    assert names(INDEPENDENT, change)[kind] >= 5


@pytest.mark.parametrize("change", [Change(odds=2.0), Change(concept=0.6)])
def test_where_scores_wander_as_far_as_a_label_shift_neither_name_is_guessed(
    change: Change,
) -> None:
    assert names(SEASONAL, change)[ChangeKind.OUTCOME_CHANGE] >= 5


def test_an_unequal_change_is_a_concept_drift_however_far_scores_wander() -> None:
    _, uneven_p = odds_factor(BEFORE, np.array([[400, 500], [300, 300], [250, 250]]))
    assert uneven_p < 1e-6
    world = DriftWorld(3, columns=16, nature=SEASONAL)
    profile = world.profile()
    week = world.days(7)
    flipped = np.where(week.scores > 0.5, 1 - week.labels, week.labels).astype(np.int8)
    sight = sight_of_days(profile, type(week)(**{**vars(week), "labels": flipped}))
    kind, why = named_outcome_change(sight)
    assert kind is ChangeKind.CONCEPT_DRIFT
    assert "other factors at other scores" in why


@given(st.floats(0.2, 5.0))
def test_a_label_shift_has_one_factor_at_every_score_and_it_is_found(factor: float) -> None:
    now = np.round(BEFORE * np.array([1.0, factor])).astype(np.int64)
    found, uneven_p = odds_factor(BEFORE, now)
    assert found == pytest.approx(factor, rel=0.01)
    assert uneven_p > 0.99


@given(st.floats(0.2, 5.0))
def test_the_move_of_a_label_shift_is_that_of_reweighted_rows(factor: float) -> None:
    now = BEFORE * np.array([1.0, factor])
    before = BEFORE.sum(axis=1) @ LOGITS / BEFORE.sum()
    after = now.sum(axis=1) @ LOGITS / now.sum()
    assert label_shift_move(BEFORE, LOGITS, factor) == pytest.approx(after - before, abs=1e-9)


@given(st.floats(0.01, 2.0), st.floats(-1.0, 1.0))
def test_the_two_moves_mirror_each_other(move: float, part: float) -> None:
    """A move as far from one as another is from the other speaks the other name."""
    places = np.array([-0.05, 0.0, 0.05])
    mirrored = {
        ChangeKind.LABEL_SHIFT: ChangeKind.CONCEPT_DRIFT,
        ChangeKind.CONCEPT_DRIFT: ChangeKind.LABEL_SHIFT,
        ChangeKind.OUTCOME_CHANGE: ChangeKind.OUTCOME_CHANGE,
    }
    middle = move / 2
    first, _ = named_move(places, middle + part, move, 1e-6, Prior())
    second, _ = named_move(places, middle - part, move, 1e-6, Prior())
    assert second is mirrored[first]


def test_stretches_that_happen_to_lie_close_together_prove_nothing_where_features_wander() -> None:
    close = np.array([-0.01, 0.0, 0.01])
    wandering, calm = Prior(freedom=16, variance=0.05), Prior(freedom=16, variance=1e-4)
    assert named_move(close, 0.3, 0.25, 1e-4, Prior())[0] is ChangeKind.LABEL_SHIFT
    assert named_move(close, 0.3, 0.25, 1e-4, wandering)[0] is ChangeKind.OUTCOME_CHANGE
    assert named_move(close, 0.3, 0.25, 1e-4, calm)[0] is ChangeKind.LABEL_SHIFT


@pytest.mark.parametrize(
    ("nature", "least", "most"), [(INDEPENDENT, 0.0, 0.01), (SEASONAL, 0.02, 0.2)]
)
def test_features_say_how_far_scores_go_by_themselves(
    nature: Nature, least: float, most: float
) -> None:
    world = DriftWorld(2, columns=16, nature=nature)
    prior = features_prior(sight_of_days(world.profile(), world.days(7)), 1.0)
    assert prior.freedom >= 2
    assert least < prior.variance < most


def test_too_short_a_baseline_names_neither() -> None:
    assert named_move(np.array([0.0]), 0.5, 0.5, 0.01, Prior())[0] is ChangeKind.OUTCOME_CHANGE


def test_what_cannot_be_told_apart_pages_as_the_graver_would_and_says_so() -> None:
    world = DriftWorld(1, columns=16, nature=SEASONAL)
    profile = world.profile()
    change = named_change([], CERTAIN, [], sight_of_days(profile, world.days(7, Change(odds=2.0))))
    assert change.kind is ChangeKind.OUTCOME_CHANGE
    assert change.severity is Severity.PAGE
    assert "a label shift would move it by" in change.reason
