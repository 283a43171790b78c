"""What money buys, and what was charged for it; amounts are whole millionths of a unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from services.common.money import MICROS, Money

SLICE_S: Final = 60
"""Most seconds of one entry in the ledger."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What an attempt occupies.

    Attributes:
        cpu_cores: Cores.
        memory_gib: GiB of memory, rounded up; 0 where it is not limited.
        gpus: GPUs.
    """

    cpu_cores: int
    memory_gib: int = 0
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices, for each second that has begun.

    Attributes:
        version: Name of the table.
        currency: ISO 4217 code of every amount.
        cpu_core_micros: Of a core.
        memory_gib_micros: Of a GiB of memory.
        gpu_micros: Of a GPU.
    """

    version: str
    currency: str
    cpu_core_micros: int
    memory_gib_micros: int
    gpu_micros: int = 0

    def rate(self, resources: Resources) -> int:
        """Millionths a second."""
        return (
            resources.cpu_cores * self.cpu_core_micros
            + resources.memory_gib * self.memory_gib_micros
            + resources.gpus * self.gpu_micros
        )


@dataclass(frozen=True, slots=True)
class Charge:
    """An entry in the ledger: some seconds of one attempt. One entry for each attempt and tick.

    Attributes:
        job: Job's resource name.
        job_uid: Of the job.
        attempt: Number of the attempt.
        tick: Number of the slice of `SLICE_S` seconds, from 0.
        start_time: When the slice began.
        seconds: Of the slice that have begun.
        amount_micros: For them.
        owner: Who pays.
        model: That is trained.
        price_version: Of the price table.
    """

    job: str
    job_uid: str
    attempt: int
    tick: int
    start_time: datetime
    seconds: int
    amount_micros: int
    owner: str
    model: str
    price_version: str

    @property
    def month(self) -> str:
        """Calendar month that it counts in, such as `2026-11`."""
        return month_of(self.start_time)


def month_of(moment: datetime) -> str:
    """Calendar month, UTC, such as `2026-11`."""
    return f"{moment:%Y-%m}"


def money_from_json(document: Mapping[str, Any]) -> Money:
    """The amount in the proto3 JSON of google.type.Money.

    Raises:
        ValueError: It is negative or finer than a millionth.
    """
    nanos = int(document.get("nanos", 0))
    micros = int(document.get("units", 0)) * MICROS + nanos // 1000
    if nanos % 1000 or micros < 0:
        raise ValueError("must be at least 0, in whole millionths")
    return Money(micros, document.get("currency_code", ""))


def money_to_json(money: Money) -> dict[str, Any]:
    """The inverse of `money_from_json`."""
    units, micros = divmod(money.micros, MICROS)
    return {"currency_code": money.currency, "units": str(units), "nanos": micros * 1000}
