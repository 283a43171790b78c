"""Price tables, as JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from services.trainer.core.money import PriceTable

DEFAULT: Final = Path(__file__).parent / "2026-11.json"


class PriceFile(BaseModel):
    """The content of a price file; amounts in millionths of a unit of the currency a second."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field(min_length=1, max_length=64)
    currency: str = Field(pattern="^[A-Z]{3}$")
    cpu_core_second_micros: int = Field(ge=0, le=10**9)
    memory_gib_second_micros: int = Field(ge=0, le=10**9)
    gpu_second_micros: int = Field(default=0, ge=0, le=10**9)


def load_prices(file: Path) -> PriceTable:
    """The prices in `file`.

    Raises:
        OSError: It can't be read.
        ValidationError: It is no price table.
    """
    found = PriceFile.model_validate_json(file.read_bytes())
    return PriceTable(
        version=found.version,
        currency=found.currency,
        cpu_core_micros=found.cpu_core_second_micros,
        memory_gib_micros=found.memory_gib_second_micros,
        gpu_micros=found.gpu_second_micros,
    )
