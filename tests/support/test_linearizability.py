from __future__ import annotations

import random

import pytest

from tests.support.linearizability import (
    CompareAndSet,
    Operation,
    Read,
    SearchTooLong,
    is_linearizable,
    stuck_at,
)


def simulated(seed: int, count: int = 400, clients: int = 6) -> list[Operation]:
    """A history whose operations really happened at one moment each."""
    source = random.Random(seed)
    free = [0.0] * clients
    planned = []
    for _ in range(count):
        client = source.randrange(clients)
        call = free[client] + source.random() * 0.1
        end = call + source.random() * 2
        free[client] = end
        planned.append((source.uniform(call, end), call, end))
    value, history = "", []
    for _, call, end in sorted(planned):
        if source.random() < 0.5:
            history.append(Operation(call, end, Read(value)))
            continue
        expected, new = source.choice([value, "x"]), str(source.randrange(5))
        succeeded = expected == value
        known = succeeded if source.random() < 0.9 else None
        history.append(Operation(call, end, CompareAndSet(expected, new, known)))
        value = new if succeeded else value
    return history


@pytest.mark.parametrize("seed", range(5))
def test_a_history_of_atomic_operations_is_linearizable(seed: int) -> None:
    assert is_linearizable(simulated(seed))


@pytest.mark.parametrize("seed", range(5))
def test_one_read_of_a_value_that_never_was_is_found(seed: int) -> None:
    history = simulated(seed)
    at = next(i for i, o in enumerate(history) if i > 200 and isinstance(o.what, Read))
    history[at] = Operation(history[at].call, history[at].end, Read("never"))
    assert not is_linearizable(history)


def test_a_stale_read_and_a_double_success_are_found() -> None:
    write = Operation(0, 1, CompareAndSet("", "a", succeeded=True))
    assert not is_linearizable([write, Operation(2, 3, Read(""))])
    assert is_linearizable([write, Operation(0.5, 3, Read(""))])
    assert not is_linearizable([write, Operation(0, 1, CompareAndSet("", "b", succeeded=True))])


def test_ten_thousand_operations_are_checked_and_the_wrong_one_is_named() -> None:
    history = simulated(seed=1, count=10_000, clients=8)
    assert stuck_at(history) is None
    at = next(i for i, o in enumerate(history) if i > 900 and isinstance(o.what, Read))
    history[at] = Operation(history[at].call, history[at].end, Read("never"))
    assert stuck_at(history) == history[at]


def test_a_search_without_end_is_given_up_and_not_taken_for_an_answer() -> None:
    unknown = [Operation(0, 100, CompareAndSet(str(n % 5), str(n), None)) for n in range(40)]
    with pytest.raises(SearchTooLong):
        stuck_at([*unknown, Operation(101, 102, Read("never"))], max_steps=10_000)
