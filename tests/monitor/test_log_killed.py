"""A log whose writer is killed again and again: no acknowledged batch is missing or double."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.monitor.core.stream.batches import ObservationBatch
from tests.support.log_writer import ROWS
from tests.support.monitor_values import ENDPOINT
from tests.support.prediction_logs import LogPlace, s3_place

_ROOT = Path(__file__).resolve().parents[2]
_ROUNDS = 5
_THE_START = datetime(1970, 1, 1, tzinfo=UTC)
_DEADLINE_S = 120.0


@pytest.fixture(params=["directory", "s3"])
def place(request, tmp_path):
    if request.param == "directory":
        return LogPlace(f"file://{tmp_path}/predictions")
    server = request.getfixturevalue("s3_server")
    return s3_place(server, request.getfixturevalue("s3_url"))


def acknowledged_until_killed(place: LogPlace, first: int, acknowledgements: int) -> list[str]:
    """Ids of the batches that a writer acknowledged before it was killed in its work."""
    command = [sys.executable, "-m", "tests.support.log_writer", place.url]
    with subprocess.Popen(
        [*command, json.dumps(place.options), str(first)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        watchdog = threading.Timer(_DEADLINE_S, writer.kill)
        watchdog.start()
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            seen = [writer.stdout.readline().strip() for _ in range(acknowledgements)]
            writer.kill()
            # What it said before it died counts as well; a torn last line does not.
            rest = writer.stdout.read()
            return seen + rest[: rest.rfind("\n") + 1].split()
        finally:
            watchdog.cancel()
            writer.kill()


@pytest.mark.real
async def test_no_acknowledged_batch_is_missing_or_double_after_kills(place):
    luck = random.Random(4)
    acknowledged: set[str] = set()
    for number in range(_ROUNDS):
        acknowledged |= set(acknowledged_until_killed(place, number * 10_000, luck.randint(1, 40)))
    log = await place.open()
    batches = await log.replay(ENDPOINT, since=None, until_position=log.position)
    stored = await log.batch_ids(_THE_START)
    assert acknowledged <= stored.keys()
    assert {stored[name] for name in acknowledged} == {ROWS}
    predictions = Counter(
        prediction
        for batch in batches
        if isinstance(batch, ObservationBatch)
        for prediction in batch.rows.column("prediction_id").to_pylist()
    )
    assert max(predictions.values()) == 1
    positions = [batch.position for batch in batches]
    assert positions == sorted(set(positions))
    log.close()
