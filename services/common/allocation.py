"""How the process gets its memory."""

from __future__ import annotations

import ctypes
from typing import Final

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_LARGEST_ARENA_BLOCK: Final = 32 << 20
"""The most that glibc takes from an arena; what is larger is mapped by itself."""

_KEPT_BYTES: Final = 64 << 20
_STEP_BYTES: Final = 16 << 20
_ARENAS: Final = 2
"""Threads that hand buffers to each other gain nothing from an arena each, and keep more."""


def keep_freed_memory() -> bool:
    """Let freed buffers be used again instead of going back to the system at once.

    By default glibc gives each buffer of a MiB back and asks for it anew, and the system
    clears it page by page: on a virtual machine 2.4 ms for each MiB of a stream, four times
    as long as its SHA-256 takes. Called once, before there are threads.

    Returns:
        Whether the C library knows how; where it is not glibc, nothing changes.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt") or not hasattr(library, "gnu_get_libc_version"):
        return False
    options = (
        (_M_MMAP_THRESHOLD, _LARGEST_ARENA_BLOCK),
        (_M_TRIM_THRESHOLD, _KEPT_BYTES),
        (_M_TOP_PAD, _STEP_BYTES),
        (_M_ARENA_MAX, _ARENAS),
    )
    return all(library.mallopt(option, value) == 1 for option, value in options)
