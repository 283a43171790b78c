"""What only a directory has to withstand: crashes of its writers and other processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from services.common.blobs.directory import DirectoryBlobStore
from services.common.blobs.errors import BlobChanged
from tests.support.eventually import eventually
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


class SlowToOpen(DirectoryBlobStore):
    """Opens a file, and gives it only when told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: list[BinaryIO] = []
        self.has_opened, self.go_on = threading.Event(), threading.Event()

    def _open(self, key: str) -> BinaryIO:
        self.opened.append(super()._open(key))
        return self._given(self.opened[-1])

    def _open_locked(self, folder: Path) -> tuple[Path, BinaryIO]:
        path, file = super()._open_locked(folder)
        self.opened.append(file)
        return path, self._given(file)

    def _given(self, file: BinaryIO) -> BinaryIO:
        self.has_opened.set()
        self.go_on.wait(30)
        return file


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_a_call_that_is_cancelled_while_its_file_is_opened_leaves_none_open(
    tmp_path: Path, kind: str
):
    await DirectoryBlobStore(tmp_path).put("k", stream(b"1"))
    store = SlowToOpen(tmp_path)
    work = store.put("l", stream(b"2")) if kind == "write" else collected(store.read("k"))

    task = asyncio.ensure_future(work)
    await eventually(store.has_opened.is_set)
    task.cancel()
    await asyncio.sleep(0)
    store.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [file.closed for file in store.opened] == [True]
    assert partial_streams(tmp_path) == []
