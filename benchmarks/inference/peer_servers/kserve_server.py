"""`kserve_server.py HTTP_PORT GRPC_PORT FOLDER`: each model by its id, over the same gRPC.

KServe's Python server has no batching of its own: its batcher is a process of a cluster.
"""

from __future__ import annotations

import sys
from pathlib import Path

import kserve
import numpy as np
import onnxruntime
from onnx_rows import models


class OnnxModel(kserve.Model):  # type: ignore[misc]  # untyped base
    """One ONNX graph, with the session options of the inference service."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options)
        self._outputs = [node.name for node in self._session.get_outputs()]
        self.ready = True

    def predict(
        self,
        payload: kserve.InferRequest,
        headers: dict[str, str] | None = None,  # noqa: ARG002 - given by KServe
    ) -> kserve.InferResponse:
        """The outputs of the request's rows."""
        feeds = {}
        for tensor in payload.inputs:
            array = tensor.as_numpy()
            if tensor.datatype == "BYTES":
                texts = [each.decode() if isinstance(each, bytes) else each for each in array.flat]
                array = np.array(texts, dtype=np.object_).reshape(array.shape)
            feeds[tensor.name] = array
        outputs = []
        arrays = self._session.run(self._outputs, feeds)
        for name, array in zip(self._outputs, arrays, strict=True):
            datatype = "INT64" if array.dtype == np.int64 else "FP32"
            output = kserve.InferOutput(name, list(array.shape), datatype)
            output.set_data_from_numpy(array, binary_data=True)
            outputs.append(output)
        return kserve.InferResponse(payload.id, self.name, outputs)


if __name__ == "__main__":
    _, http_port, grpc_port, folder = sys.argv
    server = kserve.ModelServer(
        http_port=int(http_port),
        grpc_port=int(grpc_port),
        workers=1,
        enable_docs_url=False,
        access_log_format=None,
    )
    server.start([OnnxModel(name, path) for name, path in models(folder).items()])
