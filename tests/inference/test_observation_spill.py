"""While the monitor is away: what fits the disk waits, the rest is counted, nobody is surprised."""

from __future__ import annotations

import asyncio
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from services.inference.adapters import observation_log
from services.inference.adapters.metrics import ObservationMetrics
from services.inference.adapters.observation_log import SegmentLog
from services.inference.adapters.observation_sender import ObservationSender
from tests.inference.test_observations import (
    MonitorAway,
    Sink,
    assert_adds_up,
    counted,
    observation,
)


@contextmanager
def no_file_beyond(size_bytes: int) -> Iterator[None]:
    """Writes stop there as on a full disk: cut short first, then refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with capture_logs():  # what is logged goes to a file too, where pytest captures it
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2), st.integers(1, 4)),
        st.tuples(st.just("append_to_full_disk"), st.integers(0, 2), st.integers(1, 400)),
        st.tuples(st.sampled_from(["monitor_back", "monitor_away", "seal"])),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_each_row_is_delivered_waits_or_was_counted_as_dropped(steps):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_live_through(steps, Path(folder)))
        assert list(Path(folder).iterdir()) == []


async def _live_through(steps, folder: Path) -> None:
    registry, sink, kept = CollectorRegistry(), Sink(), []
    log = SegmentLog(folder, limit_bytes=2500, segment_s=60.0, metrics=ObservationMetrics(registry))
    for number, (step, *chosen) in enumerate(steps):
        before = counted(registry, "logged_total")
        match step:
            case "append":
                log.append(observation(f"{number:02}", chosen[1], f"v/{chosen[0]}"))
            case "append_to_full_disk":
                with no_file_beyond(chosen[1]):
                    log.append(observation(f"{number:02}", 1, f"v/{chosen[0]}"))
            case "seal":
                log.seal()
            case _:
                sink.failure = MonitorAway("away") if step == "monitor_away" else None
                await ObservationSender(log, sink).flush(5)
        rows = int(counted(registry, "logged_total") - before)
        kept += [f"{number:02}:{row}" for row in range(rows)]
        assert_adds_up(registry)
    sink.failure = None
    await ObservationSender(log, sink).flush(5)
    assert sink.ids == kept
    assert counted(registry, "pending") == 0


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.mark.parametrize("segment_bytes", [300, 1 << 20])
def test_a_person_is_told_before_anything_is_dropped(tmp_path, registry, segment_bytes):
    log = SegmentLog(
        tmp_path,
        limit_bytes=4000,
        segment_bytes=segment_bytes,
        metrics=ObservationMetrics(registry),
    )
    with capture_logs() as told:
        number = 0
        while not counted(registry, "dropped_total"):
            log.append(observation(f"{number:03}"))
            number += 1
    assert [line["event"] for line in told] == ["observations.filling", "observations.dropping"]
    assert counted(registry, "filling") == 1
    assert counted(registry, "pending_bytes") <= counted(registry, "limit_bytes") == 4000


async def test_the_alarm_ends_when_the_monitor_has_taken_what_waited(tmp_path, registry):
    log = SegmentLog(
        tmp_path, limit_bytes=4000, segment_bytes=300, metrics=ObservationMetrics(registry)
    )
    while not counted(registry, "filling"):
        log.append(observation("early"))
    await ObservationSender(log, Sink()).flush(5)
    log.append(observation("late"))
    assert counted(registry, "filling") == 0
    assert counted(registry, "dropped_total") == 0


def test_a_disk_without_room_for_the_allowance_is_told_at_once(tmp_path, registry, monkeypatch):
    usage = observation_log.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(observation_log.shutil, "disk_usage", lambda _: usage._replace(free=100))
    SegmentLog(tmp_path, limit_bytes=4000, metrics=ObservationMetrics(registry))
    assert counted(registry, "filling") == 1


def test_a_full_disk_leaves_no_heap_of_empty_segments(tmp_path, registry):
    log = SegmentLog(tmp_path, limit_bytes=1 << 20, metrics=ObservationMetrics(registry))
    with no_file_beyond(10):
        for number in range(50):
            log.append(observation(str(number)))
    assert counted(registry, "dropped_total") == 50
    assert len(list(tmp_path.iterdir())) <= 1
    log.append(observation("after"))
    assert counted(registry, "logged_total") == 1
