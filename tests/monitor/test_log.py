"""The prediction log on a directory and on S3: what is acknowledged is there, once."""

from __future__ import annotations

import asyncio

import pyarrow as pa
import pytest

from services.monitor.adapters.log.table import DeltaLogTable, LogUnavailable
from services.monitor.core.errors import InvalidBatch
from services.monitor.core.stream.batches import SHADOW_SUFFIX, ObservationBatch, OutcomeBatch
from tests.support.monitor_api import arrow
from tests.support.monitor_values import ENDPOINT
from tests.support.prediction_logs import LogPlace, s3_place, written_log
from tests.support.predictions import DAY, MONDAY, World

OTHER = "projects/default/endpoints/other"
WEEK = 7 * DAY


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.real)])
def place(request, tmp_path):
    if request.param == "directory":
        return LogPlace(f"file://{tmp_path}/predictions")
    server = request.getfixturevalue("s3_server")
    return s3_place(server, request.getfixturevalue("s3_url"))


async def replayed(log, endpoint=ENDPOINT, since=None):
    return await log.replay(endpoint, since=since, until_position=log.position)


def contents(batches):
    return [(type(batch), batch.position, batch.rows.to_pylist()) for batch in batches]


async def test_what_was_taken_in_is_replayed_as_it_was_delivered(place):
    world = World()
    seen = [world.observations(20, MONDAY, MONDAY + WEEK) for _ in range(3)]
    async with written_log(place) as written:
        await asyncio.gather(
            *(
                written.committer.submit(ObservationBatch, f"o{index}", rows)
                for index, rows in enumerate(seen)
            ),
            written.committer.submit(OutcomeBatch, "y", world.outcomes(seen[0])),
        )
        live = contents(written.delivered)
    async with written_log(place) as again:
        assert contents(await replayed(again.log)) == live
        assert again.log.position == 4
        assert not again.delivered


async def test_what_decided_is_kept_where_a_batch_says_it(place):
    world = World()
    silent = world.observations(5, MONDAY, MONDAY + WEEK)
    telling = world.observations(5, MONDAY, MONDAY + WEEK)
    telling = telling.append_column("policy", [["projects/p/policies/x/versions/2"] * 5])
    async with written_log(place) as written:
        await written.intake.append_observations("a", arrow(silent))
        await written.intake.append_observations("b", arrow(telling))
        rows = [row for batch in await replayed(written.log) for row in batch.rows.to_pylist()]
        assert [row["policy"] for row in rows] == [
            *[None] * 5,
            *["projects/p/policies/x/versions/2"] * 5,
        ]
        wrong = silent.append_column("policy", [[2] * 5])
        with pytest.raises(InvalidBatch):
            await written.intake.append_observations("c", arrow(wrong))


async def test_a_batch_is_stored_once_across_repeats_and_restarts(place):
    world = World()
    rows = world.observations(10, MONDAY, MONDAY + WEEK)
    for _ in range(2):
        async with written_log(place) as written:
            await asyncio.gather(
                *(written.committer.submit(ObservationBatch, "one", rows) for _ in range(3))
            )
    async with written_log(place) as written:
        assert [batch.rows.num_rows for batch in await replayed(written.log)] == [10]


async def test_batches_that_arrive_together_share_a_commit(place):
    world = World()
    rows = [world.observations(2, MONDAY, MONDAY + WEEK) for _ in range(50)]
    async with written_log(place) as written:
        await asyncio.gather(
            *(
                written.committer.submit(ObservationBatch, f"b{index}", batch)
                for index, batch in enumerate(rows)
            )
        )
        table = DeltaLogTable(f"{place.url}/observations/default.delays", place.options)
        assert table.position == 50
        assert table._table is not None
        assert table._table.version() < 10


async def test_a_replay_gives_one_endpoint_from_a_time_on(place):
    world = World()
    async with written_log(place) as written:
        for name, endpoint, week in (("a", ENDPOINT, 0), ("b", ENDPOINT, 1), ("c", OTHER, 1)):
            start = MONDAY + week * WEEK
            rows = world.observations(5, start, start + WEEK, endpoint=endpoint)
            await written.committer.submit(ObservationBatch, name, rows)
        found = await replayed(written.log, since=MONDAY + WEEK)
        assert [batch.position for batch in found] == [2]
        assert [batch.position for batch in await replayed(written.log, OTHER)] == [3]
        assert await replayed(written.log, "projects/default/endpoints/unknown") == []
        early = await written.log.replay(ENDPOINT, since=None, until_position=1)
        assert [batch.position for batch in early] == [1]


async def test_what_a_shadow_answered_is_kept_and_is_none_of_what_was_served(place):
    world = World()
    served = world.observations(3, MONDAY, MONDAY + WEEK)
    mirrored = world.observations(4, MONDAY, MONDAY + WEEK, endpoint=f"{ENDPOINT}{SHADOW_SUFFIX}")
    async with written_log(place) as written:
        await written.intake.append_observations("served", arrow(served))
        await written.intake.append_observations("mirrored", arrow(mirrored))
    async with written_log(place) as again:
        assert [batch.rows.num_rows for batch in await replayed(again.log)] == [3]
        shadows = await replayed(again.log, f"{ENDPOINT}{SHADOW_SUFFIX}")
        assert [batch.rows.num_rows for batch in shadows] == [4]
        assert again.log.position == 2


async def test_a_batch_of_two_endpoints_reaches_both_and_a_new_feature_is_added(place):
    world = World()
    mixed = pa.concat_tables(
        [
            world.observations(3, MONDAY, MONDAY + WEEK),
            world.observations(4, MONDAY, MONDAY + WEEK, endpoint=OTHER),
        ]
    )
    wider = world.observations(2, MONDAY, MONDAY + WEEK)
    wider = wider.append_column("f_rain", pa.array([1.0, 2.0], pa.float32()))
    async with written_log(place) as written:
        await written.committer.submit(ObservationBatch, "mixed", mixed)
        await written.committer.submit(ObservationBatch, "wider", wider)
        first, second = await replayed(written.log)
        assert (first.rows.num_rows, second.rows.num_rows) == (3, 2)
        assert second.rows.column("f_rain").to_pylist() == [1.0, 2.0]
        assert [batch.rows.num_rows for batch in await replayed(written.log, OTHER)] == [4]


async def test_compaction_changes_nothing_that_is_read(place):
    world = World()
    async with written_log(place) as written:
        for index in range(5):
            rows = world.observations(3, MONDAY, MONDAY + WEEK)
            await written.committer.submit(ObservationBatch, f"b{index}", rows)
        before = contents(await replayed(written.log))
        for table in written.log._tables():
            table.compact()
        assert contents(await replayed(written.log)) == before
        last = world.observations(3, MONDAY, MONDAY + WEEK)
        await written.committer.submit(ObservationBatch, "last", last)
        assert len(await replayed(written.log)) == 6


async def test_a_commit_that_went_through_unheard_is_not_repeated(place):
    rows = World().observations(3, MONDAY, MONDAY + WEEK)
    table = DeltaLogTable(f"{place.url}/single", place.options)
    table.append(rows, 7)
    other = DeltaLogTable(f"{place.url}/single", place.options)
    other.append(rows, 7)
    table.append(rows, 7)
    stored = other.read()
    assert stored is not None
    assert stored.num_rows == 3


async def test_a_store_that_is_away_acknowledges_nothing_and_recovers(tmp_path, monkeypatch):
    monkeypatch.setattr("services.monitor.adapters.log.table._FIRST_WAIT_S", 0.0)
    world = World()
    async with written_log(LogPlace(f"file://{tmp_path}/predictions")) as written:
        rows = world.observations(3, MONDAY, MONDAY + WEEK)
        with monkeypatch.context() as broken:

            def fails(*_: object, **__: object) -> None:
                raise OSError("no space")

            broken.setattr("services.monitor.adapters.log.table.write_deltalake", fails)
            with pytest.raises(LogUnavailable):
                await written.committer.submit(ObservationBatch, "b", rows)
            assert not written.delivered
        await written.committer.submit(ObservationBatch, "b", rows)
        assert [batch.rows.num_rows for batch in await replayed(written.log)] == [3]


def valid() -> pa.Table:
    return World().observations(2, MONDAY, MONDAY + WEEK)


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        (valid().drop_columns(["score"]), "score"),
        (valid().append_column("score", pa.array([0.1, 0.2])), "score"),
        (valid().set_column(4, "score", pa.array([0.1, 0.2], pa.float64())), "score"),
        (valid().set_column(4, "score", pa.array([0.1, None], pa.float32())), "score"),
        (valid().set_column(4, "score", pa.array([0.1, float("nan")], pa.float32())), "score"),
        (valid().set_column(2, "endpoint", pa.array(["delays", "x"])), "endpoint"),
        (valid().append_column("f_age", pa.array([1, 2])), "f_age"),
    ],
)
async def test_a_batch_that_does_not_fit_is_refused_by_its_column(tmp_path, rows, column):
    async with written_log(LogPlace(f"file://{tmp_path}/predictions")) as written:
        with pytest.raises(InvalidBatch) as refusal:
            await written.intake.append_observations("b", arrow(rows))
        assert refusal.value.metadata == {"batch_id": "b", "column": column}


async def test_a_feature_keeps_its_type(tmp_path):
    rows = valid()
    renamed = rows.set_column(6, "f_wind", pa.array(["calm", "gale"]))
    async with written_log(LogPlace(f"file://{tmp_path}/predictions")) as written:
        await written.intake.append_observations("a", arrow(rows))
        with pytest.raises(InvalidBatch) as refusal:
            await written.intake.append_observations("b", arrow(renamed))
        assert refusal.value.metadata["column"] == "f_wind"


async def test_an_outcome_is_0_or_1_and_an_empty_batch_is_nothing(tmp_path):
    world = World()
    came = world.outcomes(world.observations(2, MONDAY, MONDAY + WEEK))
    async with written_log(LogPlace(f"file://{tmp_path}/predictions")) as written:
        wrong = came.set_column(1, "outcome", pa.array([0, 2]))
        with pytest.raises(InvalidBatch) as refusal:
            await written.intake.append_outcomes("b", arrow(wrong))
        assert refusal.value.metadata["column"] == "outcome"
        assert await written.intake.append_outcomes("e", arrow(came.slice(0, 0))) == 0
        assert await written.intake.append_outcomes("y", arrow(came)) == 2
        with pytest.raises(InvalidBatch):
            await written.intake.append_outcomes("t", arrow(came)[:40])
