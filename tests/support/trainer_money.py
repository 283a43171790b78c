"""Prices and amounts that a test can count in its head."""

from __future__ import annotations

import json
from pathlib import Path

from google.type.money_pb2 import Money

_CENT_MICROS = 10_000


def cent_prices(folder: Path) -> Path:
    """A price file by which a second of a core costs a cent, and memory nothing."""
    file = folder / "prices.json"
    document = {
        "version": "cents",
        "currency": "USD",
        "cpu_core_second_micros": _CENT_MICROS,
        "memory_gib_second_micros": 0,
    }
    file.write_text(json.dumps(document))
    return file


def usd(cents: int) -> Money:
    """So many cents."""
    return Money(currency_code="USD", units=cents // 100, nanos=cents % 100 * _CENT_MICROS * 1000)


def cents(money: Money) -> float:
    """How many cents it is."""
    return money.units * 100 + money.nanos / 1000 / _CENT_MICROS
