"""A content-addressed folder of verified bundles."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from services.common.errors import ServiceError
from services.inference.core.errors import BundleCorrupt, UnservableBundle, VersionUnsigned
from services.inference.core.ports import Bundle, BundleSource, SignatureVerifier
from services.inference.core.signature import parse_signature

_MANIFEST = "manifest.json"
_SIGNATURES = ".signatures"
_MANIFEST_LIMIT_BYTES = 1 << 20
_REQUIRED = frozenset({"model.onnx", "signature.json"})


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    size_bytes: int
    sha256: str


class BundleFolder:
    """Downloads bundles, trusts nothing but digests, and keeps what matched.

    A bundle is downloaded beside the others and renamed into place when every
    byte has matched, so a kill at any point leaves whole bundles only.

    Args:
        root: Owned by this object alone.
        source: Where missing bundles come from.
        verifier: Lets only signed versions pass; None lets all.
    """

    def __init__(
        self, root: Path, source: BundleSource, verifier: SignatureVerifier | None = None
    ) -> None:
        self._root = root
        self._source = source
        self._verifier = verifier
        self._fetching: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        root.mkdir(parents=True, exist_ok=True)

    async def fetch(self, version: str, digest: str) -> Bundle:
        """See `Bundles`. What is here already is verified again: disks rot."""
        async with self._fetching[digest]:
            return await self._fetch(version, digest)

    async def _fetch(self, version: str, digest: str) -> Bundle:
        folder = self._root / digest.removeprefix("sha256:")
        if folder.exists():
            try:
                await asyncio.to_thread(_verify, version, digest, folder)
            except BundleCorrupt:
                await asyncio.to_thread(shutil.rmtree, folder)
        if not folder.exists():
            await self._download(version, digest, folder)
        if self._verifier is not None:
            await self._check_signature(version, folder, self._verifier)
        signature = parse_signature((folder / "signature.json").read_bytes())
        return Bundle(version, digest, folder, signature)

    async def _check_signature(
        self, version: str, folder: Path, verifier: SignatureVerifier
    ) -> None:
        """Versions of equal files share a folder, so it has a signature for each."""
        manifest = (folder / _MANIFEST).read_bytes()
        kept = folder / _SIGNATURES / version.replace("/", ".")
        if kept.exists():
            try:
                await asyncio.to_thread(verifier.verify, version, manifest, kept.read_bytes())
            except ServiceError:
                kept.unlink()  # disks rot; the registry has the last word
            else:
                return
        signature = await self._source.signature_of(version)
        if signature is None:
            raise VersionUnsigned(version)
        await asyncio.to_thread(verifier.verify, version, manifest, signature)
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(signature)

    async def retain(self, digests: Iterable[str]) -> None:
        """See `Bundles`."""
        keep = {digest.removeprefix("sha256:") for digest in digests}
        for folder in self._root.iterdir():
            if folder.name not in keep and not folder.name.startswith("."):
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _download(self, version: str, digest: str, folder: Path) -> None:
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=self._root))
        try:
            manifest = b""
            async for chunk in self._source.read(version, _MANIFEST):
                manifest += chunk
                if len(manifest) > _MANIFEST_LIMIT_BYTES:
                    raise UnservableBundle(_MANIFEST, f"is over {_MANIFEST_LIMIT_BYTES} bytes")
            files = _files(version, digest, manifest)
            (partial / _MANIFEST).write_bytes(manifest)
            for file in files:
                await self._download_file(version, file, partial)
            await asyncio.to_thread(partial.rename, folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)

    async def _download_file(self, version: str, file: _File, folder: Path) -> None:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        running, size_bytes = hashlib.sha256(), 0
        with target.open("wb") as out:
            async for chunk in self._source.read(version, file.path):
                size_bytes += len(chunk)
                if size_bytes > file.size_bytes:
                    break
                await asyncio.to_thread(_store, out, running, chunk)
        actual = f"sha256:{running.hexdigest()}"
        if size_bytes != file.size_bytes or actual != file.sha256:
            raise BundleCorrupt(version, file.path, file.sha256, actual)


def _store(out: BinaryIO, running: hashlib._Hash, chunk: bytes) -> None:
    running.update(chunk)
    out.write(chunk)


def _files(version: str, digest: str, manifest: bytes) -> list[_File]:
    """The files of a manifest whose own digest is `digest`.

    Raises:
        BundleCorrupt: The manifest has another digest.
        UnservableBundle: It is malformed, leaves its folder, or lacks a required file.
    """
    actual = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    if actual != digest:
        raise BundleCorrupt(version, _MANIFEST, digest, actual)
    try:
        files = [
            _File(str(item["path"]), int(item["size_bytes"]), str(item["sha256"]))
            for item in json.loads(manifest)["files"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UnservableBundle(_MANIFEST, f"it can't be read: {error}") from error
    for file in files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or file.path == _MANIFEST or not path.parts:
            raise UnservableBundle(_MANIFEST, f"it names the path {file.path!r}")
    if missing := _REQUIRED - {file.path for file in files}:
        raise UnservableBundle(_MANIFEST, f"it lacks {', '.join(sorted(missing))}")
    return files


def _verify(version: str, digest: str, folder: Path) -> None:
    try:
        manifest = (folder / _MANIFEST).read_bytes()
        for file in _files(version, digest, manifest):
            with (folder / file.path).open("rb") as content:
                actual = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
            if actual != file.sha256:
                raise BundleCorrupt(version, file.path, file.sha256, actual)
    except OSError as error:
        raise BundleCorrupt(version, str(error.filename), digest, "unreadable") from error
