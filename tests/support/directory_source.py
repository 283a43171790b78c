"""Bundles that lie in a directory: one folder per version, named by the version's path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from services.common.errors import NotFound

_CHUNK_BYTES = 1 << 20


class BundleFileNotFound(NotFound):
    """The source has no such file."""

    reason = "BUNDLE_FILE_NOT_FOUND"

    def __init__(self, version: str, path: str) -> None:
        super().__init__(f"{version} has no file {path!r}.", version=version, path=path)


class DirectoryBundleSource:
    """Reads `{root}/{version}/{path}`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def read(self, version: str, path: str) -> AsyncIterator[bytes]:
        """See `BundleSource`."""
        try:
            content = await asyncio.to_thread((self._root / version / path).open, "rb")
        except FileNotFoundError as error:
            raise BundleFileNotFound(version, path) from error
        with content:
            while chunk := await asyncio.to_thread(content.read, _CHUNK_BYTES):
                yield chunk

    async def signature_of(self, version: str) -> bytes | None:
        """See `BundleSource`."""
        file = self._root / version / "model.sig"
        return await asyncio.to_thread(file.read_bytes) if file.exists() else None
