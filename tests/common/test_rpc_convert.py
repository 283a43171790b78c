from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.rpc.convert import (
    from_duration,
    from_struct,
    from_timestamp,
    to_duration,
    to_struct,
    to_timestamp,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_comes_back_from_the_wire(moment):
    assert from_timestamp(to_timestamp(moment)) == moment


def test_a_moment_of_another_zone_is_the_same_instant():
    moment = datetime(2013, 3, 1, 12, tzinfo=timezone(timedelta(hours=-5)))
    assert from_timestamp(to_timestamp(moment)) == moment


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="no time zone"):
        to_timestamp(datetime(2013, 3, 1))  # noqa: DTZ001 - the fault under test


@given(st.integers(-(10**12), 10**12))
def test_a_duration_comes_back_from_the_wire_to_the_microsecond(microseconds):
    seconds = microseconds / 1e6
    assert from_duration(to_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@given(st.dictionaries(st.text(), json_values))
def test_json_like_values_come_back_from_the_wire(values):
    assert from_struct(to_struct(values)) == values


def test_whole_numbers_come_back_whole():
    assert type(from_struct(to_struct({"n": 3}))["n"]) is int


@pytest.mark.parametrize("value", [2**53 + 1, b"bytes", object()])
def test_a_value_that_would_come_back_changed_is_refused(value):
    with pytest.raises(ValueError, match=r"double|JSON"):
        to_struct({"value": value})
