"""Many callers at once, and processes that are killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from roundhouse.common.v1 import events_pb2
from roundhouse.registry.v1 import dataset_service_pb2, model_pb2, model_service_pb2

from tests.support.alias_history import (
    LostCompareAndSet,
    RegistryAliases,
    StaleReads,
    histories_of,
)
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.registry_api import BUNDLE, RegistryCaller, digest_of, running_registry
from tests.support.registry_process import RegistryProcess

WRITERS = 64
MODEL = f"{PROJECT}/models/delays"
ALIASES = [f"{MODEL}/aliases/shadow", f"{MODEL}/aliases/canary"]


async def test_sixty_four_writers_get_version_numbers_without_gap_or_duplicate(
    tmp_path: Path, database_url: str
) -> None:
    async with running_registry(tmp_path, database_url=database_url) as caller:
        model = await caller.create_model()

        async def write() -> list[str]:
            return [await caller.begin(model) for _ in range(2)]

        taken = await asyncio.gather(*(write() for _ in range(WRITERS)))
    numbers = [int(name.rpartition("/")[2]) for names in taken for name in names]
    assert sorted(numbers) == list(range(1, 2 * WRITERS + 1))
    assert all(names == sorted(names, key=len) for names in taken)


async def test_one_request_sent_sixty_four_times_at_once_makes_one_version(
    tmp_path: Path, database_url: str
) -> None:
    async with running_registry(tmp_path, database_url=database_url) as caller:
        request = model_service_pb2.BeginVersionUploadRequest(
            parent=await caller.create_model(),
            version=model_pb2.ModelVersion(),
            request_id=request_id(),
        )
        answers = await asyncio.gather(
            *(caller.models.BeginVersionUpload(request, timeout=TIMEOUT_S) for _ in range(WRITERS))
        )
        assert {answer.uid for answer in answers} == {answers[0].uid}
        assert await caller.begin(request.parent) == f"{request.parent}/versions/2"


async def test_files_added_to_one_snapshot_at_once_drop_each_others_rows(
    caller: RegistryCaller,
) -> None:
    snapshot = await caller.create_snapshot(
        await caller.create_dataset(), "january", key_columns=["id"]
    )
    files = await asyncio.gather(
        *(
            caller.upload_csv(snapshot, b"id\n0\n%d\n" % number, f"{number}.parquet")
            for number in range(1, 6)
        )
    )
    assert sum(file.rows for file in files) == 6
    assert sum(file.cleaning.duplicates for file in files) == 4
    assert (await caller.seal(snapshot)).columns[0].distinct_count == 6


async def test_moves_and_reads_of_aliases_are_linearizable(
    tmp_path: Path, database_url: str
) -> None:
    """Two processes' worth of registries over one database, each with half of the clients."""
    settings = {"database_url": database_url, "blob_url": f"file://{tmp_path / 'blobs'}"}
    async with (
        running_registry(tmp_path, **settings) as one,
        running_registry(tmp_path, **settings) as other,
    ):
        versions = await three_versions(one)
        histories = await histories_of(
            [RegistryAliases(each) for each in [one, other] * 4],
            aliases=ALIASES,
            versions=versions,
            moves=200,
        )
    assert histories.moved
    assert histories.violations() == []


@pytest.mark.parametrize("fault", [StaleReads, LostCompareAndSet])
async def test_the_check_of_histories_catches_a_planted_fault(
    caller: RegistryCaller, fault: type[RegistryAliases]
) -> None:
    versions = await three_versions(caller)
    histories = await histories_of(
        [fault(caller), *[RegistryAliases(caller)] * 7],
        aliases=ALIASES[:1],
        versions=versions,
        moves=200,
    )
    assert histories.violations() != []


async def three_versions(caller: RegistryCaller) -> list[str]:
    model = await caller.create_model()
    return [await caller.ready_version(model) for _ in range(3)]


@pytest.mark.real
async def test_a_registry_killed_in_the_middle_of_uploads_shows_nothing_half_done(
    tmp_path: Path,
) -> None:
    process = RegistryProcess(tmp_path)
    try:
        async with process.caller() as caller:
            snapshot = await caller.create_snapshot(await caller.create_dataset(), "january")
            version = await caller.begin(await caller.create_model())
            await caller.upload_artifact(version, "model.onnx", BUNDLE["model.onnx"])
            received = asyncio.Event()
            uploads = [
                asyncio.ensure_future(half_a_csv(caller, snapshot, received)),
                asyncio.ensure_future(half_an_artifact(caller, version, received)),
            ]
            await received.wait()
            process.kill_and_restart()
            for failure in await asyncio.gather(*uploads, return_exceptions=True):
                assert isinstance(failure, grpc.aio.AioRpcError)
                assert failure.code() is grpc.StatusCode.UNAVAILABLE
        async with process.caller() as caller:
            stored = await caller.datasets.GetSnapshot(
                dataset_service_pb2.GetSnapshotRequest(name=snapshot), timeout=TIMEOUT_S
            )
            assert list(stored.files) == []
            with refused() as refusal:
                await caller.commit(version, digest_of(b"manifest"))
            assert refusal.reason == "MANIFEST_MISMATCH"
            partial = tmp_path / "data" / "blobs" / "partial"
            assert list(partial.iterdir()) == []
            await caller.upload_csv(snapshot, b"x\n1\n")
            assert (await caller.seal(snapshot)).cleaning.rows_kept == 1
            assert (await caller.commit(version, await caller.upload_bundle(version))).digest
    finally:
        process.stop()


async def half_a_csv(caller: RegistryCaller, snapshot: str, received: asyncio.Event) -> None:
    part = dataset_service_pb2.UploadSnapshotFileRequest

    async def parts() -> AsyncIterator[dataset_service_pb2.UploadSnapshotFileRequest]:
        yield part(
            header=part.Header(
                snapshot=snapshot,
                path="a.parquet",
                format=part.Header.FORMAT_CSV,
                digest=digest_of(b"x\n1\n"),
                request_id=request_id(),
            )
        )
        yield part(chunk=b"x\n")
        await received.wait()
        await asyncio.Event().wait()

    await caller.datasets.UploadSnapshotFile(parts(), timeout=TIMEOUT_S)


async def half_an_artifact(caller: RegistryCaller, version: str, received: asyncio.Event) -> None:
    part = model_service_pb2.UploadArtifactRequest

    async def parts() -> AsyncIterator[model_service_pb2.UploadArtifactRequest]:
        yield part(
            header=part.Header(
                version=version,
                path="weights.data",
                digest=digest_of(b"never whole"),
                request_id=request_id(),
            )
        )
        for _ in range(8):
            yield part(chunk=b"x" * 2**20)
        received.set()
        await asyncio.Event().wait()

    await caller.models.UploadArtifact(parts(), timeout=TIMEOUT_S)


@pytest.mark.real
async def test_versions_committed_around_kills_are_whole_and_told_of_once(tmp_path: Path) -> None:
    process = RegistryProcess(tmp_path)
    try:
        async with process.caller() as caller:
            model = await caller.create_model()
        begun = [request_id() for _ in range(6)]
        for round_, begin_id in enumerate(begun):
            async with process.caller() as caller:
                register = asyncio.ensure_future(register_version(caller, model, begin_id))
                if round_ % 2:
                    await asyncio.wait([register], timeout=0.03 * round_)
                    process.kill_and_restart()
                await asyncio.gather(register, return_exceptions=True)
            async with process.caller() as caller:
                await register_version(caller, model, begin_id)
        async with process.caller() as caller:
            page = await caller.models.ListVersions(
                model_service_pb2.ListVersionsRequest(parent=model), timeout=TIMEOUT_S
            )
            names = [version.name for version in page.versions]
            assert names == [f"{model}/versions/{number}" for number in range(1, 7)]
            assert {version.state for version in page.versions} == {
                model_pb2.ModelVersion.STATE_READY
            }
            request = events_pb2.WatchEventsRequest(
                type_prefixes=["roundhouse.registry.version.ready"]
            )
            items = [item async for item in caller.events.WatchEvents(request, timeout=TIMEOUT_S)]
            told = [item.event.subject for item in items if item.HasField("event")]
            assert told == names
    finally:
        process.stop()


async def register_version(caller: RegistryCaller, model: str, begin_id: str) -> None:
    """Each step has an id derived from the first one's, as a controller's steps have."""
    version = await caller.models.BeginVersionUpload(
        model_service_pb2.BeginVersionUploadRequest(
            parent=model, version=model_pb2.ModelVersion(), request_id=begin_id
        ),
        timeout=TIMEOUT_S,
    )
    current = await caller.models.GetVersion(
        model_service_pb2.GetVersionRequest(name=version.name), timeout=TIMEOUT_S
    )
    if current.state == model_pb2.ModelVersion.STATE_UPLOADING:
        await caller.commit(version.name, await caller.upload_bundle(version.name))
