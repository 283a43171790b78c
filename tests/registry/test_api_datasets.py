from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from roundhouse.registry.v1 import dataset_pb2, dataset_service_pb2

from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.registry_api import RegistryCaller, digest_of, running_registry

pb, service_pb = dataset_pb2, dataset_service_pb2
DATASET = f"{PROJECT}/datasets/flights"
SNAPSHOT = f"{DATASET}/snapshots/january"
CSV = b"id,t,x\n1,2013-01-01T00:00:00Z,a\n1,2013-01-02T00:00:00Z,b\n2,2013-01-03T00:00:00Z,NA\n"


async def download(caller: RegistryCaller, snapshot: str, path: str) -> bytes:
    stream = caller.datasets.DownloadSnapshotFile(
        service_pb.DownloadSnapshotFileRequest(snapshot=snapshot, path=path), timeout=TIMEOUT_S
    )
    return b"".join([part.chunk async for part in stream])


async def test_a_csv_becomes_a_sealed_snapshot_with_reports_window_and_digest(
    caller: RegistryCaller,
) -> None:
    dataset = await caller.create_dataset()
    snapshot = await caller.create_snapshot(
        dataset,
        "january",
        key_columns=["id"],
        required_columns=["x"],
        time_column="t",
        source="test",
        labels={"month": "1"},
    )
    file = await caller.upload_csv(snapshot, CSV)
    assert (file.cleaning.rows_read, file.rows) == (3, 1)
    assert (file.cleaning.duplicates, file.cleaning.unusable) == (1, 1)
    assert [column.name for column in file.columns] == ["id", "t", "x"]
    sealed = await caller.seal(snapshot)
    assert sealed.state == pb.DatasetSnapshot.STATE_SEALED
    assert sealed.digest.startswith("sha256:")
    assert sealed.start_time.ToJsonString() == "2013-01-01T00:00:00Z"
    assert [column.data_type for column in sealed.columns] == [
        "int64",
        "timestamp[us, tz=UTC]",
        "string",
    ]
    assert sealed.columns[2].top_values[0].value == "a"
    stored = await caller.datasets.GetSnapshot(
        service_pb.GetSnapshotRequest(name=snapshot), timeout=TIMEOUT_S
    )
    assert stored == sealed
    content = await download(caller, snapshot, "a.parquet")
    assert digest_of(content) == file.digest
    assert pq.read_table(io.BytesIO(content)).num_rows == 1


async def test_the_same_content_has_the_same_digest_in_another_snapshot(
    caller: RegistryCaller,
) -> None:
    dataset = await caller.create_dataset()
    digests = []
    for snapshot_id in ("a", "b"):
        snapshot = await caller.create_snapshot(dataset, snapshot_id, source="same")
        await caller.upload_csv(snapshot, CSV)
        digests.append((await caller.seal(snapshot)).digest)
    assert digests[0] == digests[1]


async def test_rows_of_an_earlier_file_are_duplicates_in_a_later_one(
    caller: RegistryCaller,
) -> None:
    dataset = await caller.create_dataset()
    snapshot = await caller.create_snapshot(dataset, "january", key_columns=["id"])
    await caller.upload_csv(snapshot, b"id\n1\n2\n", "a.parquet")
    second = await caller.upload_csv(snapshot, b"id\n2\n3\n", "b.parquet")
    assert (second.rows, second.cleaning.duplicates) == (1, 1)
    sealed = await caller.seal(snapshot)
    assert sealed.columns[0].distinct_count == 3
    assert sealed.cleaning.rows_kept == 3


async def test_an_upload_repeated_in_any_way_is_added_once(caller: RegistryCaller) -> None:
    snapshot = await caller.create_snapshot(await caller.create_dataset(), "january")
    same = request_id()
    first = await caller.upload_csv(snapshot, CSV, request_id=same)
    assert await caller.upload_csv(snapshot, CSV, request_id=same) == first
    assert await caller.upload_csv(snapshot, CSV) == first
    await caller.seal(snapshot)
    assert await caller.upload_csv(snapshot, CSV) == first
    with refused() as refusal:
        await caller.upload_csv(snapshot, b"x\n1\n", request_id=same)
    assert (refusal.code, refusal.reason) == (StatusCode.ALREADY_EXISTS, "FILE_EXISTS")
    with refused() as refusal:
        await caller.upload_csv(snapshot, b"x\n1\n", "b.parquet", request_id=same)
    assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "SNAPSHOT_SEALED")


@pytest.mark.parametrize(
    ("data", "header", "code", "reason"),
    [
        (b"a,b\n1\n", {}, StatusCode.INVALID_ARGUMENT, "UNREADABLE_FILE"),
        (b"a\n1\n", {"format": 1}, StatusCode.INVALID_ARGUMENT, "UNREADABLE_FILE"),
        (b"b\n1\n", {}, StatusCode.INVALID_ARGUMENT, "COLUMN_NOT_FOUND"),
        (b"a\n1\n", {"digest": digest_of(b"")}, StatusCode.DATA_LOSS, "TRUNCATED_UPLOAD"),
        (b"a\n1\n", {"snapshot": SNAPSHOT + "x"}, StatusCode.NOT_FOUND, "SNAPSHOT_NOT_FOUND"),
        (b"a\n1\n", {"snapshot": "x"}, StatusCode.INVALID_ARGUMENT, "INVALID_NAME"),
        (b"a\n1\n", {"path": "../x"}, StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (b"a\n1\n", {"format": 0}, StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ],
)
async def test_a_faulty_upload_adds_nothing(
    caller: RegistryCaller,
    data: bytes,
    header: dict[str, object],
    code: StatusCode,
    reason: str,
) -> None:
    dataset = await caller.create_dataset()
    snapshot = await caller.create_snapshot(dataset, "january", required_columns=["a"])
    with refused() as refusal:
        await caller.upload_csv(snapshot, data, **header)
    assert (refusal.code, refusal.reason) == (code, reason)
    assert refusal.domain == "registry.roundhouse.dev"
    stored = await caller.datasets.GetSnapshot(
        service_pb.GetSnapshotRequest(name=snapshot), timeout=TIMEOUT_S
    )
    assert list(stored.files) == []


async def test_an_upload_is_a_header_and_then_chunks(caller: RegistryCaller) -> None:
    part = service_pb.UploadSnapshotFileRequest
    header = part(
        header=part.Header(
            snapshot=SNAPSHOT,
            path="a",
            format=part.Header.FORMAT_CSV,
            digest=digest_of(b""),
            request_id=request_id(),
        )
    )
    for parts in ([], [part(chunk=b"a")], [header, header]):
        with refused() as refusal:
            await caller.datasets.UploadSnapshotFile(parts, timeout=TIMEOUT_S)
        assert (refusal.code, refusal.reason) == (
            StatusCode.INVALID_ARGUMENT,
            "MALFORMED_UPLOAD",
        )


async def test_an_upload_above_the_limit_is_refused(tmp_path: Path) -> None:
    async with running_registry(tmp_path, max_upload_bytes=2**20) as caller:
        snapshot = await caller.create_snapshot(await caller.create_dataset(), "january")
        with refused() as refusal:
            await caller.upload_csv(snapshot, b"x\n" + b"1\n" * 2**20)
    assert (refusal.code, refusal.reason) == (
        StatusCode.RESOURCE_EXHAUSTED,
        "UPLOAD_TOO_LARGE",
    )


async def test_a_second_file_of_another_schema_is_refused(caller: RegistryCaller) -> None:
    snapshot = await caller.create_snapshot(await caller.create_dataset(), "january")
    await caller.upload_csv(snapshot, b"a\n1\n", "a.parquet")
    with refused() as refusal:
        await caller.upload_csv(snapshot, b"b\n1\n", "b.parquet")
    assert refusal.reason == "SCHEMA_MISMATCH"
    assert refusal.fields() == ["b", "a"]


async def test_snapshots_are_created_sealed_and_deleted_only_where_that_is_right(
    caller: RegistryCaller,
) -> None:
    dataset = await caller.create_dataset()
    snapshot = await caller.create_snapshot(dataset, "january")
    with refused() as refusal:
        await caller.create_snapshot(dataset, "january")
    assert refusal.reason == "SNAPSHOT_EXISTS"
    with refused() as refusal:
        await caller.create_snapshot(dataset, "february", parents=[snapshot])
    assert (refusal.code, refusal.reason) == (
        StatusCode.FAILED_PRECONDITION,
        "SNAPSHOT_NOT_SEALED",
    )
    with refused() as refusal:
        await caller.seal(snapshot)
    assert refusal.reason == "SNAPSHOT_EMPTY"
    with refused() as refusal:
        await caller.datasets.DeleteDataset(
            service_pb.DeleteDatasetRequest(name=dataset, request_id=request_id()),
            timeout=TIMEOUT_S,
        )
    assert refusal.reason == "DATASET_NOT_EMPTY"
    await caller.upload_csv(snapshot, CSV)
    await caller.seal(snapshot)
    with refused() as refusal:
        await caller.seal(snapshot)
    assert refusal.reason == "SNAPSHOT_SEALED"
    child = await caller.create_snapshot(dataset, "child", parents=[snapshot])
    with refused() as refusal:
        await delete(caller, snapshot)
    assert (refusal.reason, refusal.metadata["referrer"]) == ("SNAPSHOT_REFERENCED", child)
    await delete(caller, child)
    with refused() as refusal:
        await caller.datasets.GetSnapshot(
            service_pb.GetSnapshotRequest(name=child), timeout=TIMEOUT_S
        )
    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "SNAPSHOT_NOT_FOUND")


async def delete(caller: RegistryCaller, snapshot: str) -> None:
    await caller.datasets.DeleteSnapshot(
        service_pb.DeleteSnapshotRequest(name=snapshot, request_id=request_id()),
        timeout=TIMEOUT_S,
    )


async def test_sealing_repeated_with_one_request_id_gives_the_first_answer(
    caller: RegistryCaller,
) -> None:
    snapshot = await caller.create_snapshot(await caller.create_dataset(), "january")
    await caller.upload_csv(snapshot, CSV)
    request = service_pb.SealSnapshotRequest(name=snapshot, request_id=request_id())
    first = await caller.datasets.SealSnapshot(request, timeout=TIMEOUT_S)
    assert await caller.datasets.SealSnapshot(request, timeout=TIMEOUT_S) == first


async def test_a_dataset_is_updated_by_mask_and_etag(caller: RegistryCaller) -> None:
    await caller.create_dataset(description="old", labels={"a": "1"})
    dataset = await caller.datasets.GetDataset(
        service_pb.GetDatasetRequest(name=DATASET), timeout=TIMEOUT_S
    )

    async def update(mask: list[str], etag: str) -> dataset_pb2.Dataset:
        return await caller.datasets.UpdateDataset(
            service_pb.UpdateDatasetRequest(
                dataset=pb.Dataset(name=DATASET, description="new", etag=etag),
                update_mask=FieldMask(paths=mask),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )

    changed = await update(["description"], dataset.etag)
    assert (changed.description, dict(changed.labels)) == ("new", {"a": "1"})
    with refused() as refusal:
        await update(["description"], dataset.etag)
    assert (refusal.code, refusal.reason) == (StatusCode.ABORTED, "ETAG_MISMATCH")
    with refused() as refusal:
        await update(["uid"], "")
    assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, "FIELD_IMMUTABLE")
    assert dict((await update([], changed.etag)).labels) == {}


async def test_fields_that_the_registry_sets_are_refused_by_name(caller: RegistryCaller) -> None:
    with refused() as refusal:
        await caller.create_dataset(uid="mine", etag="mine")
    assert (refusal.reason, refusal.fields()) == (
        "INVALID_REQUEST",
        ["dataset.uid", "dataset.etag"],
    )


async def test_datasets_and_snapshots_are_listed_in_pages_filtered_and_ordered(
    caller: RegistryCaller,
) -> None:
    for name in ("b", "c", "a"):
        await caller.create_dataset(name, labels={"team": name})
    page = await caller.datasets.ListDatasets(
        service_pb.ListDatasetsRequest(parent=PROJECT, page_size=2), timeout=TIMEOUT_S
    )
    assert [dataset.name[-1] for dataset in page.datasets] == ["a", "b"]
    rest = await caller.datasets.ListDatasets(
        service_pb.ListDatasetsRequest(
            parent=PROJECT, page_size=2, page_token=page.next_page_token
        ),
        timeout=TIMEOUT_S,
    )
    assert [dataset.name[-1] for dataset in rest.datasets] == ["c"]
    found = await caller.datasets.ListDatasets(
        service_pb.ListDatasetsRequest(
            parent=PROJECT, filter="labels.team != b", order_by="create_time desc"
        ),
        timeout=TIMEOUT_S,
    )
    assert [dataset.name[-1] for dataset in found.datasets] == ["a", "c"]
    await caller.sealed_snapshot()
    await caller.create_snapshot(DATASET, "open")
    listed = await caller.datasets.ListSnapshots(
        service_pb.ListSnapshotsRequest(parent=DATASET, filter="state = SEALED"),
        timeout=TIMEOUT_S,
    )
    (snapshot,) = listed.snapshots
    assert list(snapshot.columns) == list(snapshot.files[0].columns) == []
    assert snapshot.cleaning.rows_kept == 1


LIST = service_pb.ListSnapshotsRequest


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (LIST(parent=DATASET), StatusCode.NOT_FOUND, "DATASET_NOT_FOUND"),
        (LIST(parent="x"), StatusCode.INVALID_ARGUMENT, "INVALID_NAME"),
        (LIST(parent=DATASET, page_size=-1), StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ],
)
async def test_a_list_of_nothing_that_exists_is_refused(
    caller: RegistryCaller, request_: object, code: StatusCode, reason: str
) -> None:
    with refused() as refusal:
        await caller.datasets.ListSnapshots(request_, timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == (code, reason)


async def test_wrong_filters_orders_and_tokens_are_refused(caller: RegistryCaller) -> None:
    await caller.create_dataset()
    for fields, reason in (
        ({"filter": "size > 3"}, "INVALID_FILTER"),
        ({"order_by": "digest"}, "INVALID_ORDER"),
        ({"page_token": "mine"}, "INVALID_PAGE_TOKEN"),
    ):
        with refused() as refusal:
            await caller.datasets.ListSnapshots(LIST(parent=DATASET, **fields), timeout=TIMEOUT_S)
        assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, reason)


def blob_of(folder: Path, digest: str) -> Path:
    (blob,) = folder.rglob(digest.removeprefix("sha256:"))
    return blob


def remove(blob: Path) -> None:
    blob.unlink()


def flip(blob: Path) -> None:
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "reason"), [(flip, "DIGEST_MISMATCH"), (remove, "BYTES_MISSING")]
)
async def test_damaged_bytes_are_found_on_download(
    caller: RegistryCaller, tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    snapshot = await caller.create_snapshot(await caller.create_dataset(), "january")
    file = await caller.upload_csv(snapshot, CSV)
    damage(blob_of(tmp_path, file.digest))
    with refused() as refusal:
        await download(caller, snapshot, "a.parquet")
    assert (refusal.code, refusal.reason) == (StatusCode.DATA_LOSS, reason)
    with refused() as refusal:
        await caller.seal(snapshot)
    assert (refusal.code, refusal.reason) == (StatusCode.DATA_LOSS, reason)


async def test_a_path_that_the_snapshot_does_not_have_is_not_found(
    caller: RegistryCaller,
) -> None:
    snapshot = await caller.sealed_snapshot()
    with refused() as refusal:
        await download(caller, snapshot, "b.parquet")
    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "ARTIFACT_NOT_FOUND")
