"""What networks are trained on, and with which numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Device(StrEnum):
    """Where a network is while it trains. The values are names of the contract."""

    CPU = "DEVICE_CPU"
    GPU = "DEVICE_GPU"


class Precision(StrEnum):
    """Numbers that a network is computed with. The values are names of the contract."""

    FLOAT32 = "PRECISION_FLOAT32"
    BFLOAT16_MIXED = "PRECISION_BFLOAT16_MIXED"


@dataclass(frozen=True, slots=True)
class Acceleration:
    """How networks are trained faster.

    Attributes:
        device: Where they are; each worker of an attempt holds a GPU of its own.
        precision: Of what is between layers; weights and their updates are float32 in any case.
        compile: Whether `torch.compile` makes one program of a network first.
    """

    device: Device = Device.CPU
    precision: Precision = Precision.FLOAT32
    compile: bool = False


def acceleration_from_json(document: Mapping[str, Any]) -> Acceleration:
    """The proto3 JSON of the contract's Acceleration, with its field names."""
    return Acceleration(
        device=Device(document.get("device") or Device.CPU),
        precision=Precision(document.get("precision") or Precision.FLOAT32),
        compile=document.get("compile", False),
    )


def acceleration_to_json(asked: Acceleration) -> dict[str, Any]:
    """The inverse of `acceleration_from_json`, defaults included."""
    return {name: getattr(each, "value", each) for name, each in asdict(asked).items()}
