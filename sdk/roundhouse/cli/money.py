"""Amounts of money as people write them, without floats."""

from __future__ import annotations

import re
from typing import Final

from google.type.money_pb2 import Money
from roundhouse.cli.failures import UsageFault

_AMOUNT: Final = re.compile(r"^(\d{1,12})(?:\.(\d{1,6}))? ([A-Z]{3})$")


def parse_money(text: str) -> Money:
    """The amount in a text such as `12.50 USD`.

    Raises:
        UsageFault: It is none.
    """
    found = _AMOUNT.match(text.strip())
    if found is None:
        raise UsageFault(f"{text!r} is no amount; write it like '12.50 USD'")
    units, fraction, currency = found.groups()
    nanos = int((fraction or "").ljust(9, "0"))
    return Money(currency_code=currency, units=int(units), nanos=nanos)


def shown(money: Money) -> str:
    """An amount to the millionth, such as `12.500000 USD`."""
    return f"{money.units}.{money.nanos // 1000:06} {money.currency_code}"
