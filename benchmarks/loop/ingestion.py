"""Observations taken in by the monitor beside the disk's own limit: append and fsync."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
from roundhouse.monitor.v1 import ingest_service_pb2 as pb
from roundhouse.monitor.v1 import ingest_service_pb2_grpc

from benchmarks.harness import Bar, Row, Sample, interleaved
from tests.system.scenario import ENDPOINT
from tests.system.world import CATEGORICAL, NUMERIC

BATCH_ROWS = 2000
INGESTED = "IngestObservations, acknowledged"
APPENDED = "the same bytes appended to a file, fsync per batch"

# The gap is the price of a table that can be queried: checks, Parquet, a commit.
_GOAL = 0.1
_STREAM_S = 60.0


def rows_per_second(
    address: str, version: str, folder: Path, *, batches: int, rounds: int
) -> list[Row]:
    """Rows per second, durable, through the monitor and straight to its disk.

    Args:
        address: Of the monitor.
        version: Model version that the observations name.
        folder: On the disk that the monitor writes to.
        batches: Of `BATCH_ROWS` rows, per round.
        rounds: How often each is measured.
    """

    def ingest() -> Sample:
        requests = [
            pb.IngestObservationsRequest(
                batch_id=str(uuid.uuid4()), arrow_stream=_observations(version)
            )
            for _ in range(batches)
        ]
        with grpc.insecure_channel(address) as channel:
            stub = ingest_service_pb2_grpc.IngestServiceStub(channel)
            started = time.perf_counter()
            answers = list(stub.IngestObservations(iter(requests), timeout=_STREAM_S))
            took_s = time.perf_counter() - started
        rows = sum(answer.rows for answer in answers)
        if rows != batches * BATCH_ROWS:
            raise RuntimeError(f"{rows} rows were acknowledged of {batches * BATCH_ROWS}")
        size_bytes = sum(len(request.arrow_stream) for request in requests)
        return Sample(rows / took_s, {"mb_per_s": size_bytes / took_s / 1e6})

    def append() -> Sample:
        contents = [_observations(version) for _ in range(batches)]
        with (folder / "appended.bin").open("ab") as file:
            started = time.perf_counter()
            for content in contents:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            took_s = time.perf_counter() - started
        size_bytes = sum(len(content) for content in contents)
        return Sample(batches * BATCH_ROWS / took_s, {"mb_per_s": size_bytes / took_s / 1e6})

    return interleaved([(INGESTED, "rows/s", ingest), (APPENDED, "rows/s", append)], rounds)


def bars(rows: list[Row]) -> list[Bar]:
    """Ingestion as a share of what the disk allows."""
    value = {row.name: row.value for row in rows}
    return [Bar.at_least(f"{INGESTED} / {APPENDED}", value[INGESTED] / value[APPENDED], _GOAL)]


def _observations(version: str) -> bytes:
    """One batch of an hour's predictions, as the inference service would send it."""
    random = np.random.default_rng(7)
    start_us = 1_500_000_000_000_000
    numbers = random.normal(size=(len(NUMERIC), BATCH_ROWS)).astype(np.float32)
    batch = pa.record_batch(
        {
            "prediction_id": pa.array(list(_ids())),
            "event_time": pa.array(
                start_us + np.arange(BATCH_ROWS) * 1_800_000, pa.timestamp("us", "UTC")
            ),
            "endpoint": pa.array([f"{ENDPOINT}-benchmark"] * BATCH_ROWS),
            "variant": pa.array([version] * BATCH_ROWS),
            "score": pa.array(random.random(BATCH_ROWS, dtype=np.float32)),
            "label": pa.array(random.integers(0, 2, BATCH_ROWS)),
            **{
                f"f_{name}": pa.array(values) for name, values in zip(NUMERIC, numbers, strict=True)
            },
            **{
                f"f_{name}": pa.array(random.choice(["UA", "B6", "EV"], BATCH_ROWS))
                for name in CATEGORICAL
            },
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _ids() -> Iterator[str]:
    batch = uuid.uuid4()
    for row in range(BATCH_ROWS):
        yield f"{batch}:{row}"
