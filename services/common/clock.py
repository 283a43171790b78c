"""Time as the services see it; passed in, so that tests can turn it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Gives the present moment, timezone-aware, UTC."""


def utc_now() -> datetime:
    """The system clock."""
    return datetime.now(UTC)
