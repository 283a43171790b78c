"""Runs JSON rows through ONNX Runtime, alike in every peer that has no tensors of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class OnnxRows:
    """One graph, with the session options of the inference service."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options)
        self._types = {
            node.name: np.object_ if node.type == "tensor(string)" else np.float32
            for node in self._session.get_inputs()
        }
        self._outputs = [node.name for node in self._session.get_outputs()]

    def run(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The outputs of each row, by name."""
        feeds = {
            name: np.array([row[name] for row in rows], dtype=dtype).reshape(-1, 1)
            for name, dtype in self._types.items()
        }
        columns = [array.tolist() for array in self._session.run(self._outputs, feeds)]
        return [dict(zip(self._outputs, row, strict=True)) for row in zip(*columns, strict=True)]


def models(folder: str) -> dict[str, Path]:
    """The graphs in a folder, by their ids."""
    return {path.stem: path for path in sorted(Path(folder).glob("*.onnx"))}
