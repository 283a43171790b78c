"""One reference and one window of numbers, the same for whoever draws them, block by block.

It needs nothing but NumPy: a peer draws them in an environment of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

BLOCK_ROWS: Final = 10_000
BLOCK_COLUMNS: Final = 50
REFERENCE: Final = 0
WINDOW: Final = 1

SHIFT: Final = 0.5
"""How far, in standard deviations, each tenth column has moved in the window."""

_ONE_IN: Final = 10


def block(part: int, rows: int, columns: int) -> npt.NDArray[np.float32]:
    """float32 [BLOCK_COLUMNS, BLOCK_ROWS]: one block, by its place.

    Args:
        part: `REFERENCE` or `WINDOW`.
        rows: Which block of rows, from 0.
        columns: Which block of columns, from 0.
    """
    random = np.random.default_rng([part, rows, columns])
    values = random.standard_normal((BLOCK_COLUMNS, BLOCK_ROWS), dtype=np.float32)
    if part == WINDOW:
        values[::_ONE_IN] += np.float32(SHIFT)
    return values


def names(columns: int) -> list[str]:
    """Of the columns of one block."""
    first = columns * BLOCK_COLUMNS
    return [f"n{place:04}" for place in range(first, first + BLOCK_COLUMNS)]


def moved(columns: int) -> int:
    """How many of so many columns have moved in the window."""
    return -(-columns // _ONE_IN)


def peak_mib() -> float:
    """The most memory that this process ever held; getrusage would count its parent's in."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024
