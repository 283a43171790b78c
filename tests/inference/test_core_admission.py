"""Who may begin a call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.core.admission import Admission
from services.inference.core.errors import QueueFull, TooManyCalls


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60), st.booleans()), max_size=60))
def test_no_caller_and_no_memory_goes_beyond_its_bound(steps):
    admission = Admission(max_calls_per_caller=3, max_bytes=100)
    under_way = []
    for caller, size_bytes, leaves in steps:
        if leaves and under_way:
            admission.leave(*under_way.pop(0))
            continue
        mine = [call for call in under_way if call[0] == caller]
        held_bytes = sum(call[1] for call in under_way)
        try:
            admission.enter(caller, size_bytes)
        except TooManyCalls:
            assert len(mine) == 3
        except QueueFull:
            assert held_bytes + size_bytes > 100
        else:
            under_way.append((caller, size_bytes))
            assert len(mine) < 3
            assert held_bytes + size_bytes <= 100
    assert admission.calls_under_way == len(under_way)
    assert admission.bytes_under_way == sum(call[1] for call in under_way)


def test_a_request_above_the_bound_may_begin_alone():
    admission = Admission(max_calls_per_caller=3, max_bytes=100)
    admission.enter("a", 1000)
    with pytest.raises(QueueFull):
        admission.enter("b", 1)
    admission.leave("a", 1000)
    admission.enter("b", 1)
