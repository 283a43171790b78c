"""Snapshots in, predictions out: Parquet files from the registry to the object store."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from services.common.blobs.digests import Written, digest_of, once, parse_digest, verified
from services.common.blobs.errors import BlobExists
from services.common.blobs.port import BlobStore
from services.common.errors import FieldViolation
from services.inference.core.batches import (
    SCORE,
    SOURCE_FILE,
    SOURCE_ROW,
    BatchPredictionJob,
    InputFile,
    Part,
    WrittenPart,
)
from services.inference.core.errors import InvalidTensors
from services.inference.core.ports import Scorer
from services.inference.core.rows import Rows
from services.inference.core.signature import DTYPES, InputSpec, Signature

MANIFEST: Final = "manifest.json"

# pyarrow ships no type annotations.
Table: TypeAlias = Any
Column: TypeAlias = Any


class SnapshotFiles(Protocol):
    """Where the snapshots' bytes come from."""

    def download(self, snapshot: str, path: str) -> AsyncGenerator[bytes]:
        """The bytes of one file of a snapshot, in order, unverified."""
        ...


class ParquetBatchFiles:
    """Implements `BatchFiles`.

    A part's key is only ever created, never replaced: whatever process wrote it, its digest is
    the one that the job records.

    Args:
        blobs: Where the output goes, under `batches/{uid}`.
        blob_url: Of that store.
        snapshots: Where the rows come from.
        folder: On this machine, for the file that is being read; emptied now.
    """

    def __init__(
        self, blobs: BlobStore, blob_url: str, snapshots: SnapshotFiles, folder: Path
    ) -> None:
        self._blobs = blobs
        self._blob_url = blob_url
        self._snapshots = snapshots
        self._folder = folder
        self._held: InputFile | None = None

    def url_of(self, job: BatchPredictionJob) -> str:
        """See `BatchFiles`."""
        return f"{self._blob_url.rstrip('/')}/{_prefix(job)}"

    async def predict(
        self, job: BatchPredictionJob, part: Part, signature: Signature, score: Scorer
    ) -> WrittenPart:
        """See `BatchFiles`."""
        key = f"{_prefix(job)}/{part.path}"
        written = await self._stored(key)
        if written is None:
            path = await self._fetched(job.snapshot, part.source)
            names = [spec.name for spec in signature.inputs]
            table = await asyncio.to_thread(
                _read, path, part, list(dict.fromkeys([*names, *job.key_columns]))
            )
            rows = await asyncio.to_thread(_rows, table, signature)
            scores = await score(rows)
            data = await asyncio.to_thread(
                _encoded, table.select(list(job.key_columns)), part, scores
            )
            written = await self._create(key, data)
        return WrittenPart(
            part.path,
            written.digest,
            written.size_bytes,
            part.rows,
            part.source.path,
            part.first_row,
        )

    async def write_manifest(self, job: BatchPredictionJob) -> str:
        """See `BatchFiles`. It says nothing that another process would say otherwise."""
        document = {
            "job": job.meta.name,
            "snapshot": job.snapshot,
            "snapshot_digest": job.snapshot_digest,
            "version": job.version,
            "version_digest": job.version_digest,
            "rows": job.rows_total,
            "files": [
                {
                    "path": part.path,
                    "sha256": part.digest,
                    "size_bytes": part.size_bytes,
                    "rows": part.rows,
                    "source_file": part.source_file,
                    "first_row": part.first_row,
                }
                for part in job.written
            ],
        }
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        written = await self._create(f"{_prefix(job)}/{MANIFEST}", text.encode())
        return written.digest

    async def remove(self, job: BatchPredictionJob) -> None:
        """See `BatchFiles`."""
        for blob in await self._blobs.list_blobs(f"{_prefix(job)}/"):
            await self._blobs.delete(blob.key)

    async def forget(self) -> None:
        """See `BatchFiles`."""
        self._held = None
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _create(self, key: str, data: bytes) -> Written:
        """What the key holds now: `data`, unless another process was first."""
        try:
            return await self._blobs.create(key, once(data))
        except BlobExists:
            return await self._stored(key) or await self._blobs.create(key, once(data))

    async def _stored(self, key: str) -> Written | None:
        """What is stored under the key; None if nothing is."""
        if not await self._blobs.exists(key):
            return None
        async with aclosing(self._blobs.read(key)) as chunks:
            data = b"".join([chunk async for chunk in chunks])
        return Written(digest_of(data), len(data))

    async def _fetched(self, snapshot: str, file: InputFile) -> Path:
        """The file on this machine, verified; one at a time is kept."""
        path = self._folder / "rows.parquet"
        if self._held == file:
            return path
        self._held = None
        self._folder.mkdir(parents=True, exist_ok=True)
        digest = parse_digest(file.digest)
        with path.open("wb") as out:
            async with aclosing(self._snapshots.download(snapshot, file.path)) as chunks:
                async for chunk in verified(chunks, digest, size_bytes=file.size_bytes):
                    await asyncio.to_thread(out.write, chunk)
        self._held = file
        return path


def _prefix(job: BatchPredictionJob) -> str:
    return f"batches/{job.meta.uid}"


def _read(path: Path, part: Part, columns: Sequence[str]) -> Table:
    """The part's rows, out of the row groups that hold them."""
    with pq.ParquetFile(path) as file:
        groups, start, skipped = [], 0, 0
        for number in range(file.num_row_groups):
            count = file.metadata.row_group(number).num_rows
            if start + count <= part.first_row:
                skipped += count
            elif start < part.first_row + part.rows:
                groups.append(number)
            start += count
        table = file.read_row_groups(groups, columns=columns)
    return table.slice(part.first_row - skipped, part.rows)


def _rows(table: Table, signature: Signature) -> Rows:
    numeric = np.empty((len(signature.numeric), table.num_rows), dtype=np.float32)
    with np.errstate(over="ignore"):  # becomes an infinity, which the check of the rows refuses
        for line, spec in zip(numeric, signature.numeric, strict=True):
            line[:] = _floats(table.column(spec.name))
        other = tuple(_other(table.column(spec.name), spec) for spec in signature.other)
    text = tuple(
        [value or "" for value in table.column(spec.name).to_pylist()] for spec in signature.text
    )
    return Rows(table.num_rows, numeric, text, other=other)


def _floats(column: Column) -> NDArray[Any]:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    floats: NDArray[Any] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return floats


def _other(column: Column, spec: InputSpec) -> NDArray[Any]:
    """Numbers of another type than FP32, none of them changed by that type's bounds."""
    dtype = DTYPES[spec.datatype]
    if dtype.kind == "f":
        return _floats(column).astype(dtype)
    values = column.to_numpy(zero_copy_only=False)
    numbers: NDArray[Any] = values.astype(dtype)
    if (numbers != values).any():
        raise InvalidTensors([FieldViolation(spec.name, f"holds what no {spec.datatype} is")])
    return numbers


def _encoded(keys: Table, part: Part, scores: NDArray[np.float32]) -> bytes:
    """The part as a Parquet file."""
    source = pa.array([part.source.path], pa.string()).take(pa.array(np.zeros(part.rows, np.int8)))
    numbers = np.arange(part.first_row, part.first_row + part.rows, dtype=np.int64)
    table = pa.table(
        {
            SOURCE_FILE: source,
            SOURCE_ROW: pa.array(numbers),
            **{name: keys.column(name) for name in keys.column_names},
            SCORE: pa.array(scores, pa.float32()),
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()
