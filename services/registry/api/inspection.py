"""A version's files, brought to this machine to be examined."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Mapping
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import IO, Final

from services.registry.core.bundles import BundleFile
from services.registry.core.ports import FormatInspector

_WHOLE_BYTES: Final = 256 << 20
_TAIL_BYTES: Final = 1 << 20
_SPARSE: Final = frozenset({".data", ".safetensors", ".parquet"})
"""Formats that say at their beginning and their end what they are; the rest is numbers."""


async def inspected(
    inspector: FormatInspector,
    file: BundleFile,
    chunks: AsyncIterable[bytes],
    sizes: Mapping[str, int],
) -> str | None:
    """Why the file may not be in a bundle; None if it may.

    Of huge files of numbers the middle is left out, as a hole of the local copy.

    Args:
        inspector: Examines the copy.
        file: What it should be.
        chunks: Its bytes; read to their end, also where they aren't needed.
        sizes: Bytes of each file of the bundle, by path.
    """
    is_sparse = PurePosixPath(file.path).suffix.lower() in _SPARSE
    with NamedTemporaryFile(prefix="roundhouse-") as local:
        offset = 0
        async for chunk in chunks:
            if not is_sparse or _is_telling(offset, len(chunk), file.size_bytes):
                await asyncio.to_thread(_write_at, local, offset, chunk)
            offset += len(chunk)
        local.truncate(offset)
        local.flush()
        return await asyncio.to_thread(inspector.fault, file.path, Path(local.name), sizes)


def _write_at(file: IO[bytes], offset: int, chunk: bytes) -> None:
    file.seek(offset)
    file.write(chunk)


def _is_telling(offset: int, length: int, size_bytes: int) -> bool:
    """Whether a part can say what format a file is of: its ends, and where HDF5 may begin."""
    next_power = 1 << max(offset - 1, 0).bit_length()
    return (
        offset < _WHOLE_BYTES
        or offset + length > size_bytes - _TAIL_BYTES
        or next_power < offset + length
    )
