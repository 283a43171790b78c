from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.blobs.content import content_key
from services.common.blobs.digests import digest_of
from services.common.blobs.port import check_key
from services.registry.core.storage_layout import CONTENTS, RECORDS, record_key, sequence_of


@given(st.integers(1, 10**12 - 1), st.integers(1, 10**12 - 1))
def test_records_are_listed_in_the_order_of_their_numbers(one: int, other: int) -> None:
    check_key(record_key(one))
    assert record_key(one).startswith(RECORDS)
    assert sequence_of(record_key(one)) == one
    assert (record_key(one) < record_key(other)) == (one < other)


@pytest.mark.parametrize("key", ["records/1.json", "records/000000000/x.json", "blobs/1"])
def test_a_key_of_something_else_has_no_number(key: str) -> None:
    with pytest.raises(ValueError, match="no key of a record"):
        sequence_of(key)


def test_contents_stand_under_their_prefix() -> None:
    assert content_key(digest_of(b"x")).startswith(CONTENTS)
