"""Amounts of money in whole millionths of a unit: no floats, no rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MICROS: Final = 1_000_000
"""Of one unit of a currency."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount.

    Attributes:
        micros: Millionths of a unit.
        currency: ISO 4217 code.
    """

    micros: int
    currency: str

    def __str__(self) -> str:
        return f"{self.micros // MICROS}.{self.micros % MICROS:06} {self.currency}"
