"""What requests call an amount of money, in whole millionths."""

from __future__ import annotations

from google.type.money_pb2 import Money

from services.common.errors import FieldViolation, InvalidRequest
from services.common.money import MICROS


def from_money(money: Money, currency: str, field: str) -> int:
    """Millionths of `currency`.

    Raises:
        InvalidRequest: The amount at `field` is of another currency, negative or too fine.
    """
    micros = money.units * MICROS + money.nanos // 1000
    faults = []
    if money.currency_code != currency:
        text = f"is {money.currency_code!r}; must be {currency}, as in the price table"
        faults.append(FieldViolation(f"{field}.currency_code", text))
    if money.nanos % 1000 or money.nanos < 0 or micros < 0:
        text = "must be at least 0, in whole millionths"
        faults.append(FieldViolation(field, text))
    if faults:
        raise InvalidRequest(faults)
    return micros
