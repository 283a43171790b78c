"""Runs `model.onnx` inside Triton's python backend, for servers without an onnxruntime backend.

Not imported by the service: its text is pushed to Triton as `model.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One loaded version; Triton calls its methods by name."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session beside this file."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        config = json.loads(args["model_config"])
        self._texts = {i["name"] for i in config["input"] if i["data_type"] == "TYPE_STRING"}
        self._inputs = [item["name"] for item in config["input"]]
        self._outputs = [item["name"] for item in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request by itself: the caller has joined what can be joined."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            arrays = self._session.run(self._outputs, self._feeds(request))
        except Exception as error:  # noqa: BLE001 - any failure belongs to this request alone
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor(name, array)
                for name, array in zip(self._outputs, arrays, strict=True)
            ]
        )

    def _feeds(self, request: Any) -> dict[str, Any]:
        feeds = {}
        for name in self._inputs:
            array = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            if name in self._texts:
                texts = [element.decode() for element in array.ravel()]
                array = np.array(texts, dtype=np.object_).reshape(array.shape)
            feeds[name] = array
        return feeds
