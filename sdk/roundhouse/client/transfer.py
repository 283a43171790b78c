"""Files as streams of digested chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from roundhouse.client.errors import RoundhouseError
from roundhouse.registry.v1.dataset_service_pb2 import UploadSnapshotFileRequest
from roundhouse.registry.v1.model_service_pb2 import UploadArtifactRequest

CHUNK_BYTES: Final = 1 << 20
"""Largest chunk that the contracts allow."""


class DigestMismatch(RoundhouseError):
    """What arrived is not what the registry says the file is; nothing was kept."""

    def __init__(self, path: str, expected: str, received: str) -> None:
        super().__init__(f"{path} arrived with the digest {received}, not {expected}.")
        self.path = path
        self.expected = expected
        self.received = received


def digest_of(file: Path) -> str:
    """`sha256:` and 64 hex digits of the file's bytes."""
    with file.open("rb") as source:
        return f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}"


def chunks_of(file: Path) -> Iterator[bytes]:
    """The file's bytes in order; one empty chunk for an empty file is not sent."""
    with file.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


def snapshot_parts(
    header: UploadSnapshotFileRequest.Header, file: Path
) -> Iterator[UploadSnapshotFileRequest]:
    """The stream of `UploadSnapshotFile`."""
    yield UploadSnapshotFileRequest(header=header)
    for chunk in chunks_of(file):
        yield UploadSnapshotFileRequest(chunk=chunk)


def artifact_parts(
    header: UploadArtifactRequest.Header, file: Path
) -> Iterator[UploadArtifactRequest]:
    """The stream of `UploadArtifact`."""
    yield UploadArtifactRequest(header=header)
    for chunk in chunks_of(file):
        yield UploadArtifactRequest(chunk=chunk)


class VerifiedFile:
    """Writes chunks beside `target` and puts them there once their digest is right."""

    def __init__(self, target: Path, digest: str) -> None:
        self._target = target
        self._digest = digest
        self._part = target.with_name(target.name + ".part")
        self._running = hashlib.sha256()

    def __enter__(self) -> VerifiedFile:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._sink = self._part.open("wb")
        return self

    def write(self, chunk: bytes) -> None:
        """Appends the next bytes."""
        self._running.update(chunk)
        self._sink.write(chunk)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._sink.close()
        received = f"sha256:{self._running.hexdigest()}"
        if kind is None and received == self._digest:
            self._part.replace(self._target)
            return
        self._part.unlink()
        if kind is None:
            raise DigestMismatch(self._target.name, self._digest, received)
