"""What has arrived of an upload that may break off: one file for each of its streams."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterable, Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from services.common.blobs.checkpoints import CHECKPOINT_BYTES, Checkpoint, Journal
from services.common.blobs.digests import StreamCheck, Written
from services.common.blobs.errors import UploadChanged
from services.common.blobs.threads import in_thread, opened, settled

_COPY_BYTES: Final = 1 << 20


class Pieces:
    """The earlier streams' pieces of one upload and the one that is being written.

    Each stream has a file of its own, so that one that is slow to die spoils no other's.

    Args:
        journal: Of the stream.
        check: Of the whole blob, begun where the journal is.
        open_piece: Gives a new, locked file in the upload's folder. Blocks.
    """

    def __init__(
        self,
        journal: Journal,
        check: StreamCheck,
        open_piece: Callable[[], tuple[Path, BinaryIO]],
    ) -> None:
        self._journal = journal
        self._check = check
        self._open_piece = open_piece
        self._earlier = journal.begun.pieces if journal.begun else ()
        self._size = 0
        self._saved = 0

    async def write(self, chunks: AsyncIterable[bytes], publish: Callable[[Path], None]) -> Written:
        """Take the stream in and publish one file with the whole blob.

        Raises:
            UploadChanged: A piece is gone, or the upload goes on elsewhere.
        """
        path, file = await opened(self._open_piece, lambda piece: piece[1].close())
        with file:
            try:
                async for chunk in chunks:
                    await settled(in_thread(self._append, file, chunk))
                    if self._size - self._saved >= CHECKPOINT_BYTES:
                        await self._save(path, file)
                written = self._check.finish()
            except BaseException:
                with suppress(UploadChanged):
                    await asyncio.shield(self._save(path, file))
                raise
            await settled(in_thread(self._publish, path, file, publish))
        return written

    def _append(self, file: BinaryIO, chunk: bytes) -> None:
        self._check.update(chunk)
        file.write(chunk)
        self._size += len(chunk)

    async def _save(self, path: Path, file: BinaryIO) -> None:
        if self._size > self._saved:
            await settled(in_thread(_flush, file))
            piece = f"{path.name}:{self._size}"
            await self._journal.save(Checkpoint(self._check.state(), (*self._earlier, piece)))
            self._saved = self._size

    def _publish(self, path: Path, file: BinaryIO, publish: Callable[[Path], None]) -> None:
        try:
            if not self._earlier:
                _flush(file)
                publish(path)
            else:
                file.flush()
                publish(self._joined(path))
        except FileNotFoundError:
            raise UploadChanged(self._journal.upload) from None

    def _joined(self, path: Path) -> Path:
        whole = path.with_name(f"{path.name}-whole")
        with whole.open("xb") as target:
            for piece in (*self._earlier, f"{path.name}:{self._size}"):
                name, _, size = piece.rpartition(":")
                with path.with_name(name).open("rb") as source:
                    _copy(source, target, int(size))
            _flush(target)
        return whole


def remove_pieces(folder: Path) -> None:
    """Remove all pieces of one upload, if there are any. Blocks."""
    shutil.rmtree(folder, ignore_errors=True)


def _copy(source: BinaryIO, target: BinaryIO, size_bytes: int) -> None:
    while size_bytes and (chunk := source.read(min(size_bytes, _COPY_BYTES))):
        target.write(chunk)
        size_bytes -= len(chunk)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
