"""A large file through the registry beside the same file through the bare SDK, on one S3."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import psutil
from roundhouse.client import Addresses, Client
from roundhouse.registry.v1 import model_pb2
from roundhouse.registry.v1 import model_service_pb2 as pb

from benchmarks.harness import Bar, Row, Sample, interleaved
from tests.support.calls import PROJECT
from tests.support.registry_api import MANIFEST, SIGNATURE, digest_of
from tests.support.seaweedfs import BUCKET, S3Server

_MIB: Final = 2**20
_THROUGHPUT_GOAL: Final = 0.9
_MEMORY_GOAL_MIB: Final = 150.0
_SAMPLE_S: Final = 0.02
_MODEL_ID: Final = "transferred"
_WEIGHTS: Final = "weights.data"
_UPLOAD = "upload"
_DOWNLOAD = "download"


class Transfers:
    """Moves one file up and down, through the registry and past it.

    Args:
        registry: `host:port`.
        pid: Of the registry, whose memory is watched.
        s3: That the registry keeps its bytes in.
        folder: Gets the file and what is downloaded.
        size_bytes: Of the file.
    """

    def __init__(
        self, registry: str, pid: int, s3: S3Server, folder: Path, size_bytes: int
    ) -> None:
        self._client = Client(Addresses(registry=registry))
        self._pid = pid
        self._minio = s3.client()
        self._folder = folder
        self._size_bytes = size_bytes
        self._numbers = count(1)
        self._file = folder / _WEIGHTS
        self._version = ""
        self._object = ""
        self._write_file()
        self._client.models.CreateModel(
            pb.CreateModelRequest(parent=PROJECT, model_id=_MODEL_ID, model=model_pb2.Model())
        )

    def rows(self, rounds: int) -> list[Row]:
        """MB/s of each direction and way; the registry's rows tell its memory."""
        self._idle_bytes = psutil.Process(self._pid).memory_info().rss
        contenders = [
            (_name(_UPLOAD, "registry"), "MB/s", self._upload_to_registry),
            (_name(_UPLOAD, "minio"), "MB/s", self._upload_to_s3),
            (_name(_DOWNLOAD, "registry"), "MB/s", self._download_from_registry),
            (_name(_DOWNLOAD, "minio"), "MB/s", self._download_from_s3),
            (
                _name(_DOWNLOAD, "minio, then checked"),
                "MB/s",
                self._download_from_s3_and_check,
            ),
        ]
        return interleaved(contenders, rounds)

    def close(self) -> None:
        """End the client."""
        self._client.close()

    def _upload_to_registry(self) -> Sample:
        self._touch_file()
        model = f"{PROJECT}/models/{_MODEL_ID}"
        version = self._client.models.BeginVersionUpload(
            pb.BeginVersionUploadRequest(parent=model, version=model_pb2.ModelVersion())
        ).name
        with self._memory() as facts:
            started = time.perf_counter()
            sent = self._client.upload_artifact(version, _WEIGHTS, self._file)
            took_s = time.perf_counter() - started
        small = {"model.onnx": b"\x08\x0a" * 1000, "signature.json": SIGNATURE}
        for path, data in small.items():
            self._send(version, path, data)
        manifest = _manifest(small, sent)
        self._send(version, MANIFEST, manifest)
        with self._memory() as at_commit:
            self._client.models.CommitVersion(
                pb.CommitVersionRequest(name=version, manifest_digest=digest_of(manifest))
            )
        facts["peak_mib_above_idle"] = max(
            facts["peak_mib_above_idle"], at_commit["peak_mib_above_idle"]
        )
        self._version = version
        return Sample(self._size_bytes / took_s / 1e6, facts)

    def _upload_to_s3(self) -> Sample:
        self._touch_file()
        if self._object:
            self._minio.remove_object(BUCKET, self._object)
        self._object = f"bare/{next(self._numbers)}"
        started = time.perf_counter()
        self._minio.fput_object(BUCKET, self._object, str(self._file))
        return Sample(self._size_bytes / (time.perf_counter() - started) / 1e6)

    def _download_from_registry(self) -> Sample:
        # What is there already would be read and compared first.
        shutil.rmtree(self._folder / "through", ignore_errors=True)
        with self._memory() as facts:
            started = time.perf_counter()
            self._client.download_version(self._version, self._folder / "through")
            took_s = time.perf_counter() - started
        return Sample(self._size_bytes / took_s / 1e6, facts)

    def _download_from_s3(self) -> Sample:
        (self._folder / "past").unlink(missing_ok=True)
        started = time.perf_counter()
        self._minio.fget_object(BUCKET, self._object, str(self._folder / "past"))
        return Sample(self._size_bytes / (time.perf_counter() - started) / 1e6)

    def _download_from_s3_and_check(self) -> Sample:
        """What the SDK takes with the promise that the registry's client keeps."""
        past = self._folder / "past"
        past.unlink(missing_ok=True)
        started = time.perf_counter()
        self._minio.fget_object(BUCKET, self._object, str(past))
        with past.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        return Sample(self._size_bytes / (time.perf_counter() - started) / 1e6)

    def _send(self, version: str, path: str, data: bytes) -> None:
        file = self._folder / path
        file.write_bytes(data)
        self._client.upload_artifact(version, path, file)

    def _write_file(self) -> None:
        with self._file.open("wb") as file:
            for _ in range(self._size_bytes // _MIB):
                file.write(os.urandom(_MIB))

    def _touch_file(self) -> None:
        """Other bytes each time: the registry doesn't store twice what it has."""
        with self._file.open("r+b") as file:
            file.write(os.urandom(64))

    @contextmanager
    def _memory(self) -> Iterator[dict[str, float]]:
        """The registry's peak meanwhile, in the dictionary at the end."""
        process = psutil.Process(self._pid)
        over = threading.Event()
        peak_bytes = 0

        def watch() -> None:
            nonlocal peak_bytes
            while not over.wait(_SAMPLE_S):
                peak_bytes = max(peak_bytes, process.memory_info().rss)

        facts: dict[str, float] = {}
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield facts
        finally:
            over.set()
            watcher.join()
            peak_bytes = max(peak_bytes, process.memory_info().rss)
            facts["peak_mib_above_idle"] = (peak_bytes - self._idle_bytes) / _MIB


def bars(rows: list[Row]) -> list[Bar]:
    """The registry's throughput as a share of the bare SDK's, and its memory."""
    named = {row.name: row for row in rows}
    found = []
    for direction in (_UPLOAD, _DOWNLOAD):
        through = named[_name(direction, "registry")]
        share = through.value / named[_name(direction, "minio")].value
        found.append(Bar.at_least(f"{direction}, registry / minio", share, _THROUGHPUT_GOAL))
        found.append(
            Bar.at_most(
                f"{direction}, peak memory of the registry above idle",
                through.facts["peak_mib_above_idle"],
                _MEMORY_GOAL_MIB,
                "MiB",
            )
        )
    return found


def _manifest(small: Mapping[str, bytes], large: model_pb2.ArtifactFile) -> bytes:
    """The canonical manifest of a bundle of which one file is too large to be read again."""
    files = {path: (digest_of(data), len(data)) for path, data in small.items()}
    files[large.path] = (large.digest, large.size_bytes)
    entries = [
        {"path": path, "sha256": digest, "size_bytes": size_bytes}
        for path, (digest, size_bytes) in sorted(files.items())
    ]
    return json.dumps({"files": entries}, sort_keys=True, separators=(",", ":")).encode()


def _name(direction: str, way: str) -> str:
    return f"{direction} of one file, {way}"
