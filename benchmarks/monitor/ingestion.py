"""Rows that the monitor takes in: durable, judged, and in the sketches alone."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Final

import grpc
import pyarrow as pa
from roundhouse.monitor.v1 import (
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    monitor_service_pb2,
    monitor_service_pb2_grpc,
)

from benchmarks.harness import Bar, Row, Sample, interleaved
from benchmarks.monitor.columns import BLOCK_ROWS
from benchmarks.monitor.ours import MONDAY, WEEK, observations
from services.common.profiles import Profile
from services.common.sketches import FrozenBins, Sketch, floats_of
from services.common.slice_sketches import MAX_SLICE_VALUES, SliceSketches
from services.monitor.core.stream.batches import FEATURE_PREFIX, ObservationBatch
from services.monitor.core.stream.ledger import EndpointBook, Ledger
from services.monitor.core.stream.slicing import SliceTally
from services.monitor.core.windows import Window, to_us
from tests.support.monitor_values import ENDPOINT, MONITOR
from tests.support.processes import wait_until
from tests.system.suite import Suite

DURABLE: Final = "rows of 50 features, durable"
JUDGED: Final = "the same, until their window is judged"
SKETCHED: Final = "the same, in the sketches alone"
SLICED: Final = "the same, in the sketches and once more in 20 slices"
COUNTED: Final = "the same, in the ledger: sketches, sample, ids and times"

_DURABLE_GOAL: Final = 50_000.0
_SKETCHED_GOAL: Final = 300_000.0
_BATCH_ROWS: Final = 2_000
_STREAM_S: Final = 300.0
_CALL_S: Final = 30.0
_POLL_S: Final = 0.05
_CPU: Final = "process_cpu_seconds_total"
_SLICING: Final = "carrier"


class Intake:
    """Sends weeks of rows to a monitor that watches them against a baseline.

    Args:
        suite: Runs a registry and the monitor.
        version: Of the registry, with the baseline.
        batches: Of 10,000 rows, per week.
    """

    def __init__(self, suite: Suite, version: str, batches: int) -> None:
        self._suite = suite
        self._version = version
        self._batches = batches
        self._weeks = count()

    def rows(self, rounds: int) -> list[Row]:
        """Rows a second until durable, and until judged; a week each round."""
        judged: list[float] = []

        def week() -> Sample:
            sample, judged_s = self._week(next(self._weeks))
            judged.append(self._batches * BLOCK_ROWS / judged_s)
            return sample

        (durable,) = interleaved([(DURABLE, "rows/s", week)], rounds)
        return [durable, Row(JUDGED, "rows/s", sorted(judged)[len(judged) // 2], tuple(judged))]

    def _week(self, number: int) -> tuple[Sample, float]:
        """What was durable how fast, and the seconds until the week's report is there."""
        requests = [_request(rows) for rows in self._rows(number)]
        size_bytes = sum(len(request.arrow_stream) for request in requests)
        # Two days on: its outcomes need not be waited for, so the week is complete.
        start = MONDAY + number * WEEK
        after = timedelta(weeks=number + 1, days=2)
        marker = _request(
            _named(observations(0, 1, 1), self._version, number + 1, after).slice(0, 1)
        )
        cpu_s = self._suite.metrics("monitor")[_CPU]
        with grpc.insecure_channel(self._suite.address("monitor")) as channel:
            stub = ingest_service_pb2_grpc.IngestServiceStub(channel)
            started = time.perf_counter()
            answers = list(stub.IngestObservations(iter(requests), timeout=_STREAM_S))
            took_s = time.perf_counter() - started
            list(stub.IngestObservations(iter([marker]), timeout=_STREAM_S))
            wait_until(
                lambda: _is_judged(channel, Window(start, start + WEEK)),
                what="report on the week",
                timeout_s=_STREAM_S,
                poll_s=_POLL_S,
            )
            judged_s = time.perf_counter() - started
        rows = sum(answer.rows for answer in answers)
        if rows != self._batches * BLOCK_ROWS:
            raise RuntimeError(f"{rows} rows were acknowledged of {self._batches * BLOCK_ROWS}")
        cpu_s = self._suite.metrics("monitor")[_CPU] - cpu_s
        facts = {
            "mb_per_s": size_bytes / took_s / 1e6,
            "monitor_cpu_us_per_row": cpu_s / rows * 1e6,
        }
        return Sample(rows / took_s, facts), judged_s

    def _rows(self, week: int) -> Iterator[pa.Table]:
        """As inference would send them."""
        for batch in range(self._batches):
            rows = observations(batch, self._batches, 1)
            rows = _named(rows, self._version, week, timedelta(weeks=week))
            for start in range(0, rows.num_rows, _BATCH_ROWS):
                yield rows.slice(start, _BATCH_ROWS)


def counted(profile: Profile, *, batches: int, rounds: int) -> list[Row]:
    """Rows a second of one core, in this process: the sketches, slices, and all the ledger does.

    Args:
        profile: Of the 50 features.
        batches: Of 10,000 rows each.
        rounds: How often each is measured.
    """
    tables = [
        _named(observations(batch, batches, 1), "version", 0, timedelta())
        for batch in range(batches)
    ]
    rows = batches * BLOCK_ROWS
    carriers = [f"c{place}" for place in range(MAX_SLICE_VALUES)]
    by = FrozenBins.categorical(carriers)
    widths = {name: each.group_count for name, each in profile.features.items()}
    sliced = replace(
        profile, slices={_SLICING: SliceSketches.empty(by, widths, profile.score.group_count)}
    )
    carrier = pa.chunked_array([carriers * (BLOCK_ROWS // len(carriers))])

    def sketched(slices: SliceTally | None) -> Sample:
        found = {name: Sketch.empty(each.sketch.bins) for name, each in profile.features.items()}
        used = time.process_time()
        for table in tables:
            columns = {name: floats_of(table.column(FEATURE_PREFIX + name)) for name in found}
            for name, sketch in found.items():
                sketch.update(columns[name])
            if slices is not None:
                sent = {FEATURE_PREFIX + _SLICING: carrier}
                slices.observe(sent, columns, table.column("score").to_numpy())
        return Sample(rows / (time.process_time() - used))

    def ledger() -> Sample:
        book = Ledger()
        book.open(ENDPOINT, EndpointBook(WEEK, timedelta(days=1), None))
        used = time.process_time()
        for position, table in enumerate(tables, 1):
            book.observe(
                ObservationBatch(position, to_us(MONDAY + 52 * WEEK), table), {"version": profile}
            )
        return Sample(rows / (time.process_time() - used))

    return interleaved(
        [
            (SKETCHED, "rows/s of CPU", lambda: sketched(None)),
            (SLICED, "rows/s of CPU", lambda: sketched(SliceTally(sliced, (_SLICING,)))),
            (COUNTED, "rows/s of CPU", ledger),
        ],
        rounds,
    )


def bars(rows: Sequence[Row]) -> list[Bar]:
    """Both promises, in rows of 50 features."""
    value = {row.name: row.value for row in rows}
    return [
        Bar.at_least(DURABLE, value[DURABLE], _DURABLE_GOAL, "rows/s"),
        Bar.at_least(SKETCHED, value[SKETCHED], _SKETCHED_GOAL, "rows/s of one core"),
    ]


@contextmanager
def running_intake(folder: Path) -> Iterator[Suite]:
    """A registry and a monitor as processes, for the block."""
    suite = Suite(folder)
    try:
        suite.start("registry")
        suite.start("monitor")
        yield suite
    finally:
        suite.stop()


def profile_file(profile: Profile) -> bytes:
    """As it lies in a bundle."""
    return json.dumps(profile.to_json()).encode()


def _named(rows: pa.Table, version: str, week: int, later: timedelta) -> pa.Table:
    """The window's rows as the predictions of one week."""
    n = rows.num_rows
    times = rows.column("event_time").cast(pa.int64()).to_numpy() + later // timedelta(
        microseconds=1
    )
    ids = [f"w{week}-{name}" for name in rows.column("prediction_id").to_pylist()]
    event_time = pa.array(times, pa.timestamp("us", tz="UTC"))
    place = rows.column_names.index
    return (
        rows.set_column(place("prediction_id"), "prediction_id", [ids])
        .set_column(place("event_time"), "event_time", event_time)
        .append_column("endpoint", pa.array([ENDPOINT] * n))
        .append_column("variant", pa.array([version] * n))
        .append_column("label", pa.array([0] * n, pa.int64()))
    )


def _request(rows: pa.Table) -> ingest_service_pb2.IngestObservationsRequest:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return ingest_service_pb2.IngestObservationsRequest(
        batch_id=str(uuid.uuid4()), arrow_stream=sink.getvalue().to_pybytes()
    )


def _is_judged(channel: grpc.Channel, window: Window) -> bool:
    stub = monitor_service_pb2_grpc.MonitorServiceStub(channel)
    request = monitor_service_pb2.GetDriftReportRequest(name=f"{MONITOR}/driftReports/{window.key}")
    try:
        stub.GetDriftReport(request, timeout=_CALL_S)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return False
        raise
    return True
