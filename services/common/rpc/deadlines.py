"""The time that the running call has left, so that outgoing calls take no longer."""

from __future__ import annotations

import time
from contextvars import ContextVar

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def set_time_remaining(seconds: float | None) -> None:
    """Start the clock for the rest of the running task; None means without a deadline."""
    _deadline.set(None if seconds is None else time.monotonic() + seconds)


def time_remaining() -> float | None:
    """Seconds left, never below 0; None outside of a call or in one without a deadline."""
    deadline = _deadline.get()
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def timeout_for(own_default_s: float | None) -> float | None:
    """The smaller of an outgoing call's own timeout and what its caller has left, in seconds."""
    remaining = time_remaining()
    if own_default_s is None or remaining is None:
        return remaining if own_default_s is None else own_default_s
    return min(own_default_s, remaining)
