"""What a graph costs to serve."""

from __future__ import annotations

from typing import Final

from services.trainer.adapters.export.runtime import GraphModel
from services.trainer.core.constraints import P99, SIZE
from services.trainer.core.tables import Table

_ONE_THREAD: Final = 1
_TRIES: Final = 3
"""Other work on the machine only ever makes a row slower, so the fastest try is nearest to it."""


def footprint(graph: bytes, rows: Table) -> dict[str, float]:
    """Size of a graph and latency of one row, on this machine.

    Args:
        graph: ONNX.
        rows: Asked one after the other; at least one.
    """
    model = GraphModel(graph, _ONE_THREAD)
    p99_ms = min(model.latency_ms(rows)[P99] for _ in range(_TRIES))
    return {SIZE: float(len(graph)), P99: p99_ms}
