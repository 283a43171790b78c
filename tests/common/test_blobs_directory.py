"""What only a directory has to withstand: crashes of its writers and other processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from services.common.blobs.directory import DirectoryBlobStore
from services.common.blobs.errors import BlobChanged
from tests.support.processes import wait_until
from tests.support.streams import collected, content, stream

WRITE_AND_HANG = """
import asyncio, sys
from pathlib import Path
from services.common.blobs.directory import DirectoryBlobStore

async def endless():
    while True:
        yield b"x" * 65536
        await asyncio.sleep(0)

asyncio.run(DirectoryBlobStore(Path(sys.argv[1])).put("k", endless()))
"""

INCREMENTS = 20


def partial_streams(root: Path) -> list[Path]:
    return list((root / "partial").iterdir())


def test_a_stream_whose_writer_was_killed_is_never_seen_and_removed_at_the_next_start(
    tmp_path: Path,
):
    with subprocess.Popen([sys.executable, "-c", WRITE_AND_HANG, str(tmp_path)]) as writer:
        wait_until(
            lambda: (tmp_path / "partial").is_dir() and bool(partial_streams(tmp_path)),
            what="stream under way",
        )
        DirectoryBlobStore(tmp_path)
        assert partial_streams(tmp_path), "a stream under way must be left alone"
        writer.send_signal(signal.SIGKILL)

    assert list((tmp_path / "objects").iterdir()) == []
    assert partial_streams(tmp_path)
    DirectoryBlobStore(tmp_path)
    assert partial_streams(tmp_path) == []


def increment(root: Path) -> None:
    import asyncio

    async def run() -> None:
        store = DirectoryBlobStore(root)
        done = 0
        while done < INCREMENTS:
            found = await store.load("counter")
            try:
                await store.compare_and_swap(
                    "counter", b"%d" % (int(found.data) + 1), etag=found.etag
                )
            except BlobChanged:
                continue
            done += 1

    asyncio.run(run())


async def test_swaps_by_several_processes_lose_none(tmp_path: Path):
    store = DirectoryBlobStore(tmp_path)
    await store.put("counter", stream(b"0"))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=increment, args=(tmp_path,)) for _ in range(3)]

    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert await content(store, "counter") == b"%d" % (3 * INCREMENTS)


def open_files() -> set[str]:
    return {str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.exists()}


async def test_no_cancelled_read_or_write_leaves_a_file_open_or_behind(tmp_path: Path):
    store = DirectoryBlobStore(tmp_path)
    await store.put("k", stream(b"1" * (3 << 20)))

    async def read() -> None:
        await collected(store.read("k"))

    async def write() -> None:
        await store.put("l", stream(*[b"2" * (1 << 20)] * 3))

    for steps in range(60):
        task = asyncio.ensure_future(read() if steps % 2 else write())
        for _ in range(steps // 2):
            await asyncio.sleep(0.0001)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    assert [path for path in open_files() if path.startswith(str(tmp_path))] == []
    assert partial_streams(tmp_path) == []
