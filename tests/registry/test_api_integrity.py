from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from grpc import StatusCode
from roundhouse.common.v1 import events_pb2
from roundhouse.registry.v1 import model_pb2 as pb
from roundhouse.registry.v1 import model_service_pb2 as service_pb

from services.common.blobs.content import content_key
from services.common.blobs.digests import parse_digest
from services.common.blobs.opening import open_blob_store
from services.common.blobs.port import BlobStore
from tests.support.calls import TIMEOUT_S, refused, request_id
from tests.support.damage import Damage, damage
from tests.support.registry_api import (
    BUNDLE,
    MANIFEST,
    RegistryCaller,
    digest_of,
    manifest_of,
    running_registry,
)

FILES = {
    **BUNDLE,
    "card.md": b"A model.",
    MANIFEST: manifest_of({**BUNDLE, "card.md": b"A model."}),
}
KINDS = {
    Damage.FLIPPED: pb.FileFault.KIND_DAMAGED,
    Damage.TRUNCATED: pb.FileFault.KIND_TRUNCATED,
    Damage.DELETED: pb.FileFault.KIND_MISSING,
    Damage.SWAPPED: pb.FileFault.KIND_SWAPPED,
}


@asynccontextmanager
async def store_of(tmp_path: Path) -> AsyncIterator[BlobStore]:
    """The bytes of the fixture's registry, behind its back."""
    async with open_blob_store(f"file://{tmp_path / 'registry' / 'blobs'}") as store:
        yield store


async def spoil(tmp_path: Path, data: bytes, how: Damage = Damage.FLIPPED) -> None:
    """Damage the stored bytes of a file."""
    async with store_of(tmp_path) as store:
        key = content_key(parse_digest(digest_of(data)))
        await damage(store, key, how, content_key(parse_digest(digest_of(FILES["card.md"]))))


async def committed(caller: RegistryCaller) -> str:
    return await caller.ready_version(
        await caller.create_model(), {path: FILES[path] for path in FILES if path != MANIFEST}
    )


async def verify(
    caller: RegistryCaller, name: str, **fields: str
) -> service_pb.VerifyVersionResponse:
    request = service_pb.VerifyVersionRequest(
        **{"name": name, "request_id": request_id(), **fields}
    )
    return await caller.models.VerifyVersion(request, timeout=TIMEOUT_S)


async def restore(caller: RegistryCaller, name: str) -> pb.ModelVersion:
    request = service_pb.RestoreVersionRequest(name=name, request_id=request_id())
    return await caller.models.RestoreVersion(request, timeout=TIMEOUT_S)


async def repair(caller: RegistryCaller, name: str, path: str, data: bytes, **header: str) -> None:
    request_type = service_pb.RepairArtifactRequest
    fields = {"version": name, "path": path, "digest": digest_of(data), "request_id": request_id()}
    parts = [
        request_type(header=request_type.Header(**{**fields, **header})),
        request_type(chunk=data),
    ]
    await caller.models.RepairArtifact(parts, timeout=TIMEOUT_S)


async def state_of(caller: RegistryCaller, name: str) -> int:
    request = service_pb.GetVersionRequest(name=name)
    return (await caller.models.GetVersion(request, timeout=TIMEOUT_S)).state


async def test_a_whole_version_is_verified_and_says_when(caller: RegistryCaller) -> None:
    name = await committed(caller)
    answer = await verify(caller, name)
    assert (list(answer.faults), answer.files) == ([], 4)
    assert answer.size_bytes == sum(len(data) for data in FILES.values())
    assert answer.version.state == pb.ModelVersion.STATE_READY
    listed = await caller.models.ListVersions(
        service_pb.ListVersionsRequest(parent=name.rpartition("/versions/")[0]), timeout=TIMEOUT_S
    )
    assert listed.versions[0] == answer.version
    assert answer.version.verify_time.ToDatetime() > answer.version.update_time.ToDatetime()


@pytest.mark.parametrize("how", Damage)
@pytest.mark.parametrize("path", ["model.onnx", MANIFEST])
async def test_a_damaged_file_is_named_and_its_version_quarantined(
    caller: RegistryCaller, tmp_path: Path, path: str, how: Damage
) -> None:
    name = await committed(caller)
    await spoil(tmp_path, FILES[path], how)
    answer = await verify(caller, name)
    (fault,) = answer.faults
    assert (fault.path, fault.kind) == (path, KINDS[how])
    assert fault.expected_digest == digest_of(FILES[path])
    assert fault.expected_size_bytes == len(FILES[path])
    assert (fault.actual_digest == "") == (how is Damage.DELETED)
    assert answer.version.state == pb.ModelVersion.STATE_QUARANTINED
    assert list(answer.version.quarantine.faults) == [fault]
    assert answer.version.quarantine.former_state == pb.ModelVersion.STATE_READY


async def test_a_repeated_verification_gives_the_first_answer(
    caller: RegistryCaller, tmp_path: Path
) -> None:
    name = await committed(caller)
    first = await verify(caller, name, request_id=(asked := request_id()))
    await spoil(tmp_path, FILES["model.onnx"])
    assert await verify(caller, name, request_id=asked) == first
    assert await state_of(caller, name) == pb.ModelVersion.STATE_READY


async def test_a_quarantined_version_is_neither_downloaded_nor_given_an_alias(
    caller: RegistryCaller, tmp_path: Path
) -> None:
    name = await committed(caller)
    await spoil(tmp_path, FILES["model.onnx"])
    await verify(caller, name)
    for path in FILES:
        with refused() as refusal:
            request = service_pb.DownloadArtifactRequest(version=name, path=path)
            async for _ in caller.models.DownloadArtifact(request, timeout=TIMEOUT_S):
                raise AssertionError("a byte was served")
        assert (refusal.code, refusal.reason) == (
            StatusCode.FAILED_PRECONDITION,
            "VERSION_QUARANTINED",
        )
        assert refusal.metadata == {"name": name, "path": "model.onnx"}
    with refused() as refusal:
        alias = f"{name.rpartition('/versions/')[0]}/aliases/latest"
        await caller.move((alias, name, ""))
    assert refusal.reason == "VERSION_QUARANTINED"


@pytest.mark.parametrize("how", Damage)
async def test_a_repaired_version_is_restored_and_served_again(
    caller: RegistryCaller, tmp_path: Path, how: Damage
) -> None:
    name = await committed(caller)
    await spoil(tmp_path, FILES["model.onnx"], how)
    await verify(caller, name)
    with refused() as refusal:
        await restore(caller, name)
    assert (refusal.code, refusal.reason) == (StatusCode.DATA_LOSS, "VERSION_DAMAGED")
    assert refusal.fields() == ["model.onnx"]
    await repair(caller, name, "model.onnx", FILES["model.onnx"])
    assert await state_of(caller, name) == pb.ModelVersion.STATE_QUARANTINED
    restored = await restore(caller, name)
    assert restored.state == pb.ModelVersion.STATE_READY
    assert not restored.HasField("quarantine")
    request = service_pb.DownloadArtifactRequest(version=name, path="model.onnx")
    stream = caller.models.DownloadArtifact(request, timeout=TIMEOUT_S)
    assert b"".join([part.chunk async for part in stream]) == FILES["model.onnx"]


async def test_a_repair_with_other_bytes_changes_nothing(
    caller: RegistryCaller, tmp_path: Path
) -> None:
    name = await committed(caller)
    with refused() as refusal:
        await repair(caller, name, "model.onnx", FILES["model.onnx"])
    assert refusal.reason == "ILLEGAL_STATE_TRANSITION"
    await spoil(tmp_path, FILES["model.onnx"])
    await verify(caller, name)
    with refused() as refusal:
        await repair(caller, name, "model.onnx", b"other")
    assert (refusal.code, refusal.reason) == (
        StatusCode.INVALID_ARGUMENT,
        "NOT_THE_COMMITTED_FILE",
    )
    with refused() as refusal:
        await repair(caller, name, "model.onnx", b"other", digest=digest_of(FILES["model.onnx"]))
    assert (refusal.code, refusal.reason) == (StatusCode.DATA_LOSS, "TRUNCATED_UPLOAD")
    assert [fault.path for fault in (await verify(caller, name)).faults] == ["model.onnx"]


async def test_what_befalls_a_version_is_told(caller: RegistryCaller, tmp_path: Path) -> None:
    name = await committed(caller)
    await spoil(tmp_path, FILES["card.md"])
    await verify(caller, name)
    await repair(caller, name, "card.md", FILES["card.md"])
    await restore(caller, name)
    request = events_pb2.WatchEventsRequest(subject=name)
    items = [item async for item in caller.events.WatchEvents(request, timeout=TIMEOUT_S)]
    told = [item.event.type.rpartition(".")[2] for item in items if item.HasField("event")]
    assert told[2:] == ["verified", "quarantined", "file_repaired", "verified", "restored"]


async def test_the_scrub_finds_a_damaged_version_by_itself(tmp_path: Path) -> None:
    async with running_registry(tmp_path / "registry", scrub_period_s=0.1) as caller:
        name = await committed(caller)
        await spoil(tmp_path, FILES["model.onnx"], Damage.DELETED)
        async with asyncio.timeout(60):
            while await state_of(caller, name) != pb.ModelVersion.STATE_QUARANTINED:
                await asyncio.sleep(0.02)
