"""Runs `model.onnx` in MLServer; loaded in MLServer's own environment, not in this one."""

from __future__ import annotations

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri


class OnnxModel(MLModel):  # type: ignore[misc]  # untyped base
    """One ONNX graph, with the session options of the inference service."""

    async def load(self) -> bool:
        """Open the session."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(await get_model_uri(self._settings), options)
        self._outputs = [output.name for output in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the request's rows."""
        feeds = {}
        for tensor in payload.inputs:
            if tensor.datatype == "BYTES":
                texts = StringCodec.decode_input(tensor)
                feeds[tensor.name] = np.array(texts, dtype=np.object_).reshape(-1, 1)
            else:
                feeds[tensor.name] = NumpyCodec.decode_input(tensor)
        arrays = self._session.run(self._outputs, feeds)
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output(name, array)
                for name, array in zip(self._outputs, arrays, strict=True)
            ],
        )
