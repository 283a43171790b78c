"""Pins, holds and garbage collections over a real channel, on a directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from roundhouse.registry.v1 import dataset_pb2, model_pb2, retention_pb2
from roundhouse.registry.v1 import dataset_service_pb2 as datasets_pb
from roundhouse.registry.v1 import model_service_pb2 as models_pb
from roundhouse.registry.v1 import retention_service_pb2 as pb

from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.registry_api import BUNDLE, RegistryCaller, running_registry

NEWEST_ONLY = retention_pb2.RetentionPolicy(keep_last=1)


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[RegistryCaller]:
    """A caller of a registry that takes every unfinished upload for abandoned."""
    async with running_registry(tmp_path / "registry", abandoned_upload_age_s=0.0) as caller:
        yield caller


def blobs(folder: Path) -> set[str]:
    """The contents that the directory has."""
    return {path.name for path in (folder / "registry").rglob("blobs/sha256/*/*")}


async def two_versions(caller: RegistryCaller) -> tuple[str, str]:
    """Versions of a model that keeps only the newest by itself."""
    model = await caller.create_model(retention_policy=NEWEST_ONLY)
    old = await caller.ready_version(model, {**BUNDLE, "card.md": b"old"})
    new = await caller.ready_version(model, {**BUNDLE, "card.md": b"new"})
    return old, new


async def pin(caller: RegistryCaller, target: str, pin_id: str = "p") -> retention_pb2.Pin:
    return await caller.retention.CreatePin(
        pb.CreatePinRequest(
            parent=PROJECT,
            pin_id=pin_id,
            pin=retention_pb2.Pin(target=target, holder="an endpoint"),
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )


async def hold(
    caller: RegistryCaller, target: str, kind: retention_pb2.Hold.Kind.ValueType
) -> retention_pb2.Hold:
    return await caller.retention.PlaceHold(
        pb.PlaceHoldRequest(
            parent=PROJECT,
            hold=retention_pb2.Hold(target=target, kind=kind, placed_by="ann", reason="case 1"),
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )


async def version(caller: RegistryCaller, name: str) -> model_pb2.ModelVersion:
    return await caller.models.GetVersion(models_pb.GetVersionRequest(name=name), timeout=TIMEOUT_S)


async def test_a_collection_frees_exactly_what_its_plan_says(caller, tmp_path):
    old, new = await two_versions(caller)
    before = blobs(tmp_path)
    plan = await caller.plan_collection()
    assert (plan.planned.versions, plan.planned.blobs) == (1, 2)
    assert blobs(tmp_path) == before, "a plan removes nothing"
    items = await caller.collection_items(plan.name, 'state = "PENDING"')
    ended = await caller.collect(plan)
    assert ended.collected == plan.planned
    gone = {item.subject.removeprefix("sha256:") for item in items if item.kind == item.KIND_BLOB}
    assert before - blobs(tmp_path) == gone
    tombstone = await version(caller, old)
    assert tombstone.state == model_pb2.ModelVersion.STATE_DELETED
    assert (tombstone.collected_by, tombstone.HasField("collect_time")) == (plan.name, True)
    assert (await version(caller, new)).state == model_pb2.ModelVersion.STATE_READY
    with refused() as refusal:
        async for _ in caller.models.DownloadArtifact(
            models_pb.DownloadArtifactRequest(version=old, path="card.md"), timeout=TIMEOUT_S
        ):
            pass
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "BYTES_COLLECTED",
    )
    assert refusal.metadata["plan"] == plan.name


async def test_what_is_pinned_after_the_plan_is_spared_and_says_so(caller):
    old, _ = await two_versions(caller)
    plan = await caller.plan_collection()
    await pin(caller, old)
    ended = await caller.collect(plan)
    assert ended.collected.versions == 0
    spared = await caller.collection_items(plan.name, 'state = "SKIPPED"')
    assert {item.subject: item.detail for item in spared}[old] == f"pin: {PROJECT}/pins/p"
    assert ended.skipped == len(spared) == 3, "the version and the two contents only it has"


async def test_a_pin_is_one_by_its_name_and_ends_once(caller):
    old, new = await two_versions(caller)
    first = await pin(caller, old)
    again = await pin(caller, old)
    assert (first.uid, first.etag == again.etag) == (again.uid, False)
    with refused() as refusal:
        await pin(caller, new)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "PIN_EXISTS")
    listed = await caller.retention.ListPins(
        pb.ListPinsRequest(parent=PROJECT, filter='holder = "an endpoint"'), timeout=TIMEOUT_S
    )
    assert [each.target for each in listed.pins] == [old]
    stale = pb.DeletePinRequest(name=first.name, etag=first.etag, request_id=request_id())
    with refused() as refusal:
        await caller.retention.DeletePin(stale, timeout=TIMEOUT_S)
    assert refusal.reason == "ETAG_MISMATCH"
    await caller.retention.DeletePin(
        pb.DeletePinRequest(name=first.name, request_id=request_id()), timeout=TIMEOUT_S
    )
    with refused() as refusal:
        await caller.retention.GetPin(pb.GetPinRequest(name=first.name), timeout=TIMEOUT_S)
    assert refusal.reason == "PIN_NOT_FOUND"


async def test_a_hold_stays_on_record_after_its_release(caller):
    old, _ = await two_versions(caller)
    placed = await hold(caller, old, retention_pb2.Hold.KIND_LEGAL)
    assert (await caller.plan_collection()).planned.versions == 0
    release = pb.ReleaseHoldRequest(
        name=placed.name, actor="bob", reason="closed", request_id=request_id()
    )
    released = await caller.retention.ReleaseHold(release, timeout=TIMEOUT_S)
    assert released == await caller.retention.ReleaseHold(release, timeout=TIMEOUT_S)
    assert (await caller.plan_collection()).planned.versions == 1
    found = await caller.retention.GetHold(pb.GetHoldRequest(name=placed.name), timeout=TIMEOUT_S)
    assert (found.placed_by, found.released_by, found.release_reason) == ("ann", "bob", "closed")
    active = await caller.retention.ListHolds(
        pb.ListHoldsRequest(parent=PROJECT, filter='state = "ACTIVE"'), timeout=TIMEOUT_S
    )
    assert list(active.holds) == []


async def test_a_snapshot_shows_its_privacy_hold_and_takes_no_version(caller):
    snapshot = await caller.sealed_snapshot()
    placed = await hold(caller, snapshot, retention_pb2.Hold.KIND_PRIVACY)
    shown = await caller.datasets.GetSnapshot(
        datasets_pb.GetSnapshotRequest(name=snapshot), timeout=TIMEOUT_S
    )
    assert shown.privacy_hold == placed.name
    model = await caller.create_model()
    with refused() as refusal:
        await caller.begin(model, snapshots=[snapshot])
    assert (refusal.reason, refusal.metadata["hold"]) == ("PRIVACY_HOLD", placed.name)


async def test_a_dataset_keeps_its_newest_snapshot_and_the_rest_go(caller, tmp_path):
    await caller.create_dataset(retention_policy=NEWEST_ONLY)
    old = await caller.sealed_snapshot("january", b"x\n1\n")
    await caller.sealed_snapshot("february", b"x\n2\n")
    ended = await caller.collect(await caller.plan_collection())
    assert (ended.collected.snapshots, ended.collected.blobs) == (1, 1)
    found = await caller.datasets.GetSnapshot(
        datasets_pb.GetSnapshotRequest(name=old), timeout=TIMEOUT_S
    )
    assert found.state == dataset_pb2.DatasetSnapshot.STATE_DELETED
    assert len(blobs(tmp_path)) == 1


async def test_an_aborted_upload_and_a_torn_file_leave_nothing_behind(caller, tmp_path):
    model = await caller.create_model()
    begun = await caller.begin(model)
    await caller.upload_bundle(begun)
    await caller.models.AbortVersionUpload(
        models_pb.AbortVersionUploadRequest(name=begun, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    [partial] = (tmp_path / "registry").rglob("partial")
    torn = partial / "0123456789abcdef0123456789abcdef"
    torn.write_bytes(b"torn")
    plan = await caller.plan_collection()
    assert (plan.planned.blobs, plan.planned.partial_uploads) == (3, 1)
    await caller.collect(plan)
    assert blobs(tmp_path) == set()
    assert not torn.exists()


async def test_a_collected_content_can_be_uploaded_again(caller):
    old, _ = await two_versions(caller)
    model = old.rpartition("/versions/")[0]
    await caller.collect(await caller.plan_collection())
    again = await caller.ready_version(model, {**BUNDLE, "card.md": b"old"})
    assert (await version(caller, again)).digest == (await version(caller, old)).digest
    assert again.endswith("/3"), "no number is used twice"


async def test_a_plan_is_run_with_the_digest_that_was_read(caller):
    plan = await caller.plan_collection()
    with refused() as refusal:
        await caller.retention.RunGarbageCollection(
            pb.RunGarbageCollectionRequest(
                name=plan.name, digest=f"sha256:{'0' * 64}", request_id=request_id()
            ),
            timeout=TIMEOUT_S,
        )
    assert (refusal.code, refusal.fields()) == (grpc.StatusCode.INVALID_ARGUMENT, ["digest"])


async def test_a_registry_that_restarts_goes_on_with_a_plan_that_was_begun(tmp_path):
    folder = tmp_path / "registry"
    async with running_registry(folder) as caller:
        old, _ = await two_versions(caller)
        plan = await caller.plan_collection()
        await caller.retention.RunGarbageCollection(
            pb.RunGarbageCollectionRequest(
                name=plan.name, digest=plan.digest, request_id=request_id()
            ),
            timeout=TIMEOUT_S,
        )
    async with running_registry(folder) as caller:
        await caller.until_collected(plan.name)
        assert (await version(caller, old)).collected_by == plan.name


async def test_a_policy_can_be_set_and_lifted(caller):
    old, _ = await two_versions(caller)
    model = old.rpartition("/versions/")[0]
    update = models_pb.UpdateModelRequest(
        model=model_pb2.Model(name=model), request_id=request_id()
    )
    update.update_mask.paths.append("retention_policy")
    lifted = await caller.models.UpdateModel(update, timeout=TIMEOUT_S)
    assert not lifted.HasField("retention_policy")
    assert (await caller.plan_collection()).planned.versions == 0
