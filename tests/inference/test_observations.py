"""Observations outlive the process that made them."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.common.errors import InvalidArgument, Unavailable
from services.inference.adapters.metrics import ObservationMetrics
from services.inference.adapters.observation_frames import layout_frame, read_segment, rows_frame
from services.inference.adapters.observation_log import SegmentLog
from services.inference.adapters.observation_sender import ObservationSender
from services.inference.core.ports import Observation
from services.inference.core.rows import Rows
from services.inference.core.signature import parse_signature
from tests.support.bundles import signature

SIGNATURE = parse_signature(json.dumps(signature()).encode())


class MonitorAway(Unavailable):
    reason = "MONITOR_AWAY"


class Refused(InvalidArgument):
    reason = "INVALID_BATCH"


class Sink:
    """Keeps batches by id, as the monitor does; fails when told to."""

    def __init__(self) -> None:
        self.batches: dict[str, pa.RecordBatch] = {}
        self.failure: Exception | None = None
        self.forgets_to_answer = False

    async def deliver(self, batches: Sequence[tuple[str, pa.RecordBatch]]) -> None:
        if self.failure is not None:
            raise self.failure
        for batch_id, batch in batches:
            self.batches.setdefault(batch_id, batch)
        if self.forgets_to_answer:
            raise MonitorAway("the answer was lost")

    @property
    def ids(self) -> list[str]:
        return sorted(
            value for batch in self.batches.values() for value in batch["prediction_id"].to_pylist()
        )


def observation(
    prediction_id: str, count: int = 1, variant: str = "v/1", policy: str = "p/1"
) -> Observation:
    numeric = np.arange(2 * count, dtype=np.float32).reshape(2, count)
    scores = np.linspace(0, 1, count, dtype=np.float32)
    return Observation(
        prediction_id,
        1_362_096_000_000_000,
        "projects/default/endpoints/delays",
        variant,
        SIGNATURE,
        Rows(count, numeric, (["Ünited"] * count,)),
        scores,
        (scores > 0.5).astype(np.int64),
        policy,
        latency_us=4_200,
    )


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return ObservationMetrics(registry)


def make_log(tmp_path, metrics, **changes) -> SegmentLog:
    return SegmentLog(
        tmp_path / "observations",
        **{"limit_bytes": 1 << 20, "segment_s": 0.0, "metrics": metrics, **changes},
    )


def counted(registry: CollectorRegistry, name: str) -> float:
    return registry.get_sample_value(f"roundhouse_inference_observations_{name}") or 0.0


def assert_adds_up(registry: CollectorRegistry) -> None:
    began = counted(registry, "observed_total") + counted(registry, "recovered_total")
    ended = ("acknowledged_total", "rejected_total", "pending", "dropped_total")
    assert began == sum(counted(registry, name) for name in ended)


async def test_observations_reach_the_monitor_with_their_columns(tmp_path, metrics, registry):
    segments, sink = make_log(tmp_path, metrics), Sink()
    segments.append(observation("a", 3))
    await ObservationSender(segments, sink).flush(5)
    (batch,) = sink.batches.values()
    assert batch.schema.names == [
        "prediction_id",
        "event_time",
        "endpoint",
        "variant",
        "score",
        "label",
        "policy",
        "latency_us",
        "failed",
        "f_distance",
        "f_delay",
        "f_carrier",
    ]
    assert batch.schema.field("event_time").type == pa.timestamp("us", tz="UTC")
    assert batch["latency_us"].to_pylist() == [4_200, None, None]
    assert batch["failed"].to_pylist() == [False] * 3
    assert batch["prediction_id"].to_pylist() == ["a:0", "a:1", "a:2"]
    assert batch["f_delay"].to_pylist() == [3.0, 4.0, 5.0]
    assert batch["f_carrier"].to_pylist() == ["Ünited"] * 3
    assert batch["label"].to_pylist() == [0, 0, 1]
    assert segments.sealed == ()
    assert_adds_up(registry)


async def test_variants_go_into_batches_of_their_own(tmp_path, metrics):
    segments, sink = make_log(tmp_path, metrics, segment_s=60.0), Sink()
    for i in range(4):
        segments.append(observation(str(i), variant=f"v/{i % 2}"))
    await ObservationSender(segments, sink).flush(5)
    assert [set(b["variant"].to_pylist()) for b in sink.batches.values()] == [{"v/0"}, {"v/1"}]


async def test_rows_under_another_policy_name_that_one(tmp_path, metrics):
    segments, sink = make_log(tmp_path, metrics, segment_s=60.0), Sink()
    for i in range(4):
        segments.append(observation(str(i), policy=f"p/{i // 2}"))
    await ObservationSender(segments, sink).flush(5)
    told = [
        pair
        for batch in sink.batches.values()
        for pair in zip(
            batch["prediction_id"].to_pylist(), batch["policy"].to_pylist(), strict=True
        )
    ]
    assert sorted(told) == [("0:0", "p/0"), ("1:0", "p/0"), ("2:0", "p/1"), ("3:0", "p/1")]


async def test_while_the_monitor_is_away_observations_wait_on_the_disk(tmp_path, metrics, registry):
    segments, sink = make_log(tmp_path, metrics), Sink()
    sink.failure = MonitorAway("away")
    segments.append(observation("a"))
    await ObservationSender(segments, sink).flush(5)
    assert counted(registry, "pending") == 1
    sink.failure = None
    await ObservationSender(segments, sink).flush(5)
    assert sink.ids == ["a:0"]
    assert_adds_up(registry)


async def test_a_lost_answer_makes_no_row_double(tmp_path, metrics):
    segments, sink = make_log(tmp_path, metrics), Sink()
    segments.append(observation("a", 2))
    sink.forgets_to_answer = True
    await ObservationSender(segments, sink).flush(5)
    sink.forgets_to_answer = False
    await ObservationSender(segments, sink).flush(5)
    assert sink.ids == ["a:0", "a:1"]


async def test_what_an_earlier_process_logged_is_sent_by_the_next(tmp_path, registry):
    log_folder = tmp_path / "observations"
    source = (
        "import os, signal, sys, pathlib\n"
        "from prometheus_client import CollectorRegistry\n"
        "from services.inference.adapters.metrics import ObservationMetrics\n"
        "from services.inference.adapters.observation_log import SegmentLog\n"
        "import importlib.util as u\n"
        f"spec = u.spec_from_file_location('obs', {__file__!r})\n"
        "obs = u.module_from_spec(spec); spec.loader.exec_module(obs)\n"
        f"log = SegmentLog(pathlib.Path({str(log_folder)!r}), limit_bytes=1 << 20,"
        " metrics=ObservationMetrics(CollectorRegistry()), segment_s=60.0)\n"
        "for i in range(50):\n"
        "    log.append(obs.observation(f'p{i:02}'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    died = subprocess.run([sys.executable, "-c", source], check=False, capture_output=True)
    assert died.returncode == -9, died.stderr.decode()
    segments, sink = make_log(tmp_path, ObservationMetrics(registry)), Sink()
    assert counted(registry, "recovered_total") == 50
    await ObservationSender(segments, sink).flush(5)
    assert sink.ids == [f"p{i:02}:0" for i in range(50)]
    assert_adds_up(registry)


async def test_at_the_disk_limit_the_oldest_stay_and_the_rest_is_counted(
    tmp_path, metrics, registry
):
    segments, sink = make_log(tmp_path, metrics, limit_bytes=1500), Sink()
    for i in range(50):
        segments.append(observation(f"{i:02}"))
    kept = int(counted(registry, "logged_total"))
    assert 0 < kept < 50
    assert counted(registry, "dropped_total") == 50 - kept
    await ObservationSender(segments, sink).flush(5)
    assert sink.ids == [f"{i:02}:0" for i in range(kept)]
    segments.append(observation("later"))
    await ObservationSender(segments, sink).flush(5)
    assert "later:0" in sink.ids
    assert_adds_up(registry)


async def test_a_refused_segment_is_set_aside_and_holds_nothing_up(tmp_path, metrics, registry):
    segments, sink = make_log(tmp_path, metrics), Sink()
    sink.failure = Refused("no")
    segments.append(observation("bad"))
    await ObservationSender(segments, sink).flush(5)
    sink.failure = None
    segments.append(observation("good"))
    await ObservationSender(segments, sink).flush(5)
    assert sink.ids == ["good:0"]
    assert counted(registry, "rejected_total") == 1
    assert_adds_up(registry)


def test_of_refused_segments_the_newest_are_kept(tmp_path, metrics, registry):
    segments = make_log(tmp_path, metrics, limit_bytes=10_000)
    for i in range(30):
        segments.append(observation(f"number-{i:02}"))
        segments.seal()
        segments.reject(*segments.sealed)
    kept = sorted((tmp_path / "observations").glob("*.rejected"))
    assert 0 < sum(path.stat().st_size for path in kept) <= 1000
    assert b"number-29" in kept[-1].read_bytes()
    assert counted(registry, "rejected_total") == 30
    assert_adds_up(registry)


@given(st.integers(0, 2000))
def test_a_segment_cut_anywhere_gives_the_whole_frames_before_the_cut(cut):
    frames = [rows_frame(0, observation(f"{i:02}")) for i in range(10)]
    content = layout_frame(0, observation("00")) + b"".join(frames)
    segment = read_segment(content[:cut])
    ids = [i for batch in segment.batches for i in batch["prediction_id"].to_pylist()]
    start = len(content) - sum(map(len, frames))
    whole = max(0, min(10, (min(cut, len(content)) - start) // len(frames[0])))
    assert ids == [f"{i:02}:0" for i in range(whole)]


@given(st.lists(st.tuples(st.text(min_size=1, max_size=5), st.integers(1, 3)), min_size=1))
def test_requests_of_any_size_are_read_in_the_order_in_which_they_came(requests):
    told = [observation(prediction_id, count) for prediction_id, count in requests]
    content = layout_frame(0, told[0]) + b"".join(rows_frame(0, each) for each in told)
    (batch,) = read_segment(content).batches
    rows = [(each, row) for each in told for row in range(each.rows.count)]
    columns = batch.to_pydict()
    assert columns["prediction_id"] == [f"{each.prediction_id}:{row}" for each, row in rows]
    assert columns["score"] == [each.scores[row] for each, row in rows]
    assert columns["label"] == [each.labels[row] for each, row in rows]
    assert columns["latency_us"] == [None if row else each.latency_us for each, row in rows]
    for place, spec in enumerate(SIGNATURE.numeric):
        assert columns[f"f_{spec.name}"] == [each.rows.numeric[place, row] for each, row in rows]
    for place, spec in enumerate(SIGNATURE.text):
        assert columns[f"f_{spec.name}"] == [each.rows.text[place][row] for each, row in rows]


@given(st.binary(max_size=200))
def test_rubbish_is_no_segment_but_no_crash_either(content):
    assert read_segment(content).rows == 0


def test_a_large_request_is_cut_into_bounded_batches():
    content = layout_frame(0, observation("x")) + rows_frame(0, observation("x", 20_000))
    segment = read_segment(content)
    assert segment.rows == 20_000
    assert len(segment.batches) > 1


def test_a_segment_from_before_latencies_were_told_is_still_read():
    told = observation("a", 2)
    frame = rows_frame(0, told)
    payload = bytearray(frame[8:])
    old_kind = bytes([2])
    head = struct.calcsize("<BHqIH")
    before = old_kind + bytes(payload[1:head]) + bytes(payload[head + struct.calcsize("<IB") :])
    old = struct.pack("<II", len(before), zlib.crc32(before)) + before
    (batch,) = read_segment(layout_frame(0, told) + old).batches
    (new,) = read_segment(layout_frame(0, told) + frame).batches
    assert "latency_us" not in batch.schema.names
    assert batch == new.drop_columns(["latency_us", "failed"])
