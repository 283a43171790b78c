from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from roundhouse.common.v1 import events_pb2
from roundhouse.registry.v1 import model_service_pb2 as models_pb

from services.common.blobs.opening import open_blob_store
from services.common.blobs.port import BlobStore
from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.registry.adapters.database.journal import KINDS, NOT_JOURNALED, ROWS
from services.registry.adapters.database.tables import JOURNAL, JOURNAL_HEAD, METADATA
from services.registry.adapters.database.transaction import SqlRegistryTx
from services.registry.adapters.records.rebuilding import (
    DatabaseNotEmpty,
    RebuildReport,
    rebuild,
)
from services.registry.adapters.records.shipping import (
    DatabaseBehindRecords,
    RecordsDiverged,
    RecordShipper,
)
from services.registry.core.models import PromotionPolicy
from services.registry.core.storage_layout import RECORDS, record_key
from services.registry.core.use_cases import models
from services.registry.settings import RegistrySettings
from services.registry.wiring import MIGRATIONS, rebuild_metadata
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.damage import Damage, damage
from tests.support.registry_api import RegistryCaller, running_registry
from tests.support.registry_history import MODEL, contents, live
from tests.support.registry_memory import EPOCH
from tests.support.seaweedfs import S3Server

OPEN_UPLOAD = f"{MODEL}/versions/5"


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.real)])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Settings: SQLite beside a folder, PostgreSQL beside S3."""
    if request.param == "directory":
        return {
            "database_url": f"sqlite:///{tmp_path / 'registry.db'}",
            "blob_url": f"file://{tmp_path / 'blobs'}",
        }
    server: S3Server = request.getfixturevalue("s3_server")
    connection = server.connection
    return {
        "database_url": request.getfixturevalue("postgres_url"),
        "blob_url": request.getfixturevalue("s3_url"),
        "s3_endpoint": connection.endpoint,
        "s3_access_key": connection.access_key,
        "s3_secret_key": connection.secret_key,
        "s3_secure": connection.secure,
        "s3_region": connection.region,
    }


async def rebuilt(tmp_path: Path, places: dict[str, Any], url: str) -> RebuildReport:
    return await rebuild_metadata(
        RegistrySettings(data_dir=tmp_path / "new", **{**places, "database_url": url})
    )


def emptied(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> str:
    """An empty database of the same kind; the first is not looked at again."""
    if url.startswith("sqlite"):
        return f"sqlite:///{tmp_path / 'rebuilt.db'}"
    server = request.getfixturevalue("postgres_server")
    return str(server.url(server.create_database()))


async def answers(caller: RegistryCaller) -> list[Any]:
    """What readers see of the versions and aliases."""
    return [
        await caller.models.ListVersions(
            models_pb.ListVersionsRequest(parent=MODEL), timeout=TIMEOUT_S
        ),
        await caller.models.ListAliases(
            models_pb.ListAliasesRequest(parent=MODEL), timeout=TIMEOUT_S
        ),
        await caller.models.ListAliasMoves(
            models_pb.ListAliasMovesRequest(parent=MODEL), timeout=TIMEOUT_S
        ),
    ]


async def test_everything_is_restored_from_the_blobs_alone(
    request: pytest.FixtureRequest, tmp_path: Path, places: dict[str, Any]
) -> None:
    begun = models_pb.BeginVersionUploadRequest(parent=MODEL, request_id=request_id())
    begun.version.labels["again"] = "yes"
    async with running_registry(tmp_path / "one", **places) as caller:
        await live(caller)
        sixth = await caller.models.BeginVersionUpload(begun, timeout=TIMEOUT_S)
        before = await answers(caller)
        events = [
            item
            async for item in caller.events.WatchEvents(
                events_pb2.WatchEventsRequest(), timeout=TIMEOUT_S
            )
        ]
    original = contents(places["database_url"])
    url = emptied(request, places["database_url"], tmp_path)
    report = await rebuilt(tmp_path, places, url)
    assert (report.lost, report.open_uploads) == ([], [OPEN_UPLOAD, sixth.name])
    assert contents(url) == original
    async with running_registry(tmp_path / "two", **{**places, "database_url": url}) as caller:
        assert await answers(caller) == before
        assert await caller.models.BeginVersionUpload(begun, timeout=TIMEOUT_S) == sixth
        assert await caller.begin(MODEL) == f"{MODEL}/versions/7"
        cursor = [item.event.cursor for item in events if item.HasField("event")][-1]
        later = [
            item.event.subject
            async for item in caller.events.WatchEvents(
                events_pb2.WatchEventsRequest(cursor=cursor), timeout=TIMEOUT_S
            )
            if item.HasField("event")
        ]
        assert later == [f"{MODEL}/versions/7"]


async def test_a_collection_after_a_rebuild_takes_nothing_that_is_relied_on(
    tmp_path: Path,
) -> None:
    blobs = {"blob_url": f"file://{tmp_path / 'blobs'}"}
    async with running_registry(tmp_path / "one", **blobs) as caller:
        await live(caller)
    url = f"sqlite:///{tmp_path / 'rebuilt.db'}"
    await rebuilt(tmp_path, blobs, url)
    async with running_registry(tmp_path / "two", database_url=url, **blobs) as caller:
        plan = await caller.plan_collection()
        going = await caller.collection_items(plan.name, 'state = "PENDING"')
        await caller.collect(plan)
        versions = await caller.models.ListVersions(
            models_pb.ListVersionsRequest(parent=MODEL), timeout=TIMEOUT_S
        )
        committed = [version.name for version in versions.versions if version.digest]
        found = [
            await caller.models.VerifyVersion(
                models_pb.VerifyVersionRequest(name=name, request_id=request_id()),
                timeout=TIMEOUT_S,
            )
            for name in committed
        ]
    assert going, "the files of the open upload, which are to be sent again"
    assert committed
    assert [list(each.faults) for each in found] == [[]] * len(committed)


def test_every_table_is_restored_or_has_a_reason_why_not() -> None:
    restored = {kind.table.name for kind in KINDS.values()} | set(ROWS)
    own = set(METADATA.tables) | {"event", "request"}
    assert restored | set(NOT_JOURNALED) == own
    assert not restored & set(NOT_JOURNALED)


async def test_a_database_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    async with running_registry(tmp_path / "one") as caller:
        await caller.create_model()
    settings = RegistrySettings(data_dir=tmp_path / "one")
    before = contents(settings.database_url)
    with pytest.raises(DatabaseNotEmpty):
        await rebuild_metadata(settings)
    assert contents(settings.database_url) == before


async def test_a_registry_that_lost_its_database_does_not_begin_anew(tmp_path: Path) -> None:
    blobs = {"blob_url": f"file://{tmp_path / 'blobs'}"}
    async with running_registry(tmp_path / "one", **blobs) as caller:
        await caller.create_model()
    with pytest.raises(DatabaseBehindRecords):
        async with running_registry(tmp_path / "two", **blobs):
            raise AssertionError("it started")


async def test_a_registry_of_before_the_records_is_recorded_at_its_start(tmp_path: Path) -> None:
    settings = RegistrySettings(data_dir=tmp_path / "one")
    async with running_registry(tmp_path / "one") as caller:
        await live(caller)
    async with open_blob_store(settings.blob_url) as store:
        for info in await store.list_blobs(RECORDS):
            await store.delete(info.key)
    forget_journal(settings.database_url)
    async with running_registry(tmp_path / "one") as caller:
        await caller.create_model("later")
    url = f"sqlite:///{tmp_path / 'rebuilt.db'}"
    report = await rebuilt(tmp_path, {"blob_url": settings.blob_url}, url)
    assert report.lost == []
    assert contents(url) == contents(settings.database_url)


def forget_journal(url: str) -> None:
    database = Database(url)

    def forget(connection: Any) -> None:
        connection.execute(JOURNAL.delete())
        connection.execute(JOURNAL_HEAD.update().values(seq=0))

    database.write_now(forget)
    database.close()


@pytest.mark.parametrize("how", Damage)
async def test_a_damaged_record_is_named_and_the_others_are_restored(
    tmp_path: Path, how: Damage
) -> None:
    async with running_registry(tmp_path / "one") as caller:
        names = [await caller.create_model(f"m{number}") for number in range(4)]
    settings = RegistrySettings(data_dir=tmp_path / "one")
    async with open_blob_store(settings.blob_url) as store:
        await damage(store, record_key(2), how, record_key(3))
    url = f"sqlite:///{tmp_path / 'rebuilt.db'}"
    report = await rebuilt(tmp_path, {"blob_url": settings.blob_url}, url)
    (lost,) = report.lost
    assert "2" in lost
    restored = [row["name"] for row in contents(url)["model"]]
    assert restored == [names[0], *names[2:]]
    async with running_registry(
        tmp_path / "two", database_url=url, blob_url=settings.blob_url
    ) as caller:
        assert await caller.create_model("m9") == f"{PROJECT}/models/m9"


async def test_what_the_store_lacks_of_the_bytes_is_named(tmp_path: Path) -> None:
    async with running_registry(tmp_path / "one") as caller:
        version = await caller.ready_version(await caller.create_model())
    settings = RegistrySettings(data_dir=tmp_path / "one")
    for blob in (tmp_path / "one" / "blobs" / "objects" / "blobs").rglob("*"):
        if blob.is_file() and blob.stat().st_size == 2000:
            blob.unlink()
    report = await rebuilt(
        tmp_path, {"blob_url": settings.blob_url}, f"sqlite:///{tmp_path / 'rebuilt.db'}"
    )
    assert report.lost == [f"{version}: the bytes of model.onnx are gone"]


@asynccontextmanager
async def journal(tmp_path: Path) -> AsyncIterator[tuple[Database, BlobStore]]:
    database = Database(f"sqlite:///{tmp_path / 'journal.db'}")
    await migrate(database, MIGRATIONS)
    async with open_blob_store("memory://") as store:
        yield database, store
    database.close()


def commit(database: Database, name: str) -> None:
    """A change whose process dies before its record is shipped."""

    def work(connection: Any) -> None:
        tx = SqlRegistryTx(connection, EPOCH)
        models.create_model(
            tx, f"{PROJECT}/models/{name}", description="", labels={}, policy=PromotionPolicy()
        )
        tx.finish()

    database.write_now(work)


async def test_what_a_crash_left_unrecorded_is_recorded_at_the_next_start(tmp_path: Path) -> None:
    async with journal(tmp_path) as (database, store):
        commit(database, "a")
        commit(database, "b")
        assert await store.list_blobs() == []
        await RecordShipper(database, store).start()
        other = Database(f"sqlite:///{tmp_path / 'other.db'}")
        await migrate(other, MIGRATIONS)
        report = await rebuild(other, store)
        other.close()
        assert (report.restored["model"], report.lost) == (2, [])


async def test_replicas_that_record_the_same_changes_agree(tmp_path: Path) -> None:
    async with journal(tmp_path) as (database, store):
        shippers = [RecordShipper(database, store) for _ in range(3)]
        for round_number in range(5):
            for number in range(3):
                commit(database, f"m{round_number}-{number}")
                if number % 2:
                    await shippers[round_number % 3].ship()
            await asyncio.gather(*(shipper.ship() for shipper in shippers))
        other = Database(f"sqlite:///{tmp_path / 'other.db'}")
        await migrate(other, MIGRATIONS)
        report = await rebuild(other, store)
        other.close()
        assert (report.transactions, report.restored["model"], report.lost) == (15, 15, [])


async def test_records_of_another_database_are_not_taken_for_ones_own(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    async with journal(tmp_path / "one") as (first, store), journal(tmp_path) as (second, _):
        commit(first, "a")
        commit(second, "b")
        await RecordShipper(first, store).ship()
        with pytest.raises(RecordsDiverged):
            await RecordShipper(second, store).ship()


async def test_a_change_whose_record_can_not_be_written_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_registry(tmp_path / "one") as caller:
        await caller.create_model("a")
        folder = tmp_path / "one" / "blobs" / "objects" / RECORDS
        hidden = folder.with_name("hidden")
        folder.rename(hidden)
        folder.write_bytes(b"no folder can be made here")
        request = models_pb.CreateModelRequest(
            parent=PROJECT, model_id="b", request_id=request_id(), model={}
        )
        with refused() as refusal:
            await caller.models.CreateModel(request, timeout=TIMEOUT_S)
        assert refusal.code is not StatusCode.OK
        folder.unlink()
        hidden.rename(folder)
        again = await caller.models.CreateModel(request, timeout=TIMEOUT_S)
        assert again.name == f"{PROJECT}/models/b"
        assert len(list(folder.rglob("*.json"))) == 2
