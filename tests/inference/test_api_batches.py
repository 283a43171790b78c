"""Batch predictions over a real server, out of a real registry."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
from roundhouse.inference.v1 import batch_pb2 as pb
from roundhouse.inference.v1 import batch_service_pb2 as service_pb

from services.common.blobs.directory import DirectoryBlobStore
from tests.support.batches import bytes_of, check_output, csv_of, rows_table
from tests.support.calls import refused
from tests.support.inference_api import PROJECT, TIMEOUT_S, request_id

Job = pb.BatchPredictionJob
ROWS = rows_table(101)
"""The last row is the one that `InferenceCaller.predict` asks for."""


async def snapshot_of(registry, snapshot_id: str = "february", data: bytes | None = None) -> str:
    """A sealed snapshot in the dataset that the registry's versions were trained on."""
    caller = registry.caller
    dataset = f"{PROJECT}/datasets/flights"
    name = await caller.create_snapshot(dataset, snapshot_id, key_columns=["flight"])
    await caller.upload_csv(name, csv_of(ROWS) if data is None else data)
    return (await caller.seal(name)).name


async def create(inference, snapshot: str, model: str, **fields: Any) -> Job:
    return await called(inference, creation(snapshot, model, **fields))


async def called(inference, request: Any) -> Job:
    return await inference.batches.CreateBatchPredictionJob(request, timeout=TIMEOUT_S)


def creation(snapshot: str, model: str, **fields: Any) -> Any:
    return service_pb.CreateBatchPredictionJobRequest(
        parent=PROJECT,
        batch_prediction_job_id="night",
        batch_prediction_job=Job(snapshot=snapshot, model=model, **fields),
        request_id=request_id(),
    )


async def watched(inference, name: str) -> list[Job]:
    request = service_pb.WatchBatchPredictionJobRequest(name=name)
    return [
        job async for job in inference.batches.WatchBatchPredictionJob(request, timeout=TIMEOUT_S)
    ]


async def got(inference, name: str) -> Job:
    return await inference.batches.GetBatchPredictionJob(
        service_pb.GetBatchPredictionJobRequest(name=name), timeout=TIMEOUT_S
    )


async def listed(inference, filter_: str = "") -> list[Job]:
    request = service_pb.ListBatchPredictionJobsRequest(parent=PROJECT, filter=filter_)
    page = await inference.batches.ListBatchPredictionJobs(request, timeout=TIMEOUT_S)
    return list(page.batch_prediction_jobs)


async def cancelled(inference, name: str, etag: str = "") -> Job:
    return await inference.batches.CancelBatchPredictionJob(
        service_pb.CancelBatchPredictionJobRequest(name=name, etag=etag, request_id=request_id()),
        timeout=TIMEOUT_S,
    )


async def test_a_snapshot_is_predicted_as_online_requests_are(inference, registry, tmp_path):
    registered = await registry.approved()
    await inference.create_endpoint(registered)
    snapshot = await snapshot_of(registry)
    alias = f"{registered.version.split('/versions/')[0]}/aliases/nightly"
    await registry.caller.move((alias, registered.version, ""))
    job = await create(inference, snapshot, alias, part_rows=25)
    assert (job.version, job.model, job.rows_total) == (registered.version, alias, 101)
    *_, last = seen = await watched(inference, job.name)
    assert last.state == Job.STATE_SUCCEEDED, last.message
    assert sorted(each.rows_done for each in seen) == [each.rows_done for each in seen]
    done = await got(inference, job.name)
    assert [(part.path, part.rows) for part in done.parts] == [
        ("part-00000.parquet", 25),
        ("part-00001.parquet", 25),
        ("part-00002.parquet", 25),
        ("part-00003.parquet", 25),
        ("part-00004.parquet", 1),
    ]
    assert done.rows_per_second > 0
    blobs = DirectoryBlobStore(tmp_path / "inference" / "blobs")
    assert done.output_url == f"file://{tmp_path}/inference/blobs/batches/{done.uid}"
    source = done.parts[0].source_file
    manifest = await check_output(blobs, done.uid, done.manifest_digest, {source: ROWS})
    assert (manifest["snapshot"], manifest["version"]) == (snapshot, registered.version)
    assert manifest["version_digest"] == done.version_digest
    data = await bytes_of(blobs, f"batches/{done.uid}/part-00004.parquet")
    (score,) = pq.read_table(io.BytesIO(data))["score"].to_pylist()
    assert (registered.version, score) == await inference.predict()


async def test_a_repeated_creation_gives_the_first_job_and_a_taken_id_is_refused(
    inference, registry
):
    registered = await registry.approved()
    request = creation(await snapshot_of(registry), registered.version)
    rehearsed = type(request)()
    rehearsed.CopyFrom(request)
    rehearsed.validate_only, rehearsed.request_id = True, request_id()
    await called(inference, rehearsed)
    first = await called(inference, request)
    assert (await called(inference, request)).uid == first.uid
    assert (await watched(inference, first.name))[-1].state == Job.STATE_SUCCEEDED
    assert await called(inference, request) == first
    with refused() as refusal:
        await create(inference, first.snapshot, registered.version)
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "BATCH_JOB_EXISTS",
    )
    assert [each.uid for each in await listed(inference, "state = SUCCEEDED")] == [first.uid]


async def test_what_can_t_be_predicted_is_refused_before_anything_is_stored(inference, registry):
    registered = await registry.approved()
    short = await snapshot_of(registry, "short", b"flight,distance,delay\nf1,1,late\n")
    with refused() as refusal:
        await create(inference, short, registered.version)
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "SNAPSHOT_MISMATCH",
    )
    violations = refusal.details["PreconditionFailure"].violations
    assert {each.subject for each in violations} == {"delay", "carrier"}
    with refused() as refusal:
        await create(inference, f"{short}-not", registered.version)
    assert refusal.reason == "SNAPSHOT_NOT_USABLE"
    dataset = f"{PROJECT}/datasets/flights"
    unsealed = await registry.caller.create_snapshot(dataset, "open", key_columns=["flight"])
    with refused() as refusal:
        await create(inference, unsealed, registered.version)
    assert refusal.reason == "SNAPSHOT_NOT_USABLE"
    for model in (f"{registered.version}9", f"{PROJECT}/models/delays/aliases/nobody"):
        with refused() as refusal:
            await create(inference, short, model)
        assert refusal.reason == "VERSION_NOT_SERVABLE"
    with refused() as refusal:
        await got(inference, f"{PROJECT}/batchPredictionJobs/night")
    assert refusal.reason == "BATCH_JOB_NOT_FOUND"


async def test_a_slow_job_is_cancelled_on_the_way_and_the_next_one_runs(
    inference, registry, tmp_path
):
    registered = await registry.approved()
    snapshot = await snapshot_of(registry)
    job = await create(inference, snapshot, registered.version, part_rows=1, max_rows_per_second=4)
    async with asyncio.timeout(TIMEOUT_S):
        while (await got(inference, job.name)).rows_done < 2:
            await asyncio.sleep(0.05)
    with refused() as refusal:
        await cancelled(inference, job.name, etag='"another"')
    assert refusal.reason == "ETAG_MISMATCH"
    assert (await cancelled(inference, job.name)).state == Job.STATE_CANCELLING
    assert (await watched(inference, job.name))[-1].state == Job.STATE_CANCELLED
    blobs = DirectoryBlobStore(tmp_path / "inference" / "blobs")
    assert await blobs.list_blobs("batches/") == []
    request = creation(snapshot, registered.version)
    request.batch_prediction_job_id = "morning"
    follower = await called(inference, request)
    assert (await watched(inference, follower.name))[-1].state == Job.STATE_SUCCEEDED
    with refused() as refusal:
        await cancelled(inference, follower.name)
    assert (refusal.reason, refusal.metadata["state"]) == ("BATCH_JOB_OVER", "SUCCEEDED")


async def changed(inference, verb: str, name: str) -> Job:
    request = getattr(service_pb, f"{verb}BatchPredictionJobRequest")(
        name=name, request_id=request_id()
    )
    return await getattr(inference.batches, f"{verb}BatchPredictionJob")(request, timeout=TIMEOUT_S)


async def test_a_paused_job_lets_others_run_goes_on_and_is_deleted_with_its_output(
    inference, registry, tmp_path
):
    registered = await registry.approved()
    snapshot = await snapshot_of(registry)
    job = await create(inference, snapshot, registered.version, part_rows=1, max_rows_per_second=20)
    async with asyncio.timeout(TIMEOUT_S):
        while (await got(inference, job.name)).rows_done < 2:
            await asyncio.sleep(0.05)
    assert (await changed(inference, "Pause", job.name)).state == Job.STATE_PAUSED
    request = creation(snapshot, registered.version)
    request.batch_prediction_job_id = "morning"
    other = await called(inference, request)
    assert (await watched(inference, other.name))[-1].state == Job.STATE_SUCCEEDED
    paused = await got(inference, job.name)
    assert (paused.state, len(paused.parts)) == (Job.STATE_PAUSED, paused.rows_done)
    with refused() as refusal:
        await changed(inference, "Delete", job.name)
    assert (refusal.reason, refusal.metadata["state"]) == ("BATCH_JOB_ACTIVE", "PAUSED")

    assert (await changed(inference, "Resume", job.name)).state == Job.STATE_RUNNING
    assert (await watched(inference, job.name))[-1].state == Job.STATE_SUCCEEDED
    done = await got(inference, job.name)
    assert list(done.parts[: len(paused.parts)]) == list(paused.parts)
    blobs = DirectoryBlobStore(tmp_path / "inference" / "blobs")
    source = done.parts[0].source_file
    await check_output(blobs, done.uid, done.manifest_digest, {source: ROWS})

    assert (await changed(inference, "Delete", job.name)).state == Job.STATE_DELETING
    async with asyncio.timeout(TIMEOUT_S):
        while [each.name for each in await listed(inference)] != [other.name]:
            await asyncio.sleep(0.05)
    assert await blobs.list_blobs(f"batches/{done.uid}/") == []
    with refused() as refusal:
        await watched(inference, job.name)
    assert refusal.reason == "BATCH_JOB_NOT_FOUND"


async def test_a_value_that_only_its_row_shows_to_be_wrong_fails_the_job_by_column(
    inference, registry
):
    registered = await registry.approved()
    data = b"flight,distance,delay,carrier\nf1,1.0,1e300,AA\n"
    job = await create(inference, await snapshot_of(registry, data=data), registered.version)
    *_, last = await watched(inference, job.name)
    assert (last.state, last.reason) == (Job.STATE_FAILED, "INVALID_TENSOR")
    assert last.message.startswith("delay")


@pytest.mark.parametrize("field", ["state", "rows_done", "version"])
async def test_what_the_service_sets_can_t_be_given(inference, field):
    value = f"{PROJECT}/models/delays/versions/1" if field == "version" else 1
    with refused() as refusal:
        await create(inference, "projects/default/datasets/d/snapshots/s", "m", **{field: value})
    assert refusal.fields() == [f"batch_prediction_job.{field}"]
