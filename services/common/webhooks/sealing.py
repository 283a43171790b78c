"""Secrets as they stand in a database: sealed with a key that is not in it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32

_MARK: Final = "sealed1"
_NONCE_BYTES: Final = 12


class SecretUnreadable(Exception):
    """A sealed secret was sealed with a key that is not there, for somebody else, or changed."""


class SecretBox:
    """Seals secrets, each bound to whom it belongs to, by AES-256-GCM (NIST SP 800-38D).

    Args:
        keys: 32 bytes each, at least one; the first seals, each opens what it sealed.

    Raises:
        ValueError: One has another length.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"needs keys of {KEY_BYTES} bytes")
        self._ciphers = {_id_of(key): AESGCM(key) for key in keys}
        self._current = _id_of(keys[0])

    def seal(self, secret: str, owner: str) -> str:
        """The secret as it may be stored, another text each time.

        Args:
            secret: In the clear.
            owner: Whose it is, such as a resource name; opening needs the same.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(nonce, secret.encode(), owner.encode())
        return ":".join((_MARK, self._current, base64.b64encode(nonce + sealed).decode()))

    def open(self, sealed: str, owner: str) -> str:
        """The secret in the clear.

        Raises:
            SecretUnreadable: No key here sealed it, it is another owner's, or it was changed.
        """
        mark, _, rest = sealed.partition(":")
        key_id, _, text = rest.partition(":")
        cipher = self._ciphers.get(key_id)
        if mark != _MARK or cipher is None:
            raise SecretUnreadable(f"The secret of {owner!r} was sealed with another key.")
        try:
            content = base64.b64decode(text, validate=True)
            nonce, content = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
            return cipher.decrypt(nonce, content, owner.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise SecretUnreadable(f"The sealed secret of {owner!r} was changed.") from error

    def knows(self, sealed: str) -> bool:
        """Whether one of the keys sealed it."""
        return is_sealed(sealed) and sealed.split(":")[1] in self._ciphers

    def is_current(self, sealed: str) -> bool:
        """Whether the first key sealed it."""
        return sealed.startswith(f"{_MARK}:{self._current}:")


def is_sealed(text: str) -> bool:
    """Whether it is no secret in the clear."""
    return text.startswith(f"{_MARK}:")


def read_keys(path: Path) -> SecretBox:
    """The box with the keys of a file: base64 of 32 bytes a line, the one that seals first.

    Raises:
        OSError: It can't be read.
        ValueError: A line is no key; the text repeats none.
    """
    lines = [line.strip() for line in path.read_text().splitlines()]
    try:
        return SecretBox([base64.b64decode(line, validate=True) for line in lines if line])
    except binascii.Error:
        raise ValueError(f"needs base64 of {KEY_BYTES} bytes a line") from None


def make_keys(path: Path) -> None:
    """Write a new key that only this user can read, unless there is a file already.

    Raises:
        OSError: It can't be written.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n")
    try:
        # Unlike a rename it leaves the key of whoever was faster.
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _id_of(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:16]
