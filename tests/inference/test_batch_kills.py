"""A batch prediction whose process is killed again and again, on an S3."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import grpc
import pytest
from roundhouse.inference.v1 import batch_pb2 as pb

from services.common.blobs.opening import open_blob_store
from tests.inference.test_api_batches import create, got, snapshot_of
from tests.support.batches import check_output, csv_of, rows_table
from tests.support.fake_monitor import fake_monitor
from tests.support.inference_api import InferenceCaller, registry_with_models
from tests.support.inference_process import InferenceProcess

pytestmark = pytest.mark.real

KILLS = 2
ROWS = rows_table(600)
Job = pb.BatchPredictionJob


async def reached(inference, name: str, rows: int) -> Job:
    """The job, once so many rows are done or it is over; the service may be away meanwhile."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                job = await got(inference, name)
                if job.rows_done >= rows or job.HasField("end_time"):
                    return job
            await asyncio.sleep(0.01)


async def test_a_job_whose_process_is_killed_has_one_output_with_each_row_once(
    tmp_path, s3_server, s3_url
):
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(registry_with_models(tmp_path / "registry"))
        monitor = await stack.enter_async_context(fake_monitor())
        connection = s3_server.connection
        process = InferenceProcess(
            tmp_path,
            registry.address,
            monitor.address,
            blob_url=s3_url,
            s3_endpoint=connection.endpoint,
            s3_access_key=connection.access_key,
            s3_secret_key=connection.secret_key,
            s3_secure="false",
        )
        process.start()
        stack.push_async_callback(asyncio.to_thread, process.end, signal.SIGKILL)
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(
                process.address, options=[("grpc.max_reconnect_backoff_ms", 200)]
            )
        )
        async with asyncio.timeout(60):
            await channel.channel_ready()
        inference = InferenceCaller(channel, process.address)
        registered = await registry.approved()
        snapshot = await snapshot_of(registry, data=csv_of(ROWS))
        job = await create(
            inference, snapshot, registered.version, part_rows=10, max_rows_per_second=200
        )
        acknowledged = 0
        for kill in range(KILLS):
            seen = await reached(inference, job.name, acknowledged + 60 + 3 * kill)
            assert seen.rows_done >= acknowledged, "an acknowledged part was lost"
            acknowledged = seen.rows_done
            await asyncio.to_thread(process.end, signal.SIGKILL)
            process.start()
        assert acknowledged < ROWS.num_rows
        done = await reached(inference, job.name, ROWS.num_rows + 1)
        assert done.state == Job.STATE_SUCCEEDED, done.message
        async with open_blob_store(s3_url, connection=connection) as blobs:
            source = done.parts[0].source_file
            manifest = await check_output(blobs, done.uid, done.manifest_digest, {source: ROWS})
        assert len(manifest["files"]) == len(done.parts) == 60
