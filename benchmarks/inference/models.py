"""The two models that are served, exported as the trainer exports its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from lightgbm import LGBMClassifier
from roundhouse.demo.flights import CATEGORICAL, NUMERIC, TARGET, Month, month_files
from sklearn.linear_model import LogisticRegression
from tritonclient.grpc import service_pb2 as oip

from services.inference.core.wire import encoded_texts
from services.trainer.adapters.export.bundle import signature
from services.trainer.adapters.export.graph import export_graph
from services.trainer.adapters.learning.encoding import frame, new_encoder
from services.trainer.adapters.learning.recipe import Encoding
from services.trainer.adapters.recipes import lightgbm
from services.trainer.core.tables import Table

_CACHE = Path(__file__).resolve().parents[2] / ".roundhouse" / "flights"
_DENSE_FEATURES = 30
_ROWS = 4000
_TREES = 100


@dataclass(frozen=True, slots=True)
class BenchmarkModel:
    """A model to serve, and one row to ask it.

    Attributes:
        id: What endpoints of it are named after.
        files: The bundle, without its manifest.
        row: By input, a number or a text.
    """

    id: str
    name: str
    files: Mapping[str, bytes]
    row: Mapping[str, float | str]

    def request(self, model: str, version: str = "") -> bytes:
        """The row as a serialized `ModelInferRequest`, with raw contents as stock clients send."""
        request = oip.ModelInferRequest(model_name=model, model_version=version)
        for name, value in self.row.items():
            if isinstance(value, str):
                datatype, content = "BYTES", encoded_texts([value])
            else:
                datatype, content = "FP32", np.float32(value).tobytes()
            request.inputs.add(name=name, datatype=datatype, shape=[1, 1])
            request.raw_input_contents.append(content)
        serialized: bytes = request.SerializeToString()
        return serialized


def dense() -> BenchmarkModel:
    """A logistic regression over 30 numbers."""
    random = np.random.default_rng(7)
    columns = {
        f"x{i}": random.normal(size=_ROWS).astype(np.float32) for i in range(_DENSE_FEATURES)
    }
    label = np.greater(sum(columns.values()), 0).astype(np.int64)
    table = _table(columns, {}, label)
    return _exported("dense", "30 floats", Encoding.SCALED_ONE_HOT, LogisticRegression(), table)


def flights() -> BenchmarkModel:
    """Boosted trees over a month of the demo's flights, numbers and texts."""
    month = pq.read_table(month_files(_CACHE)[Month("2013-01")])
    month = month.take(np.arange(0, month.num_rows, max(1, month.num_rows // _ROWS)))
    numeric = {
        name: pc.cast(month[name], pa.float32()).to_numpy(zero_copy_only=False).astype(np.float32)
        for name in NUMERIC
    }
    texts = {
        name: np.array([word or "" for word in month[name].to_pylist()], dtype=np.object_)
        for name in CATEGORICAL
    }
    table = _table(numeric, texts, month[TARGET].to_numpy().astype(np.int64))
    trees = LGBMClassifier(n_estimators=_TREES, random_state=7, n_jobs=1, verbose=-1)
    lightgbm.RECIPE.teach_export()
    return _exported("flights", "flights", Encoding.ORDINAL, trees, table)


def _table(
    numeric: Mapping[str, Any], texts: Mapping[str, Any], label: np.ndarray[Any, Any]
) -> Table:
    return Table(
        numeric=numeric,
        categorical=texts,
        label=label,
        event_time_us=np.arange(len(label), dtype=np.int64),
        slices={},
    )


def _exported(
    model_id: str, name: str, encoding: Encoding, estimator: Any, table: Table
) -> BenchmarkModel:
    encoder = new_encoder(encoding, table)
    estimator.fit(encoder.fit_transform(frame(table)), table.label)
    files = {
        "model.onnx": export_graph(encoder, estimator, table),
        "signature.json": json.dumps(signature(table)).encode(),
        "card.md": b"# Benchmark\n",
    }
    row = {column: values[0].item() for column, values in table.numeric.items()}
    row |= {column: values[0] for column, values in table.categorical.items()}
    return BenchmarkModel(model_id, name, files, row)
