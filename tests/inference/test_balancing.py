"""Calls go to the least busy replica, and not to a sick one."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.adapters.triton.balancer import Balancer


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def balancer(clock):
    return Balancer(["a", "b", "c"], clock)


@given(st.lists(st.booleans(), max_size=60))
def test_outstanding_calls_differ_by_one_at_most_while_calls_only_begin(begins):
    balancer = Balancer(["a", "b", "c"], Clock())
    with ExitStack() as calls:
        for _ in begins:
            calls.enter_context(balancer.calling(balancer.chosen()))
        outstanding = [balancer.outstanding(each) for each in "abc"]
        assert max(outstanding) - min(outstanding) <= 1
    assert [balancer.outstanding(each) for each in "abc"] == [0, 0, 0]


def test_idle_replicas_take_turns(balancer):
    assert {balancer.chosen() for _ in range(3)} == {"a", "b", "c"}


def test_the_least_busy_one_is_chosen(balancer):
    with balancer.calling("a"), balancer.calling("c"):
        assert {balancer.chosen() for _ in range(5)} == {"b"}


def test_a_replica_that_was_tried_is_not_chosen_again(balancer):
    assert balancer.chosen(without={"a", "b"}) == "c"
    assert balancer.chosen(without={"a", "b", "c"}) is None


def test_one_that_is_gone_gets_no_calls_until_it_answers(balancer, clock):
    assert balancer.gone("a")
    clock.now_s += 1000
    assert balancer.is_due("a")
    assert "a" not in {balancer.chosen() for _ in range(10)}
    assert balancer.answered("a")
    assert "a" in {balancer.chosen() for _ in range(10)}


def test_when_all_are_gone_each_is_still_a_chance(balancer):
    for each in "abc":
        balancer.gone(each)
    assert {balancer.chosen() for _ in range(3)} == {"a", "b", "c"}


def test_pauses_double_up_to_a_bound_and_start_over_after_an_answer(balancer, clock):
    def pause_s() -> float:
        balancer.gone("a")
        began_s = clock.now_s
        while not balancer.is_due("a"):
            clock.now_s += 0.25
        return clock.now_s - began_s

    assert [pause_s() for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    balancer.answered("a")
    assert pause_s() == 0.5


def test_many_calls_that_fail_at_once_are_one_ejection(balancer, clock):
    assert [balancer.gone("a") for _ in range(5)] == [True] + 4 * [False]
    clock.now_s += 0.5
    assert balancer.is_due("a")


def test_only_timeouts_in_a_row_eject(balancer):
    assert not balancer.timed_out("a")
    assert not balancer.timed_out("a")
    balancer.answered("a")
    assert [balancer.timed_out("a") for _ in range(3)] == [False, False, True]
    assert not balancer.is_admitted("a")
