"""An exported graph, run by ONNX Runtime. Imports no learning library."""

from __future__ import annotations

import time
from typing import Final

import numpy as np
import onnxruntime

from services.trainer.core.objectives import Predicted
from services.trainer.core.tables import Table

PREDICTION: Final = "prediction"
"""Output of a graph that tells a quantity, float32 [rows, 1],"""
PROBABILITIES: Final = "probabilities"
"""and of one that tells classes, float32 [rows, classes]."""

BATCH_ROWS = 16_384
TEXT_ROWS = 32
"""Of a table with a text: attention takes memory for each pair of tokens of each row."""
PERCENTILES = (50, 95, 99)
LATENCY_WARMUP = 20
LATENCY_CALLS = 200
"""Enough for a 99th percentile of two calls; a large forest takes half a second."""


class GraphModel:
    """An exported graph, ready to score.

    Args:
        graph: ONNX bytes.
        threads: Threads that one run may keep busy.
    """

    def __init__(self, graph: bytes, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [found.name for found in self._session.get_inputs()]
        outputs = {found.name for found in self._session.get_outputs()}
        self._told = [PREDICTION if PREDICTION in outputs else PROBABILITIES]

    def latency_ms(self, table: Table) -> dict[str, float]:
        """How long one row takes, measured over the first rows of `table`, which has one or more.

        Returns:
            `latency.p50_ms`, `latency.p95_ms` and `latency.p99_ms`, on this machine, as busy as it
            is.
        """
        names = self._inputs
        taken_ms = []
        for call in range(LATENCY_WARMUP + LATENCY_CALLS):
            row = call % len(table)
            inputs = {name: table.features[name][row : row + 1].reshape(1, 1) for name in names}
            began = time.perf_counter()
            self._session.run(self._told, inputs)
            taken_ms.append((time.perf_counter() - began) * 1000)
        found = np.percentile(taken_ms[LATENCY_WARMUP:], PERCENTILES)
        return {
            f"latency.p{percent}_ms": float(value)
            for percent, value in zip(PERCENTILES, found, strict=True)
        }

    def predicted(self, table: Table) -> Predicted:
        """float32 [rows], the probability of label 1 or a quantity, or [rows, classes]."""
        names = self._inputs
        columns = {name: table.features[name].reshape(-1, 1) for name in names}
        rows = TEXT_ROWS if table.text else BATCH_ROWS
        parts = [
            self._session.run(
                self._told,
                {name: column[start : start + rows] for name, column in columns.items()},
            )[0]
            for start in range(0, len(table), rows)
        ]
        told: Predicted = np.concatenate(parts)
        match told.shape[1]:
            case 1:
                return told[:, 0]
            case 2:
                return told[:, 1]
            case _:
                return told
