"""A SHA-256 that can be put down and taken up again, by another process too.

hashlib keeps the state of a running digest to itself. The functions below are those of the
OpenSSL that hashlib is linked to, as fast as it is, with a context that is plain memory.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from functools import cache
from typing import Final

_CONTEXT_BYTES: Final = 112
"""`SHA256_CTX` of OpenSSL's sha.h: 8 words of state, 2 of length, 16 of input, 2 of counts."""

_FORM: Final = f"sha256-{sys.byteorder}:"


class RunningSha256:
    """The digest of a stream so far; `state` is None where OpenSSL hides its functions.

    Args:
        state: From another instance; None begins anew.

    Raises:
        ValueError: `state` is none that this process can go on from.
    """

    def __init__(self, state: str | None = None) -> None:
        self._library = _library() if _works() else None
        self._plain = hashlib.sha256()
        self._context = ctypes.create_string_buffer(_CONTEXT_BYTES)
        if self._library is None:
            if state is not None:
                raise ValueError("no digest can be taken up here: OpenSSL hides its state")
        elif state is None:
            self._library.SHA256_Init(self._context)
        else:
            self._context.raw = _parse(state)

    def update(self, data: bytes) -> None:
        """Take the next bytes in; other threads run meanwhile."""
        if self._library is None:
            self._plain.update(data)
        else:
            self._library.SHA256_Update(self._context, data, len(data))

    def hexdigest(self) -> str:
        """64 hex digits; more bytes may follow."""
        if self._library is None:
            return self._plain.hexdigest()
        copy = ctypes.create_string_buffer(self._context.raw, _CONTEXT_BYTES)
        digest = ctypes.create_string_buffer(32)
        self._library.SHA256_Final(digest, copy)
        return digest.raw.hex()

    def state(self) -> str | None:
        """What another instance goes on from, on any machine of the same byte order."""
        return None if self._library is None else _FORM + self._context.raw.hex()


def _parse(state: str) -> bytes:
    context = bytes.fromhex(state.removeprefix(_FORM)) if state.startswith(_FORM) else b""
    if len(context) != _CONTEXT_BYTES:
        raise ValueError("the state is not one of a SHA-256 on a machine like this one")
    return context


@cache
def _library() -> ctypes.CDLL | None:
    import _hashlib

    library = ctypes.CDLL(getattr(_hashlib, "__file__", None))
    try:
        library.SHA256_Init.argtypes = [ctypes.c_char_p]
        library.SHA256_Update.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
        library.SHA256_Final.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    except AttributeError:
        return None
    return library


@cache
def _works() -> bool:
    """Whether the functions are there and give what hashlib gives, also when taken up midway."""
    library = _library()
    if library is None:
        return False
    sample = bytes(range(256)) * 3
    context = ctypes.create_string_buffer(_CONTEXT_BYTES)
    digest = ctypes.create_string_buffer(32)
    library.SHA256_Init(context)
    library.SHA256_Update(context, sample[:100], 100)
    moved = ctypes.create_string_buffer(context.raw, _CONTEXT_BYTES)
    library.SHA256_Update(moved, sample[100:], len(sample) - 100)
    library.SHA256_Final(digest, moved)
    return digest.raw == hashlib.sha256(sample).digest()
