"""Rows to predict in batches, what must come of them, and how to read what came."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from services.common.blobs.port import BlobStore
from services.common.resources import Meta
from services.inference.core.batches import BatchPredictionJob, InputFile
from tests.support.bundles import TinyModel
from tests.support.serving import T0, version_name

JOB = "projects/default/batchPredictionJobs/night"
SNAPSHOT = "projects/default/datasets/flights/snapshots/february"


def rows_table(count: int, start: int = 0) -> pa.Table:
    """Rows that the tiny model takes, each with a key of its own; every seventh has gaps."""
    numbers = range(start, start + count)
    return pa.table(
        {
            "flight": [f"f{i}" for i in numbers],
            "distance": pa.array([None if i % 7 == 3 else float(i) for i in numbers], pa.float64()),
            "delay": pa.array([float(i % 19) for i in numbers], pa.float64()),
            "carrier": pa.array([None if i % 7 == 5 else "AA" for i in numbers], pa.string()),
        }
    )


def csv_of(table: pa.Table) -> bytes:
    """The table as an upload."""
    lines = [",".join(table.column_names)]
    lines += [
        ",".join("" if value is None else str(value) for value in row.values())
        for row in table.to_pylist()
    ]
    return "\n".join(lines).encode()


def expected_scores(table: pa.Table, bias: float = 0.0) -> list[float]:
    """What the tiny model gives for each row, by its formula."""
    model = TinyModel(bias)
    return [
        model.probability(
            math.nan if row["distance"] is None else row["distance"],
            row["delay"],
            row["carrier"] or "",
        )
        for row in table.to_pylist()
    ]


def parquet_of(table: pa.Table, row_group_size: int) -> bytes:
    """The table as one Parquet file."""
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=row_group_size)
    return out.getvalue()


def input_file(path: str, data: bytes, rows: int) -> InputFile:
    """How a snapshot describes these bytes."""
    return InputFile(path, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data), rows)


def batch_job(*files: InputFile, name: str = JOB, **changes: Any) -> BatchPredictionJob:
    """A job that waits."""
    given: dict[str, Any] = {
        "meta": Meta(name, "0" * 8, 1, T0, T0),
        "snapshot": SNAPSHOT,
        "snapshot_digest": "sha256:" + "5" * 64,
        "model": version_name(1),
        "version": version_name(1),
        "version_digest": "sha256:" + "1" * 64,
        "files": files,
        "key_columns": ("flight",),
        "part_rows": 10,
    }
    return BatchPredictionJob(**{**given, **changes})


async def bytes_of(blobs: BlobStore, key: str) -> bytes:
    """What is stored under the key."""
    return b"".join([chunk async for chunk in blobs.read(key)])


async def check_output(
    blobs: BlobStore, uid: str, manifest_digest: str, sources: Mapping[str, pa.Table]
) -> dict[str, Any]:
    """The manifest of an output that has each row of `sources`, by file, exactly once."""
    keys = [blob.key for blob in await blobs.list_blobs(f"batches/{uid}/")]
    text = await bytes_of(blobs, f"batches/{uid}/manifest.json")
    assert manifest_digest == f"sha256:{hashlib.sha256(text).hexdigest()}"
    manifest: dict[str, Any] = json.loads(text)
    listed = [f"batches/{uid}/{file['path']}" for file in manifest["files"]]
    assert sorted([*listed, f"batches/{uid}/manifest.json"]) == keys
    tables = []
    for key, file in zip(listed, manifest["files"], strict=True):
        data = await bytes_of(blobs, key)
        assert file["sha256"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
        tables.append(pq.read_table(io.BytesIO(data)))
    written = pa.concat_tables(tables)
    assert written.num_rows == manifest["rows"]
    places = list(
        zip(written["source_file"].to_pylist(), written["source_row"].to_pylist(), strict=True)
    )
    assert places == [(path, i) for path, table in sources.items() for i in range(table.num_rows)]
    source = pa.concat_tables(sources.values())
    assert written["flight"].to_pylist() == source["flight"].to_pylist()
    np.testing.assert_allclose(written["score"].to_pylist(), expected_scores(source), atol=1e-6)
    return manifest
