"""Training snapshots: predictions joined with outcomes, in a registry, the same each time."""

from __future__ import annotations

import io
import uuid

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from roundhouse.registry.v1 import (
    dataset_service_pb2,
    retention_pb2,
    retention_service_pb2,
)
from roundhouse.trainer.v1 import job_pb2

from services.common.rpc.client import connect
from services.common.rpc.remote import RemoteError
from services.monitor.adapters.log.delta_log import POSITION, ROW
from services.monitor.adapters.snapshots.building import LoggedTrainingSnapshots
from services.monitor.adapters.snapshots.registry import RegistrySnapshots
from services.monitor.adapters.snapshots.rows import (
    TrainingColumns,
    joined,
    parquet_bytes,
    template_rows,
)
from services.monitor.core.errors import NoTrainingRows, PrivacyHeld
from services.monitor.core.ports import SnapshotOrder
from services.monitor.core.stream.batches import ObservationBatch, OutcomeBatch
from tests.support.calls import PROJECT, TIMEOUT_S, request_id
from tests.support.monitor_database import monitor_database
from tests.support.monitor_values import DATASET, ENDPOINT, JOB, MONITOR
from tests.support.prediction_logs import LogPlace, written_log
from tests.support.predictions import DAY, MONDAY, World, outcomes
from tests.support.registry_api import running_registry

WEEK = 7 * DAY
COLUMNS = TrainingColumns(["wind", "rain"], ["origin"], "late", "day")
WINTER_CSV = b"key,day,wind,rain,origin,late\n1,2013-01-01T00:00:00Z,1.5,2,EWR,1\n"


def logged(rows: pa.Table, position: int) -> pa.Table:
    return rows.append_column(POSITION, pa.array([position] * rows.num_rows)).append_column(
        ROW, pa.array(range(rows.num_rows))
    )


@given(st.permutations(range(12)), st.permutations(range(12)))
def test_rows_are_the_same_whatever_order_the_log_is_read_in(first, second) -> None:
    world = World(1)
    seen = world.observations(12, MONDAY, MONDAY + WEEK)
    came = world.outcomes(seen)
    plain = joined(logged(seen, 1), logged(came, 2), COLUMNS)
    shuffled = joined(logged(seen, 1).take(first), logged(came, 2).take(second), COLUMNS)
    assert shuffled.equals(plain)
    assert parquet_bytes(shuffled) == parquet_bytes(plain)
    assert plain.num_rows == 12
    assert plain.schema == COLUMNS.schema


def test_the_first_prediction_and_the_last_outcome_of_an_id_count() -> None:
    world = World(2)
    seen = world.observations(2, MONDAY, MONDAY + WEEK)
    first, second = seen.column("prediction_id").to_pylist()
    twice = pa.concat_tables([logged(seen, 5), logged(seen.slice(0, 1), 3)])
    known = pa.concat_tables(
        [
            logged(outcomes([first, first], [0, 1], [10, 20]), 7),
            logged(outcomes([first, second], [0, 0], [15, 1]), 8),
        ]
    )
    rows = joined(twice, known, COLUMNS)
    assert sorted(rows.column("prediction_id").to_pylist()) == [first, second]
    by_id = dict(
        zip(rows.column("prediction_id").to_pylist(), rows.column("late").to_pylist(), strict=True)
    )
    assert by_id == {first: 1, second: 0}


def test_a_prediction_without_outcome_is_left_out() -> None:
    world = World(3)
    seen = world.observations(3, MONDAY, MONDAY + WEEK)
    came = world.outcomes(seen).slice(0, 1)
    assert joined(logged(seen, 1), logged(came, 2), COLUMNS).num_rows == 1


def test_rows_of_a_template_get_the_same_columns() -> None:
    winter = pa.table(
        {
            "day": pa.array([0], pa.timestamp("us", tz="UTC")),
            "wind": pa.array([3], pa.int64()),
            "rain": pa.array([0.5], pa.float64()),
            "origin": ["JFK"],
            "late": pa.array([True]),
            "tail": ["N1"],
        }
    )
    rows = template_rows(winter, COLUMNS)
    assert rows.schema == COLUMNS.schema
    assert rows.to_pylist()[0] | {"day": None} == {
        "prediction_id": None,
        "day": None,
        "wind": 3.0,
        "rain": 0.5,
        "origin": "JFK",
        "late": 1,
    }


async def spec_of(_: str) -> job_pb2.JobSpec:
    kinds = job_pb2.Feature.Kind
    spec = job_pb2.JobSpec(
        snapshot=f"{DATASET}/snapshots/winter",
        target="late",
        features=[
            job_pb2.Feature(name="wind", kind=kinds.KIND_NUMERIC),
            job_pb2.Feature(name="rain", kind=kinds.KIND_NUMERIC),
            job_pb2.Feature(name="origin", kind=kinds.KIND_CATEGORICAL),
        ],
    )
    spec.split.time_column = "day"
    return spec


def order(**fields) -> SnapshotOrder:
    return SnapshotOrder(
        **{
            "monitor": MONITOR,
            "endpoint": ENDPOINT,
            "dataset": DATASET,
            "snapshot_id": "episode-1",
            "start": None,
            "end": MONDAY + WEEK,
            "template_job": JOB,
            "include_template_snapshot": False,
            "request_id": str(uuid.UUID(int=1)),
            **fields,
        }
    )


@pytest.fixture
async def building(tmp_path, sqlite_url):
    """A log with two weeks of joined predictions, a registry, and the builder over both."""
    world = World(4)
    async with (
        monitor_database(sqlite_url) as database,
        written_log(LogPlace(f"file://{tmp_path}/log")) as log,
        running_registry(tmp_path / "registry") as registry,
        connect(registry.address) as channel,
    ):
        for week in range(2):
            rows = world.observations(50, MONDAY + week * WEEK, MONDAY + (week + 1) * WEEK)
            await log.committer.submit(ObservationBatch, f"o{week}", rows)
            await log.committer.submit(OutcomeBatch, f"y{week}", world.outcomes(rows))
        await registry.create_dataset()
        winter = await registry.create_snapshot(DATASET, "winter", time_column="day")
        await registry.upload_csv(winter, WINTER_CSV)
        await registry.seal(winter)
        builder = LoggedTrainingSnapshots(database, log.log, RegistrySnapshots(channel), spec_of)
        yield builder, log, registry, world


async def stored(registry, name):
    """The snapshot and its rows."""
    snapshot = await registry.datasets.GetSnapshot(
        dataset_service_pb2.GetSnapshotRequest(name=name), timeout=TIMEOUT_S
    )
    parts = registry.datasets.DownloadSnapshotFile(
        dataset_service_pb2.DownloadSnapshotFileRequest(snapshot=name, path=snapshot.files[0].path),
        timeout=TIMEOUT_S,
    )
    content = b"".join([part.chunk async for part in parts])
    return snapshot, pq.read_table(io.BytesIO(content))


async def test_a_snapshot_holds_the_joined_rows_before_its_end(building):
    builder, _, registry, _ = building
    built = await builder.build(order())
    snapshot, rows = await stored(registry, built.name)
    assert built.rows == rows.num_rows == 50
    assert snapshot.digest
    assert snapshot.time_column == "day"
    assert not snapshot.parents
    assert {"prediction_id", "day", "wind", "rain", "origin", "late"} == set(rows.column_names)
    assert rows.column("rain").null_count == 50
    later = await builder.build(
        order(
            snapshot_id="later",
            start=MONDAY + WEEK,
            end=MONDAY + 3 * WEEK,
            request_id=str(uuid.UUID(int=2)),
        )
    )
    assert later.rows == 50


async def test_the_rows_of_the_template_come_first_and_it_is_the_parent(building):
    builder, _, registry, _ = building
    built = await builder.build(order(include_template_snapshot=True))
    snapshot, rows = await stored(registry, built.name)
    assert rows.num_rows == 51
    assert rows.column("rain").to_pylist()[0] == 2.0
    assert list(snapshot.parents) == [f"{DATASET}/snapshots/winter"]


async def test_a_repeat_gives_the_same_snapshot_whatever_came_in_between(building):
    builder, log, registry, world = building
    first = await builder.build(order())
    digest = (await stored(registry, first.name))[0].digest
    rows = world.observations(5, MONDAY, MONDAY + WEEK)
    await log.committer.submit(ObservationBatch, "late", rows)
    await log.committer.submit(OutcomeBatch, "late-y", world.outcomes(rows))
    assert await builder.build(order()) == first
    assert (await stored(registry, first.name))[0].digest == digest
    fresh = await builder.build(order(snapshot_id="b", request_id=str(uuid.UUID(int=3))))
    assert fresh.rows == 55


async def test_no_row_with_an_outcome_is_nothing_to_train_on(building):
    builder, _, _, _ = building
    with pytest.raises(NoTrainingRows):
        await builder.build(order(end=MONDAY))
    with pytest.raises(NoTrainingRows):
        await builder.build(order(endpoint="projects/default/endpoints/other"))


async def test_what_the_registry_refuses_is_told(building):
    builder, _, _, _ = building
    with pytest.raises(RemoteError) as refusal:
        await builder.build(order(dataset="projects/default/datasets/none"))
    assert refusal.value.code is grpc.StatusCode.NOT_FOUND


async def held(registry, snapshot):
    """A privacy hold on it."""
    hold = retention_pb2.Hold(
        target=snapshot,
        kind=retention_pb2.Hold.KIND_PRIVACY,
        placed_by="ann",
        reason="A passenger objects.",
    )
    request = retention_service_pb2.PlaceHoldRequest(
        parent=PROJECT, hold=hold, request_id=request_id()
    )
    return await registry.retention.PlaceHold(request, timeout=TIMEOUT_S)


async def test_rows_under_a_privacy_hold_are_not_had_by_another_snapshot_of_them(building):
    builder, _, registry, _ = building
    first = await builder.build(order())
    hold = await held(registry, first.name)

    def again(number, **fields):
        return builder.build(
            order(snapshot_id=f"s{number}", request_id=str(uuid.UUID(int=number)), **fields)
        )

    with pytest.raises(PrivacyHeld) as refusal:
        await again(2)
    assert refusal.value.metadata == {"snapshot": first.name, "hold": hold.name}
    with pytest.raises(PrivacyHeld):
        await again(3, end=MONDAY + 3 * WEEK)
    later = {"start": MONDAY + WEEK, "end": MONDAY + 3 * WEEK}
    assert (await again(4, **later)).rows == 50
    with pytest.raises(NoTrainingRows):
        await again(5, endpoint="projects/default/endpoints/other")
    await registry.retention.ReleaseHold(
        retention_service_pb2.ReleaseHoldRequest(
            name=hold.name, actor="ann", reason="Settled.", request_id=request_id()
        ),
        timeout=TIMEOUT_S,
    )
    assert (await again(6)).rows == 50


async def test_a_template_under_a_privacy_hold_is_not_trained_on_again(building):
    builder, _, registry, _ = building
    winter = f"{DATASET}/snapshots/winter"
    hold = await held(registry, winter)
    assert (await builder.build(order())).rows == 50
    with pytest.raises(PrivacyHeld) as refusal:
        await builder.build(
            order(
                snapshot_id="b",
                include_template_snapshot=True,
                request_id=str(uuid.UUID(int=2)),
            )
        )
    assert refusal.value.metadata == {"snapshot": winter, "hold": hold.name}
