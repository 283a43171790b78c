"""Which trials may win where versions must be small and fast."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.core.constraints import (
    P99,
    SIZE,
    Constraints,
    check_fits,
    fitting,
    smallest,
    without_times,
)
from services.trainer.core.failures import NothingFits
from services.trainer.core.selection import TrialOutcome, best_trial
from services.trainer.core.spec import spec_from_json, spec_to_json
from services.trainer.core.tasks import Metric
from tests.support.trainer_values import spec


def trial(index: int, auc: float, p99_ms: float, size: float) -> TrialOutcome:
    return TrialOutcome(index, f"a{index}", {"auc": auc, P99: p99_ms, SIZE: size}, {})


TRIALS = [trial(0, 0.9, 2.0, 900), trial(1, 0.8, 1.0, 100), trial(2, 0.7, 0.1, 10)]


@pytest.mark.parametrize(
    ("constraints", "winner"),
    [
        (None, 0),
        (Constraints(max_p99_ms=2.0), 0),
        (Constraints(max_p99_ms=1.9), 1),
        (Constraints(max_graph_bytes=100), 1),
        (Constraints(max_p99_ms=5.0, max_graph_bytes=99), 2),
    ],
)
def test_the_best_of_those_within_the_constraints_wins(
    constraints: Constraints | None, winner: int
) -> None:
    assert best_trial(fitting(TRIALS, constraints), Metric.AUC).index == winner


def test_a_refusal_tells_what_each_trial_takes_and_what_is_allowed() -> None:
    with pytest.raises(NothingFits) as refusal:
        fitting(TRIALS, Constraints(max_p99_ms=0.05, max_graph_bytes=50))
    text = str(refusal.value)
    assert "a0 has latency.p99_ms 2 ms of at most 0.05, graph.size_bytes 900 bytes" in text
    assert "a2 has latency.p99_ms 0.1 ms of at most 0.05" in text
    with pytest.raises(NothingFits, match="and 3 more"):
        fitting([TRIALS[0]] * 13, Constraints(0.05))


def test_a_winner_that_has_outgrown_the_constraints_is_none() -> None:
    check_fits("mlp", {P99: 1.0, SIZE: 50.0}, Constraints(1.0, 50))
    with pytest.raises(NothingFits, match=r"mlp was within.*graph.size_bytes 51 bytes"):
        check_fits("mlp", {P99: 1.0, SIZE: 51.0}, Constraints(1.0, 50))


@given(st.floats(0.001, 10), st.integers(1, 1000))
def test_whoever_wins_is_within_the_constraints(p99_ms: float, size: int) -> None:
    try:
        found = best_trial(fitting(TRIALS, Constraints(p99_ms, size)), Metric.AUC)
    except NothingFits:
        assert p99_ms < 0.1 or size < 10
    else:
        assert found.metrics[P99] <= p99_ms
        assert found.metrics[SIZE] <= size


def test_what_is_written_has_no_times() -> None:
    assert without_times(TRIALS[0].metrics) == {"auc": 0.9, SIZE: 900}


def test_json_keeps_the_constraints() -> None:
    asked = spec(constraints=Constraints(0.5, 10_000_000_000))
    assert spec_from_json(spec_to_json(asked)) == asked
    sent = {**spec_to_json(spec()), "constraints": {"max_graph_bytes": "70"}}
    assert spec_from_json(sent).constraints == Constraints(0.0, 70)


def test_of_the_smallest_the_best_one_is_taken() -> None:
    tied = [*TRIALS, trial(3, 0.75, 9.0, 10)]
    assert smallest(tied, Metric.AUC).index == 3
