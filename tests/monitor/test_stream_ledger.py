"""The ledger joins predictions with outcomes whatever the order they come in."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.monitor.core.quality import UNKNOWN
from services.monitor.core.stream.batches import ObservationBatch, OutcomeBatch, of_variants
from services.monitor.core.stream.ledger import EndpointBook, Ledger
from services.monitor.core.windows import ANCHOR, from_us, to_us, window_at
from tests.support.monitor_values import CHAMPION, ENDPOINT
from tests.support.predictions import DAY, MONDAY, World, outcomes

WEEK = 7 * DAY
ARRIVAL_US = to_us(MONDAY + 365 * DAY)


def followed() -> tuple[Ledger, EndpointBook]:
    ledger = Ledger()
    book = EndpointBook(WEEK, DAY, None)
    ledger.open(ENDPOINT, book)
    return ledger, book


def observe(ledger: Ledger, rows: pa.Table, position: int = 1, profile=None) -> None:
    versions = set(rows.column("variant").to_pylist())
    ledger.observe(ObservationBatch(position, ARRIVAL_US, rows), dict.fromkeys(versions, profile))


def learn(ledger: Ledger, rows: pa.Table, position: int = 2) -> None:
    ledger.learn(OutcomeBatch(position, ARRIVAL_US, rows))


def by_id(book: EndpointBook, rows: pa.Table) -> dict[str, int]:
    """The label of each prediction of a ledger that was given `rows` in one batch."""
    (tally,) = (tally for versions in book.windows.values() for tally in versions.values())
    return dict(zip(rows.column("prediction_id").to_pylist(), tally.labels.tolist(), strict=True))


@given(st.integers(0, 10**17), st.integers(60, 400 * 86_400))
def test_each_moment_lies_in_one_window_of_its_length(us: int, seconds: int) -> None:
    moment, length = from_us(us), timedelta(seconds=seconds)
    window = window_at(moment, length)
    assert window.start <= moment < window.end
    assert window.end - window.start == length
    assert (window.start - ANCHOR) % length == timedelta()
    assert window_at(window.end, length).start == window.end


def test_windows_of_seven_days_begin_on_mondays() -> None:
    assert window_at(MONDAY + 3 * DAY, WEEK).start == MONDAY


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_any_order_and_any_repetition_of_batches_joins_alike(order, parts: int) -> None:
    world = World(1)
    seen = world.observations(40, MONDAY, MONDAY + WEEK)
    came = world.outcomes(seen)
    batches = [("o", seen.slice(i * 40 // parts, 40 // parts)) for i in range(parts)]
    batches += [("y", came.slice(i * 40 // parts, 40 // parts)) for i in range(parts)]
    batches += order.sample(batches, 2)
    order.shuffle(batches)
    ledger, book = followed()
    for position, (kind, rows) in enumerate(batches):
        (observe if kind == "o" else learn)(ledger, rows, position)
    expected, expected_book = followed()
    kept = 40 // parts * parts
    observe(expected, seen.slice(0, kept))
    learn(expected, came.slice(0, kept))
    (tally,) = book.windows[window_at(MONDAY, WEEK)].values()
    (other,) = expected_book.windows[window_at(MONDAY, WEEK)].values()
    assert tally.rows == other.rows
    assert sorted(zip(tally.scores.tolist(), tally.labels.tolist(), strict=True)) == sorted(
        zip(other.scores.tolist(), other.labels.tolist(), strict=True)
    )


def test_a_later_outcome_corrects_an_earlier_one_also_when_it_comes_first() -> None:
    world = World(2)
    seen = world.observations(2, MONDAY, MONDAY + DAY)
    first, second = seen.column("prediction_id").to_pylist()
    ledger, book = followed()
    learn(ledger, outcomes([first], [1], [200]))
    learn(ledger, outcomes([first], [0], [100]))
    observe(ledger, seen)
    learn(ledger, outcomes([second], [0], [100]))
    learn(ledger, outcomes([second], [1], [200]))
    learn(ledger, outcomes([second], [0], [150]))
    assert by_id(book, seen) == {first: 1, second: 1}


def test_a_prediction_without_outcome_stays_unknown() -> None:
    seen = World(3).observations(3, MONDAY, MONDAY + DAY)
    ledger, book = followed()
    observe(ledger, seen)
    assert set(by_id(book, seen).values()) == {UNKNOWN}


def test_features_are_counted_over_the_versions_own_bins() -> None:
    world = World(4)
    profile = world.profile()
    seen = world.observations(300, MONDAY, MONDAY + WEEK)
    ledger, book = followed()
    observe(ledger, seen.drop_columns(["f_origin"]), profile=profile)
    tally = book.windows[window_at(MONDAY, WEEK)][CHAMPION]
    assert tally.features["wind"].n == 300
    assert tally.features["origin"].missing == 300
    assert tally.score is not None
    assert tally.score.n == 300


def test_a_window_is_due_once_the_watermark_has_passed_its_outcomes() -> None:
    world = World(5)
    ledger, book = followed()
    observe(ledger, world.observations(10, MONDAY, MONDAY + WEEK))
    assert book.due() is None
    observe(ledger, world.observations(5, MONDAY + WEEK, MONDAY + WEEK + DAY))
    assert book.due() is None
    observe(ledger, world.observations(1, MONDAY + 8 * DAY, MONDAY + 9 * DAY))
    assert book.due() == window_at(MONDAY, WEEK)
    ledger.judged(ENDPOINT, window_at(MONDAY, WEEK))
    assert book.due() is None


@pytest.mark.parametrize("wrong", [ARRIVAL_US + 2 * 3_600_000_000, 2**62, -1, -(2**62)])
def test_a_clock_that_is_wrong_closes_no_window(wrong: int) -> None:
    world = World(6)
    ledger, book = followed()
    observe(ledger, world.observations(10, MONDAY, MONDAY + WEEK))
    rows = world.observations(5, MONDAY, MONDAY + WEEK)
    times = pa.array([wrong] * 5, pa.timestamp("us", tz="UTC"))
    observe(ledger, rows.set_column(1, "event_time", times))
    assert book.due() is None
    assert list(book.windows) == [window_at(MONDAY, WEEK)]


def test_predictions_of_other_endpoints_and_of_forgotten_windows_are_passed_over() -> None:
    world = World(7)
    ledger, book = followed()
    other = "projects/default/endpoints/other"
    observe(ledger, world.observations(10, MONDAY, MONDAY + WEEK, endpoint=other))
    assert not book.windows
    book.judged_until = MONDAY + 10 * WEEK
    observe(ledger, world.observations(10, MONDAY, MONDAY + WEEK))
    assert not book.windows


def test_judged_windows_are_kept_for_late_outcomes_and_then_forgotten() -> None:
    world = World(8)
    ledger, book = followed()
    for week in range(5):
        observe(ledger, world.observations(10, MONDAY + week * WEEK, MONDAY + (week + 1) * WEEK))
    for week in range(4):
        ledger.judged(ENDPOINT, window_at(MONDAY + week * WEEK, WEEK))
    assert [window.start for window in sorted(book.windows)] == [
        MONDAY + 2 * WEEK,
        MONDAY + 3 * WEEK,
        MONDAY + 4 * WEEK,
    ]


def test_outcomes_that_nobody_waits_for_are_forgotten_in_the_end() -> None:
    world = World(9)
    ledger, _ = followed()
    learn(ledger, outcomes(["never-seen"], [1], [to_us(MONDAY)]))
    observe(ledger, world.observations(10, MONDAY, MONDAY + WEEK))
    ledger.judged(ENDPOINT, window_at(MONDAY + 9 * WEEK, WEEK))
    assert not ledger._parked
    assert not ledger._places


def test_an_endpoint_that_is_closed_leaves_nothing_behind() -> None:
    world = World(10)
    ledger, _ = followed()
    observe(ledger, world.observations(10, MONDAY, MONDAY + WEEK))
    ledger.close(ENDPOINT)
    assert not ledger._places
    assert ENDPOINT not in ledger.books


def test_arrays_grow_without_losing_a_row() -> None:
    world = World(11)
    ledger, book = followed()
    scores = []
    for position in range(20):
        rows = world.observations(97, MONDAY, MONDAY + WEEK)
        scores.append(rows.column("score").to_numpy())
        observe(ledger, rows, position)
    assert np.array_equal(
        book.windows[window_at(MONDAY, WEEK)][CHAMPION].scores, np.concatenate(scores)
    )


def test_what_a_fallback_answered_counts_for_no_version():
    rows = World().observations(4, MONDAY, MONDAY + DAY)
    assert of_variants(rows) == rows
    told = rows.append_column("fallback", [[None, "", "timeout", "failed"]])
    assert of_variants(told).column("prediction_id") == rows.slice(0, 2).column("prediction_id")
