"""Files as streams of digested chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from roundhouse.client.errors import RoundhouseError
from roundhouse.registry.v1.dataset_service_pb2 import UploadSnapshotFileRequest
from roundhouse.registry.v1.model_service_pb2 import RepairArtifactRequest

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


def chunks_of(file: Path, offset: int = 0) -> Iterator[bytes]:
    """The file's bytes in order, from `offset` on; for an empty file none."""
    with file.open("rb") as source:
        source.seek(offset)
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


def snapshot_parts(
    header: UploadSnapshotFileRequest.Header, file: Path
) -> Iterator[UploadSnapshotFileRequest]:
    """The stream of `UploadSnapshotFile`."""
    yield UploadSnapshotFileRequest(header=header)
    for chunk in chunks_of(file):
        yield UploadSnapshotFileRequest(chunk=chunk)


def repair_parts(
    header: RepairArtifactRequest.Header, file: Path
) -> Iterator[RepairArtifactRequest]:
    """The stream of `RepairArtifact`."""
    yield RepairArtifactRequest(header=header)
    for chunk in chunks_of(file):
        yield RepairArtifactRequest(chunk=chunk)
