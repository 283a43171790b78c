"""Digests that are put down and taken up again."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.blobs.running import RunningSha256


@given(chunks=st.lists(st.binary(max_size=200), max_size=20))
def test_a_digest_handed_on_after_each_chunk_is_that_of_all_of_them(chunks: list[bytes]):
    running = RunningSha256()
    for chunk in chunks:
        running.update(chunk)
        assert running.hexdigest() == running.hexdigest()
        running = RunningSha256(running.state())

    assert running.hexdigest() == hashlib.sha256(b"".join(chunks)).hexdigest()


@pytest.mark.parametrize("state", ["", "sha256-little:", "sha256-little:00", "md5:" + "00" * 112])
def test_what_is_no_state_is_refused(state: str):
    with pytest.raises(ValueError, match="not one of a SHA-256"):
        RunningSha256(state)
