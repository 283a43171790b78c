"""`litserve_server.py PORT FOLDER`: each model at `/ID`, batched across callers by LitServe."""

import sys
from pathlib import Path
from typing import Any

import litserve
from onnx_rows import OnnxRows, models


class RowApi(litserve.LitAPI):  # type: ignore[misc]  # untyped base
    """One model; LitServe runs it in a process of its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(max_batch_size=64, batch_timeout=0.001, api_path=f"/{path.stem}")
        self._path = path

    def setup(self, device: str) -> None:  # noqa: ARG002 - given by LitServe
        """Open the session, in the worker."""
        self._model = OnnxRows(self._path)

    def batch(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows that came together."""
        return inputs

    def predict(self, x: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The outputs of each row."""
        return self._model.run(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer for each caller."""
        return output


if __name__ == "__main__":
    _, port, folder = sys.argv
    server = litserve.LitServer(
        [RowApi(path) for path in models(folder).values()], accelerator="cpu"
    )
    server.run(host="127.0.0.1", port=int(port), log_level="warning", generate_client_file=False)
