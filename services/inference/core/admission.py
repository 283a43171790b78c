"""Who may begin a call: bounds on what is held in memory, and on what one caller takes."""

from __future__ import annotations

from typing import Final

from services.inference.core.errors import QueueFull, TooManyCalls

_RETRY_AFTER_S: Final = 0.1


class Admission:
    """Counts the calls under way.

    Args:
        max_calls_per_caller: Calls of one caller under way at once.
        max_bytes: Of all requests under way together.
    """

    def __init__(self, *, max_calls_per_caller: int, max_bytes: int) -> None:
        self._max_calls = max_calls_per_caller
        self._max_bytes = max_bytes
        self._calls: dict[str, int] = {}
        self._bytes = 0

    @property
    def calls_under_way(self) -> int:
        """Of all callers."""
        return sum(self._calls.values())

    @property
    def bytes_under_way(self) -> int:
        """Of their requests, serialized."""
        return self._bytes

    def enter(self, caller: str, size_bytes: int) -> None:
        """Begin a call; `leave` with the same arguments ends it.

        A request of any size may begin when no other is under way.

        Raises:
            TooManyCalls: The caller has as many under way as it may.
            QueueFull: The requests under way fill the memory that they may.
        """
        calls = self._calls.get(caller, 0)
        if calls >= self._max_calls:
            raise TooManyCalls(self._max_calls, _RETRY_AFTER_S)
        if self._bytes and self._bytes + size_bytes > self._max_bytes:
            raise QueueFull("bytes", self._bytes, self._max_bytes, _RETRY_AFTER_S)
        self._calls[caller] = calls + 1
        self._bytes += size_bytes

    def leave(self, caller: str, size_bytes: int) -> None:
        """End a call."""
        self._bytes -= size_bytes
        calls = self._calls[caller] - 1
        if calls:
            self._calls[caller] = calls
        else:
            del self._calls[caller]
