"""Python values to and from the well-known protobuf types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from services.common.errors import FieldViolation, InvalidRequest
from services.common.money import MICROS
from services.common.money import Money as Micros


def to_timestamp(moment: datetime) -> Timestamp:
    """`moment` on the wire, to the microsecond.

    Raises:
        ValueError: `moment` has no time zone, so it names no instant.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def from_timestamp(timestamp: Timestamp) -> datetime:
    """The instant in UTC; nanoseconds are cut to microseconds."""
    return _instant(timestamp.seconds, timestamp.nanos)


@lru_cache(maxsize=1024)
def _instant(seconds: int, nanos: int) -> datetime:
    # All series of a step are measured at one instant; to convert it takes as long as all else
    # of a point.
    return Timestamp(seconds=seconds, nanos=nanos).ToDatetime(tzinfo=UTC)


def to_duration(seconds: float) -> Duration:
    """`seconds` on the wire, to the microsecond."""
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


def from_duration(duration: Duration) -> float:
    """Seconds."""
    return duration.ToTimedelta().total_seconds()


def to_money(micros: int, currency: str) -> Money:
    """An amount in millionths of a unit on the wire."""
    units, rest = divmod(micros, MICROS)
    return Money(currency_code=currency, units=units, nanos=rest * 1000)


def from_money(amount: Money, field: str) -> Micros:
    """An amount that a request names.

    Raises:
        InvalidRequest: The one at `field` is negative, finer than a millionth, or has no
            currency of three letters.
    """
    micros = amount.units * MICROS + amount.nanos // 1000
    faults = []
    if amount.nanos % 1000 or amount.nanos < 0 or micros < 0:
        faults.append(FieldViolation(field, "must be at least 0, in whole millionths"))
    if not re.fullmatch("[A-Z]{3}", amount.currency_code):
        text = f"is {amount.currency_code!r}; a code such as USD is wanted"
        faults.append(FieldViolation(f"{field}.currency_code", text))
    if faults:
        raise InvalidRequest(faults)
    return Micros(micros, amount.currency_code)


def to_struct(values: Mapping[str, object]) -> Struct:
    """JSON-like `values` as a Struct.

    Raises:
        ValueError: A value is not None, bool, number, str, sequence or mapping, or is
            a whole number that a double can't hold: that one belongs in a string.
    """
    struct = Struct()
    for key, value in values.items():
        struct.fields[key].CopyFrom(_to_value(value))
    return struct


def from_struct(struct: Struct) -> dict[str, object]:
    """JSON-like values; whole numbers come back as int, since a Struct has only doubles."""
    return {key: _from_value(value) for key, value in struct.fields.items()}


_LARGEST_EXACT_INT = 2**53


def _to_value(value: object) -> Value:
    match value:
        case None:
            return Value(null_value=0)  # type: ignore[arg-type]  # NULL_VALUE is not exported typed
        case bool():
            return Value(bool_value=value)
        case int() if abs(value) > _LARGEST_EXACT_INT:
            raise ValueError(f"{value} does not fit a double exactly; send it as a string")
        case int() | float():
            return Value(number_value=value)
        case str():
            return Value(string_value=value)
        case Mapping():
            return Value(struct_value=to_struct(value))
        case bytes() | bytearray():
            raise ValueError("bytes have no JSON form")
        case Iterable():
            return Value(list_value=ListValue(values=[_to_value(item) for item in value]))
        case _:
            raise ValueError(f"{type(value).__name__} has no JSON form")


def _from_value(value: Value) -> object:
    match value.WhichOneof("kind"):
        case "bool_value":
            return value.bool_value
        case "number_value":
            number = value.number_value
            exact = number.is_integer() and abs(number) <= _LARGEST_EXACT_INT
            return int(number) if exact else number
        case "string_value":
            return value.string_value
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [_from_value(item) for item in value.list_value.values]
        case _:
            return None
