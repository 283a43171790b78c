from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import grpc
import pytest
from roundhouse.common.v1 import events_pb2 as pb
from roundhouse.common.v1 import events_pb2_grpc as pb_grpc

from services.common.causality import caused_by
from services.common.rpc.convert import from_struct, from_timestamp
from services.common.rpc.events import EVENT_SERVICE, EventServicer, event_api
from services.common.rpc.server import serving
from services.common.store.database import Database
from services.common.store.outbox import Outbox
from services.common.store.tables import METADATA
from tests.support.probe import info_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OUTBOX = Outbox("registry")


@pytest.fixture
async def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/probe.db")
    await database.write(METADATA.create_all)
    yield database
    database.close()


@asynccontextmanager
async def served(api):
    async with (
        serving("registry", "127.0.0.1:0", [api]) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield pb_grpc.EventServiceStub(channel)


@pytest.fixture
async def events(database):
    async with served(event_api(database)) as stub:
        yield stub


async def happen(database, *kinds, subject="projects/p"):
    def append(tx):
        return [OUTBOX.append(tx, kind, subject, NOW, {"kind": kind, "n": 1}) for kind in kinds]

    return await database.write(append)


async def past(events, **request):
    return [item async for item in events.WatchEvents(pb.WatchEventsRequest(**request))]


def types(items):
    return [item.event.type for item in items if item.WhichOneof("item") == "event"]


async def test_the_past_comes_in_order_and_ends_with_a_bookmark(database, events):
    ids = await happen(database, "version.ready", "alias.moved")
    items = await past(events)
    assert [item.event.id for item in items[:-1]] == ids
    assert types(items) == ["roundhouse.registry.version.ready", "roundhouse.registry.alias.moved"]
    assert items[-1].bookmark == items[-2].event.cursor


async def test_an_event_carries_everything_it_was_written_with(database, events):
    with caused_by("episode-1", "event-0"):
        (event_id,) = await happen(database, "version.ready", subject="projects/p/models/m")
    event = (await past(events))[0].event
    assert (event.id, event.source, event.subject) == (event_id, "registry", "projects/p/models/m")
    assert (event.correlation_id, event.causation_id) == ("episode-1", "event-0")
    assert from_timestamp(event.time) == NOW
    assert from_struct(event.data) == {"kind": "version.ready", "n": 1}


async def test_a_reader_resumes_after_any_cursor_without_loss_or_repeat(database, events):
    await happen(database, *(f"k{number}" for number in range(5)))
    everything = types(await past(events))
    for item in (await past(events))[:-1]:
        seen = everything.index(item.event.type) + 1
        assert types(await past(events, cursor=item.event.cursor)) == everything[seen:]


async def test_more_events_than_a_batch_all_come(database, events):
    kinds = [f"k{number:04}" for number in range(600)]
    await happen(database, *kinds)
    assert types(await past(events)) == [f"roundhouse.registry.{kind}" for kind in kinds]


async def test_filters_pick_by_type_correlation_and_subject_and_the_bookmark_skips_the_rest(
    database, events
):
    await happen(database, "version.ready")
    with caused_by("episode-1"):
        await happen(database, "alias.moved", subject="projects/p/models/m")
    await happen(database, "version.rejected")
    items = await past(events, type_prefixes=["roundhouse.registry.version."])
    assert [kind.rpartition(".")[2] for kind in types(items)] == ["ready", "rejected"]
    for request in ({"correlation_id": "episode-1"}, {"subject": "projects/p/models/m"}):
        items = await past(events, **request)
        assert types(items) == ["roundhouse.registry.alias.moved"]
        assert types(await past(events, cursor=items[-1].bookmark)) == []


async def test_a_follower_gets_new_events_as_they_happen(database):
    # With polling out of the way, only the write itself can wake the stream.
    servicer = EventServicer(database, poll_interval_s=3600)
    api = (EVENT_SERVICE, lambda s: pb_grpc.add_EventServiceServicer_to_server(servicer, s))
    async with served(api) as events:
        stream = aiter(events.WatchEvents(pb.WatchEventsRequest(follow=True)))
        assert (await asyncio.wait_for(anext(stream), 5)).bookmark == "0"
        for kind in ("one", "two", "three"):
            await happen(database, kind)
            item = await asyncio.wait_for(anext(stream), 5)
            assert item.event.type == f"roundhouse.registry.{kind}"


async def test_a_follower_sees_what_another_process_wrote(database, events, tmp_path):
    stream = aiter(events.WatchEvents(pb.WatchEventsRequest(follow=True)))
    await asyncio.wait_for(anext(stream), 5)
    other = Database(f"sqlite:///{tmp_path}/probe.db")
    try:
        await happen(other, "elsewhere")
        item = await asyncio.wait_for(anext(stream), 5)
    finally:
        other.close()
    assert item.event.type == "roundhouse.registry.elsewhere"


async def test_a_silent_stream_carries_bookmarks(database):
    servicer = EventServicer(database, poll_interval_s=0.01, bookmark_interval_s=0.02)
    api = (EVENT_SERVICE, lambda s: pb_grpc.add_EventServiceServicer_to_server(servicer, s))
    await happen(database, "one")
    async with served(api) as events:
        request = pb.WatchEventsRequest(follow=True, correlation_id="other")
        stream = aiter(events.WatchEvents(request))
        for _ in range(3):
            assert (await asyncio.wait_for(anext(stream), 5)).bookmark == "1"


async def test_a_damaged_cursor_is_refused(events):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await past(events, cursor="yesterday")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    reason, domain, metadata = info_of(caught.value)
    assert (reason, domain) == ("INVALID_CURSOR", "registry.roundhouse.dev")
    assert metadata == {"cursor": "yesterday"}


async def test_a_drain_ends_a_follower(database):
    stopped = serving("registry", "127.0.0.1:0", [event_api(database)])
    server = await stopped.__aenter__()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.EventServiceStub(channel)
        stream = aiter(stub.WatchEvents(pb.WatchEventsRequest(follow=True)))
        await asyncio.wait_for(anext(stream), 5)
        await asyncio.wait_for(stopped.__aexit__(None, None, None), 5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(stream)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert info_of(caught.value)[0] == "DRAINING"
