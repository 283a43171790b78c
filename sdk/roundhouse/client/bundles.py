"""The files of a model version on this machine: what to send, and where it goes that comes."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Self, TypeAlias

from roundhouse.client import policy
from roundhouse.client.errors import (
    CallFailed,
    Conflict,
    DeadlineExceeded,
    RoundhouseError,
    ServerFault,
    Unavailable,
)
from roundhouse.client.transfer import CHUNK_BYTES, DigestMismatch, chunks_of, digest_of
from roundhouse.registry.v1.model_pb2 import ArtifactFile, ModelVersion
from roundhouse.registry.v1.model_service_pb2 import (
    DownloadArtifactRequest,
    GetUploadProgressRequest,
    UploadArtifactRequest,
)

MANIFEST: Final = "manifest.json"

_GOES_ON_AFTER: Final = frozenset({"UPLOAD_CHANGED", "UPLOAD_OFFSET_MISMATCH"})


class UnsafePath(RoundhouseError):
    """The registry names a file that would lie outside the folder it is fetched to."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path!r} leads out of the folder; nothing was written.")
        self.path = path


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """How far one file is.

    Attributes:
        path: Within the bundle.
        done_bytes: Sent or received so far; falls back where a broken transfer goes on.
        size_bytes: Of the whole file.
    """

    path: str
    done_bytes: int
    size_bytes: int


OnProgress: TypeAlias = Callable[[TransferProgress], None]


def no_progress(_: TransferProgress) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to be sent.

    Attributes:
        file: Where it is.
        artifact: What it is in the bundle.
    """

    file: Path
    artifact: ArtifactFile

    @classmethod
    def of(cls, file: Path, path: str) -> Self:
        """The file as it is now. Reads all of it."""
        artifact = ArtifactFile(path=path, digest=digest_of(file), size_bytes=file.stat().st_size)
        return cls(file, artifact)


def files_in(source: Path | Mapping[str, Path]) -> Mapping[str, Path]:
    """The files of a bundle by their paths in it, without the manifest and hidden files.

    Raises:
        ValueError: There are none.
    """
    if isinstance(source, Path):
        found = {
            file.relative_to(source).as_posix(): file
            for file in sorted(source.rglob("*"))
            if file.is_file() and not _is_hidden(file.relative_to(source))
        }
    else:
        found = dict(source)
    found.pop(MANIFEST, None)
    if not found:
        raise ValueError(f"{source} has no file to upload")
    return found


def manifest_of(files: Iterable[ArtifactFile]) -> bytes:
    """The canonical `manifest.json`; its digest is the version's."""
    entries = [
        {"path": file.path, "sha256": file.digest, "size_bytes": file.size_bytes}
        for file in sorted(files, key=lambda file: file.path)
    ]
    return json.dumps(
        {"files": entries}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()


def bundle_of(source: Path | Mapping[str, Path], scratch: Path) -> tuple[list[LocalFile], str]:
    """The files to be sent, the manifest last, and the manifest's digest. Reads all of them.

    Args:
        source: A folder, or files by their paths in the bundle.
        scratch: Folder that gets the manifest.

    Raises:
        ValueError: There are none.
    """
    files = [LocalFile.of(file, path) for path, file in files_in(source).items()]
    manifest = scratch / MANIFEST
    manifest.write_bytes(manifest_of([each.artifact for each in files]))
    last = LocalFile.of(manifest, MANIFEST)
    return [*files, last], last.artifact.digest


def write_manifest(version: ModelVersion, folder: Path) -> None:
    """Write the manifest that the version's files make, where the version has one.

    Raises:
        DigestMismatch: It is not the one that was committed.
    """
    if not version.digest:
        return
    data = manifest_of(version.files)
    made = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if made != version.digest:
        raise DigestMismatch(MANIFEST, version.digest, made)
    part = folder / f".{MANIFEST}.part"
    part.write_bytes(data)
    part.replace(folder / MANIFEST)


@dataclass(slots=True)
class Upload:
    """One file on its way, through as many streams as it takes.

    Attributes:
        version: That gets it.
        local: The file.
        on_progress: Is told how far it is.
        away_s: How long nothing may arrive.
        offset: First byte of the next stream.
    """

    version: str
    local: LocalFile
    on_progress: OnProgress
    away_s: float
    offset: int = 0
    _request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    _waits: Iterator[float] | None = None

    @property
    def progress_request(self) -> GetUploadProgressRequest:
        """Asks how much has arrived."""
        artifact = self.local.artifact
        return GetUploadProgressRequest(
            version=self.version, path=artifact.path, digest=artifact.digest
        )

    def parts(self) -> Iterator[UploadArtifactRequest]:
        """The next stream."""
        artifact, done = self.local.artifact, self.offset
        yield UploadArtifactRequest(
            header=UploadArtifactRequest.Header(
                version=self.version,
                path=artifact.path,
                digest=artifact.digest,
                request_id=self._request_id,
                offset_bytes=self.offset,
                size_bytes=artifact.size_bytes,
            )
        )
        self._tell(done)
        for chunk in chunks_of(self.local.file, self.offset):
            yield UploadArtifactRequest(chunk=chunk)
            done += len(chunk)
            self._tell(done)

    def wait_s(self, failure: CallFailed, received: int) -> float:
        """How long to wait before the next stream, which goes on from `received`.

        Raises:
            CallFailed: The failure, where another stream would fare no better.
        """
        if not may_go_on(failure):
            raise failure
        if self._waits is None or received > self.offset:
            self._waits = policy.delays_s(time.monotonic() + self.away_s)
        self.offset = received
        wait_s = next(self._waits, None)
        if wait_s is None:
            raise failure
        return wait_s

    def _tell(self, done: int) -> None:
        artifact = self.local.artifact
        self.on_progress(TransferProgress(artifact.path, done, artifact.size_bytes))


def may_go_on(failure: CallFailed) -> bool:
    """Whether a broken transfer can go on after this."""
    match failure:
        case Unavailable() | DeadlineExceeded():
            return True
        case Conflict():
            return failure.reason in _GOES_ON_AFTER
        case ServerFault():
            # A stream that was cut off, and not a fault that the service told of.
            return not failure.reason
        case _:
            return False


class Download:
    """One file on its way, through as many streams as it takes.

    What has come is beside the target under a hidden name with the digest in it, also after a
    failure, and goes to the target once it is whole and right.

    Args:
        version: That has the file.
        artifact: The file.
        folder: Gets it.
        on_progress: Is told how far it is.
        away_s: How long nothing may arrive.

    Raises:
        UnsafePath: It would lie outside of the folder.
    """

    def __init__(
        self,
        version: str,
        artifact: ArtifactFile,
        folder: Path,
        on_progress: OnProgress,
        away_s: float,
    ) -> None:
        relative = PurePosixPath(artifact.path)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts:
            raise UnsafePath(artifact.path)
        self._version = version
        self._artifact = artifact
        self._target = folder / relative
        mark = artifact.digest.removeprefix("sha256:")[:16]
        self._part = self._target.with_name(f".{self._target.name}.{mark}.part")
        self._on_progress = on_progress
        self._away_s = away_s
        self._opened = ExitStack()
        self._running = hashlib.sha256()
        self._done = 0
        self._waits: Iterator[float] | None = None

    def is_there(self) -> bool:
        """Whether the target is already what it should be. Reads all of it."""
        there = self._target.is_file() and digest_of(self._target) == self._artifact.digest
        if there:
            self._done = self._artifact.size_bytes
            self._tell()
        return there

    def open(self) -> None:
        """Takes up what came before. Reads all of it."""
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._sink = self._opened.enter_context(self._part.open("a+b"))
        self._sink.seek(0)
        while chunk := self._sink.read(CHUNK_BYTES):
            self._running.update(chunk)
            self._done += len(chunk)
        if self._done > self._artifact.size_bytes:
            self._start_over()
        self._tell()

    def close(self) -> None:
        """Leaves what has come so far for another time."""
        self._opened.close()

    @property
    def request(self) -> DownloadArtifactRequest:
        """Asks for the rest."""
        return DownloadArtifactRequest(
            version=self._version, path=self._artifact.path, offset_bytes=self._done
        )

    @property
    def path(self) -> str:
        """Of the file within the bundle."""
        return self._artifact.path

    @property
    def done_bytes(self) -> int:
        """How much has come."""
        return self._done

    @property
    def missing_bytes(self) -> int:
        """How much is still to come."""
        return self._artifact.size_bytes - self._done

    def write(self, chunk: bytes | memoryview) -> None:
        """Appends the next bytes."""
        self._running.update(chunk)
        self._sink.write(chunk)
        self._done += len(chunk)
        self._waits = None
        self._tell()

    def wait_s(self, failure: CallFailed) -> float:
        """How long to wait before the next stream.

        Raises:
            CallFailed: The failure, where another stream would fare no better.
        """
        if not may_go_on(failure):
            raise failure
        if self._waits is None:
            self._waits = policy.delays_s(time.monotonic() + self._away_s)
        wait_s = next(self._waits, None)
        if wait_s is None:
            raise failure
        return wait_s

    def finish(self) -> None:
        """Puts the file where it belongs; a crash of this process leaves it whole or not there.

        Raises:
            DigestMismatch: It is not what it should be; it was removed.
        """
        received = f"sha256:{self._running.hexdigest()}"
        if received != self._artifact.digest:
            self._part.unlink()
            raise DigestMismatch(self._artifact.path, self._artifact.digest, received)
        # Not forced to the disk, which may take longer than the transfer: the registry has it.
        self._sink.flush()
        self._part.replace(self._target)

    def _start_over(self) -> None:
        self._sink.truncate(0)
        self._running = hashlib.sha256()
        self._done = 0

    def _tell(self) -> None:
        size = self._artifact.size_bytes
        self._on_progress(TransferProgress(self._artifact.path, self._done, size))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
