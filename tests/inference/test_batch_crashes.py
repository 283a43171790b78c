"""A worker that dies at any step leaves what the next one brings to one whole output."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.common.blobs.memory import MemoryBlobStore
from services.inference.adapters.batch_files import ParquetBatchFiles
from services.inference.adapters.batching import BatchLimits
from services.inference.adapters.onnx_runtime import OnnxRuntime
from services.inference.core.batch_worker import BatchWorker
from services.inference.core.batches import BatchState
from services.inference.core.errors import BatchJobOver
from services.inference.core.ports import Bundle
from services.inference.core.use_cases import batches as cases
from tests.support.batches import (
    JOB,
    batch_job,
    check_output,
    input_file,
    parquet_of,
    rows_table,
)
from tests.support.inference_memory import MemoryInferenceTx, MemoryStore
from tests.support.serving import T0

SOURCES = {"a.parquet": rows_table(23), "b.parquet": rows_table(12, start=23)}
FILES = {path: parquet_of(table, row_group_size=7) for path, table in SOURCES.items()}


class Killed(BaseException):
    """The process is gone."""


class Steps:
    """Dies at a step, before or after it has taken effect."""

    def __init__(self, last: int, *, is_done: bool) -> None:
        self._left = last
        self._is_done = is_done
        self.taken = 0

    async def step(self, act: Callable[[], Any]) -> Any:
        self.taken += 1
        if self.taken == self._left and not self._is_done:
            raise Killed
        result = await act()
        if self.taken == self._left:
            raise Killed
        return result


class DyingStore(MemoryStore):
    def __init__(self, tx: MemoryInferenceTx, steps: Steps) -> None:
        super().__init__(tx)
        self._steps = steps

    async def write(self, work):
        write = super().write
        return await self._steps.step(lambda: write(work))


class DyingBlobs:
    def __init__(self, blobs: MemoryBlobStore, steps: Steps) -> None:
        self._blobs = blobs
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    async def create(self, key, chunks):
        return await self._steps.step(lambda: self._blobs.create(key, chunks))

    async def delete(self, key):
        return await self._steps.step(lambda: self._blobs.delete(key))


class Snapshot:
    """The bytes of a snapshot, as the registry streams them."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    async def download(self, snapshot: str, path: str) -> AsyncGenerator[bytes]:
        data = self._files[path]
        yield data[:100]
        yield data[100:]


class OneBundle:
    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    async def fetch(self, version: str, digest: str) -> Bundle:
        return self._bundle

    async def retain(self, digests) -> None:
        pass


class Scene:
    """The rows, the object store, and workers that come and go."""

    def __init__(self, bundle: Bundle, runtime: OnnxRuntime, folder) -> None:
        self.tx = MemoryInferenceTx()
        self.blobs = MemoryBlobStore()
        self.files = dict(FILES)
        self._bundle, self._runtime, self._folder = bundle, runtime, folder
        described = [input_file(path, data, SOURCES[path].num_rows) for path, data in FILES.items()]
        cases.create_job(self.tx, batch_job(*described))

    @property
    def job(self):
        return cases.get_job(self.tx, JOB)

    def worker(self, steps: Steps) -> BatchWorker:
        """One that dies at a step."""
        files = ParquetBatchFiles(
            DyingBlobs(self.blobs, steps), "memory://", Snapshot(self.files), self._folder
        )
        return BatchWorker(
            DyingStore(self.tx, steps),
            files,
            OneBundle(self._bundle),
            self._runtime,
            lambda: False,
            lambda: T0,
        )

    async def work(self, steps: Steps) -> None:
        """One worker's life, to the job's end or its own."""
        worker = self.worker(steps)
        while not self.job.state.over:
            await worker.advance(self.job)

    async def live_on(self, last: int, *, is_done: bool) -> int:
        """Workers that each die at this step until one has none left to die at; its number."""
        for number in range(1, 100):
            try:
                await self.work(Steps(last, is_done=is_done))
            except Killed:
                continue
            return number
        raise AssertionError("the job makes no progress")


@asynccontextmanager
async def scenes(bundle, folder):
    """Makes scenes that share one runtime."""
    async with asyncio.TaskGroup() as tasks:
        runtime = OnnxRuntime(tasks, BatchLimits())
        yield lambda: Scene(bundle(), runtime, folder)
        runtime.close()


async def steps_of(scene: Scene) -> int:
    counted = Steps(0, is_done=False)
    await scene.work(counted)
    return counted.taken


@pytest.mark.parametrize("is_done", [False, True])
async def test_killed_at_any_step_a_job_has_one_output_with_each_row_once(
    bundle, tmp_path, is_done
):
    async with scenes(bundle, tmp_path / "rows") as scene_of:
        whole = await steps_of(first := scene_of())
        told = await check_output(
            first.blobs, first.job.meta.uid, first.job.manifest_digest, SOURCES
        )
        assert whole > 2 * len(told["files"])
        for last in range(1, whole + 1):
            scene = scene_of()
            with pytest.raises(Killed):
                await scene.work(Steps(last, is_done=is_done))
            await scene.work(Steps(0, is_done=False))
            job = scene.job
            assert job.state is BatchState.SUCCEEDED
            assert await check_output(scene.blobs, job.meta.uid, job.manifest_digest, SOURCES) == (
                told
            )


async def test_workers_that_die_again_and_again_still_get_on(bundle, tmp_path):
    async with scenes(bundle, tmp_path / "rows") as scene_of:
        scene = scene_of()
        assert await scene.live_on(2, is_done=True) > 3
        job = scene.job
        await check_output(scene.blobs, job.meta.uid, job.manifest_digest, SOURCES)


async def test_a_cancelled_job_leaves_nothing_though_its_removal_is_killed(bundle, tmp_path):
    async with scenes(bundle, tmp_path / "rows") as scene_of:
        scene = scene_of()
        with pytest.raises(Killed):
            await scene.work(Steps(6, is_done=True))
        assert scene.job.rows_done > 0
        cases.cancel_job(scene.tx, JOB, "", T0)
        assert await scene.live_on(1, is_done=True) > 1
        assert scene.job.state is BatchState.CANCELLED
        assert await scene.blobs.list_blobs("batches/") == []


async def test_a_job_paused_after_any_step_goes_on_to_the_same_output(bundle, tmp_path):
    async with scenes(bundle, tmp_path / "rows") as scene_of:
        whole = await steps_of(first := scene_of())
        told = await check_output(
            first.blobs, first.job.meta.uid, first.job.manifest_digest, SOURCES
        )
        paused = 0
        for last in range(1, whole + 1, 2):
            scene = scene_of()
            with pytest.raises(Killed):
                await scene.work(Steps(last, is_done=True))
            with contextlib.suppress(BatchJobOver):
                done = cases.pause_job(scene.tx, JOB, "", T0).rows_done
                await scene.worker(Steps(0, is_done=False)).advance(scene.job)
                assert (scene.job.state, scene.job.rows_done) == (BatchState.PAUSED, done)
                cases.resume_job(scene.tx, JOB, "", T0)
                paused += 1
            await scene.work(Steps(0, is_done=False))
            job = scene.job
            assert await check_output(scene.blobs, job.meta.uid, job.manifest_digest, SOURCES) == (
                told
            )
        assert paused > 3


async def test_a_deleted_job_leaves_nothing_though_its_removal_is_killed(bundle, tmp_path):
    async with scenes(bundle, tmp_path / "rows") as scene_of:
        scene = scene_of()
        await scene.work(Steps(0, is_done=False))
        cases.delete_job(scene.tx, JOB, "", T0)
        for last in (2, 1):
            with pytest.raises(Killed):
                await scene.worker(Steps(last, is_done=True)).advance(scene.job)
        while scene.tx.unfinished_batch_jobs():
            await scene.worker(Steps(0, is_done=False)).advance(scene.job)
        assert scene.tx.batch_jobs.get(JOB) is None
        assert await scene.blobs.list_blobs("batches/") == []


async def test_rows_that_are_not_what_the_snapshot_says_fail_the_job_and_leave_nothing(
    bundle, tmp_path
):
    async with scenes(bundle, tmp_path / "rows") as scene_of:
        scene = scene_of()
        scene.files["b.parquet"] = FILES["b.parquet"][:-1] + b"?"
        await scene.work(Steps(0, is_done=False))
        assert (scene.job.state, scene.job.reason) == (BatchState.FAILED, "DIGEST_MISMATCH")
        assert await scene.blobs.list_blobs("batches/") == []
