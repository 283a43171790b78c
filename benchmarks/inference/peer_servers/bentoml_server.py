"""`bentoml serve bentoml_server:Models`: each model at `/ID`, batched across callers by BentoML.

The folder of the graphs is the environment's `MODELS`: BentoML imports this file in its workers.
"""

from __future__ import annotations

import os
from typing import Any

import bentoml
from onnx_rows import OnnxRows, models

_MAX_LATENCY_MS = 10_000
"""Requests that would take longer are refused, and refusals are not what is measured."""


@bentoml.service(workers=1, traffic={"timeout": 20, "max_concurrency": 1024})
class Models:
    """Every model in one worker."""

    def __init__(self) -> None:
        self._models = {name: OnnxRows(path) for name, path in models(os.environ["MODELS"]).items()}

    @bentoml.api(route="/dense", batchable=True, max_batch_size=256, max_latency_ms=_MAX_LATENCY_MS)
    def dense(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The outputs of each row."""
        return self._models["dense"].run(rows)

    @bentoml.api(
        route="/flights", batchable=True, max_batch_size=256, max_latency_ms=_MAX_LATENCY_MS
    )
    def flights(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The outputs of each row."""
        return self._models["flights"].run(rows)
