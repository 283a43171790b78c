"""An exported graph, run by ONNX Runtime. Imports no learning library."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime

from services.trainer.core.tables import Table

BATCH_ROWS = 16_384

Probabilities = npt.NDArray[np.float32]


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

    def probability(self, table: Table) -> Probabilities:
        """float32 [rows]: the probability of label 1."""
        names = [found.name for found in self._session.get_inputs()]
        columns = {name: table.features[name].reshape(-1, 1) for name in names}
        parts = [
            self._session.run(
                ["probabilities"],
                {name: column[start : start + BATCH_ROWS] for name, column in columns.items()},
            )[0][:, 1]
            for start in range(0, len(table), BATCH_ROWS)
        ]
        return np.concatenate(parts)
