"""Secrets as they stand in a database."""

from __future__ import annotations

import base64
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.webhooks.sealing import (
    SecretBox,
    SecretUnreadable,
    is_sealed,
    make_keys,
    read_keys,
)

OLD, NEW = bytes(range(32)), bytes(reversed(range(32)))
OWNER = "projects/default/webhooks/hook"


@given(st.text(max_size=200), st.text(max_size=50))
def test_what_was_sealed_opens_for_its_owner_and_tells_nothing(secret, owner):
    box = SecretBox([OLD])
    sealed = box.seal(secret, owner)
    assert is_sealed(sealed)
    assert box.open(sealed, owner) == secret
    assert box.seal(secret, owner) != sealed
    with pytest.raises(SecretUnreadable):
        box.open(sealed, f"{owner}2")


def test_sealed_it_fits_its_column_and_does_not_repeat_the_secret():
    secret = "whsec_" + base64.b64encode(b"k" * 64).decode()
    sealed = SecretBox([OLD]).seal(secret, OWNER)
    assert len(sealed) <= 512
    assert secret not in sealed
    assert not is_sealed(secret)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_noticed(position, change):
    box = SecretBox([OLD])
    head, _, text = box.seal("whsec_abc", OWNER).rpartition(":")
    content = bytearray(base64.b64decode(text))
    content[position % len(content)] ^= change
    with pytest.raises(SecretUnreadable):
        box.open(f"{head}:{base64.b64encode(content).decode()}", OWNER)


@pytest.mark.parametrize("text", ["", "whsec_abc", "sealed1:00:00", "sealed1", "sealed1::"])
def test_what_is_not_sealed_opens_for_nobody(text):
    with pytest.raises(SecretUnreadable):
        SecretBox([OLD]).open(text, OWNER)


def test_a_new_key_seals_and_the_old_one_still_opens():
    before, both, after = SecretBox([OLD]), SecretBox([NEW, OLD]), SecretBox([NEW])
    sealed = before.seal("whsec_abc", OWNER)
    assert both.open(sealed, OWNER) == "whsec_abc"
    assert (before.is_current(sealed), both.is_current(sealed)) == (True, False)
    assert (both.knows(sealed), after.knows(sealed), both.knows("whsec_abc")) == (
        True,
        False,
        False,
    )
    with pytest.raises(SecretUnreadable):
        after.open(sealed, OWNER)
    assert after.open(both.seal("whsec_abc", OWNER), OWNER) == "whsec_abc"


def test_a_key_file_is_made_once_for_this_user_alone(tmp_path):
    path = tmp_path / "data" / "webhooks.key"
    make_keys(path)
    text = path.read_text()
    make_keys(path)
    assert path.read_text() == text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["webhooks.key"]
    sealed = read_keys(path).seal("whsec_abc", OWNER)
    assert read_keys(path).open(sealed, OWNER) == "whsec_abc"


@pytest.mark.parametrize("text", ["", "not base64!", "YWJj", f"{'A' * 44}\nYWJj\n"])
def test_a_file_without_usable_keys_is_refused_without_repeating_it(tmp_path, text):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ValueError, match="32 bytes") as refusal:
        read_keys(path)
    assert not text or text not in str(refusal.value)
