"""Blobs as files of one directory, shared by the processes of one machine.

`objects/` holds the blobs, each under its key; `partial/` the streams being written, each
locked by its writer; `pieces/` what broken streams with a journal left, a folder for each
upload; `lock` orders the changes of all processes.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from typing_extensions import override

from services.common.blobs.checkpoints import PARTIAL_PREFIX, Checkpoint, Journal
from services.common.blobs.digests import Digest, StreamCheck, Written, digest_of, once
from services.common.blobs.directory_pieces import Pieces, remove_pieces
from services.common.blobs.errors import (
    BlobChanged,
    BlobExists,
    BlobNotFound,
    DeletionExpired,
    OffsetOutOfRange,
    PresigningUnsupported,
)
from services.common.blobs.port import (
    CHUNK_BYTES,
    BlobInfo,
    BlobStore,
    SignedRequest,
    TaggedBlob,
    UnfinishedUpload,
    check_key,
)
from services.common.blobs.threads import in_thread, opened, settled
from services.common.clock import utc_now


class DirectoryBlobStore(BlobStore):
    """Files that appear whole, by a rename after they were flushed to the disk.

    Args:
        root: Created where absent. Must be on a local disk: it relies on `flock`.
    """

    def __init__(self, root: Path) -> None:
        self._objects = root / "objects"
        self._partial = root / "partial"
        self._pieces = root / "pieces"
        self._lock = root / "lock"
        for folder in (self._objects, self._partial, self._pieces):
            folder.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()

    @override
    async def put(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        digest: Digest | None = None,
        size_bytes: int | None = None,
    ) -> Written:
        check_key(key)
        return await self._write(chunks, StreamCheck(digest, size_bytes), self._replacing(key))

    @override
    async def create(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        digest: Digest | None = None,
        size_bytes: int | None = None,
        journal: Journal | None = None,
    ) -> Written:
        check_key(key)
        publish = self._creating(key)
        if journal is None:
            return await self._write(chunks, StreamCheck(digest, size_bytes), publish)
        folder = self._pieces / journal.upload
        begun = journal.begun
        check = StreamCheck(digest, size_bytes, begun.state if begun else None)
        pieces = Pieces(journal, check, lambda: self._open_locked(folder))
        written = await pieces.write(chunks, lambda whole: self._publish(publish, whole))
        await in_thread(remove_pieces, folder)
        return written

    @override
    async def drop_pieces(self, upload: str, key: str, checkpoint: Checkpoint | None) -> None:
        await asyncio.to_thread(remove_pieces, self._pieces / upload)

    @override
    async def read(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes]:
        check_key(key)
        file = await opened(lambda: self._open(key), lambda file: file.close())
        with file:
            size = os.fstat(file.fileno()).st_size
            if not 0 <= offset <= size:
                raise OffsetOutOfRange(key, offset, size)
            file.seek(offset)
            while chunk := await settled(in_thread(file.read, CHUNK_BYTES)):
                yield chunk

    @override
    async def head(self, key: str) -> BlobInfo:
        check_key(key)
        return await asyncio.to_thread(self._head, key)

    @override
    async def delete(self, key: str) -> None:
        check_key(key)
        await asyncio.to_thread(self._delete, key)

    @override
    async def delete_within(self, key: str, begun: datetime, lifetime: timedelta) -> None:
        check_key(key)
        await asyncio.to_thread(self._delete, key, begun + lifetime)

    @override
    async def unfinished_uploads(self, prefix: str) -> list[UnfinishedUpload]:
        return await asyncio.to_thread(self._unfinished)

    @override
    async def drop_unfinished(self, upload: UnfinishedUpload) -> None:
        await asyncio.to_thread(self._drop_if_abandoned, self._partial / upload.handle)

    @override
    async def list_blobs(self, prefix: str = "") -> list[BlobInfo]:
        return await asyncio.to_thread(self._list, prefix)

    @override
    async def load(self, key: str) -> TaggedBlob:
        check_key(key)
        data = await asyncio.to_thread(self._load, key)
        return TaggedBlob(data, digest_of(data))

    @override
    async def compare_and_swap(self, key: str, data: bytes, *, etag: str | None) -> str:
        check_key(key)
        check = StreamCheck(None, None)
        await self._write(once(data), check, self._swapping(key, etag))
        return digest_of(data)

    @override
    def presign_put(
        self, key: str, *, digest: Digest, size_bytes: int, lifetime: timedelta
    ) -> SignedRequest:
        raise PresigningUnsupported("a directory")

    @override
    def presign_get(self, key: str, *, lifetime: timedelta) -> SignedRequest:
        raise PresigningUnsupported("a directory")

    async def _write(
        self, chunks: AsyncIterable[bytes], check: StreamCheck, publish: Callable[[Path], None]
    ) -> Written:
        def remove(partial: tuple[Path, BinaryIO]) -> None:
            with partial[1]:
                partial[0].unlink(missing_ok=True)

        path, file = partial = await opened(lambda: self._open_locked(self._partial), remove)

        def append(chunk: bytes) -> None:
            check.update(chunk)
            file.write(chunk)

        def finish() -> Written:
            written = check.finish()
            file.flush()
            os.fsync(file.fileno())
            self._publish(publish, path)
            return written

        try:
            async for chunk in chunks:
                await settled(in_thread(append, chunk))
            return await settled(in_thread(finish))
        finally:
            remove(partial)

    def _publish(self, publish: Callable[[Path], None], whole: Path) -> None:
        with self._exclusive():
            publish(whole)

    def _replacing(self, key: str) -> Callable[[Path], None]:
        return lambda partial: self._rename(partial, key)

    def _creating(self, key: str) -> Callable[[Path], None]:
        def publish(partial: Path) -> None:
            if self._path(key).exists():
                raise BlobExists(key)
            self._rename(partial, key)

        return publish

    def _swapping(self, key: str, etag: str | None) -> Callable[[Path], None]:
        def publish(partial: Path) -> None:
            try:
                held = digest_of(self._load(key))
            except BlobNotFound:
                held = None
            if held != etag:
                raise BlobChanged(key, etag)
            self._rename(partial, key)

        return publish

    def _rename(self, partial: Path, key: str) -> None:
        target = self._path(key)
        _make_folder(target.parent)
        partial.replace(target)
        _sync_folder(target.parent)

    def _delete(self, key: str, deadline: datetime | None = None) -> None:
        target = self._path(key)
        with self._exclusive(), suppress(FileNotFoundError):
            if deadline is not None and utc_now() > deadline:
                raise DeletionExpired(key)
            target.unlink()
            _sync_folder(target.parent)

    def _open(self, key: str) -> BinaryIO:
        try:
            return self._path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError):
            raise BlobNotFound(key) from None

    def _load(self, key: str) -> bytes:
        with self._open(key) as file:
            return file.read()

    def _head(self, key: str) -> BlobInfo:
        with self._open(key) as file:
            return BlobInfo(key, os.fstat(file.fileno()).st_size)

    def _list(self, prefix: str) -> list[BlobInfo]:
        folder = self._objects / prefix.rpartition("/")[0]
        found = []
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                key = path.relative_to(self._objects).as_posix()
                if key.startswith(prefix):
                    with suppress(FileNotFoundError):
                        found.append(BlobInfo(key, path.stat().st_size))
        return sorted(found, key=lambda info: info.key)

    def _path(self, key: str) -> Path:
        return self._objects / key

    def _open_locked(self, folder: Path) -> tuple[Path, BinaryIO]:
        path = folder / uuid.uuid4().hex
        with self._exclusive():
            _make_folder(folder)
            file = path.open("xb")
            fcntl.flock(file, fcntl.LOCK_EX)
        return path, file

    def _remove_abandoned(self) -> None:
        """Remove streams whose writer was killed, unless a record says how to go on with them."""
        with self._exclusive():
            for path in self._partial.iterdir():
                _unlink_if_abandoned(path)
            for folder in self._pieces.iterdir():
                if not self._path(f"{PARTIAL_PREFIX}{folder.name}").exists():
                    with suppress(BlockingIOError):
                        _remove_unless_written(folder)

    def _drop_if_abandoned(self, path: Path) -> None:
        with self._exclusive(), suppress(FileNotFoundError):
            _unlink_if_abandoned(path)

    def _unfinished(self) -> list[UnfinishedUpload]:
        found = []
        for path in self._partial.iterdir():
            with suppress(FileNotFoundError):
                written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                found.append(UnfinishedUpload("", path.name, written))
        return found

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._lock.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _unlink_if_abandoned(path: Path) -> None:
    """Remove a partial stream unless its writer is alive and so holds its lock."""
    with suppress(BlockingIOError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def _make_folder(folder: Path) -> None:
    """Create the folder and its parents so that they outlast a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_unless_written(folder: Path) -> None:
    """Remove pieces that nobody writes.

    Raises:
        BlockingIOError: Somebody does.
    """
    with ExitStack() as pieces:
        for path in folder.iterdir():
            file = pieces.enter_context(path.open("rb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_pieces(folder)
