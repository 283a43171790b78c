"""Versions that travel as files, over connections that break, on either client."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from roundhouse.client import (
    Addresses,
    AsyncClient,
    Client,
    DigestMismatch,
    Timeouts,
    TransferProgress,
    UnsafePath,
    direct,
)
from roundhouse.client.bundles import Download, files_in, no_progress
from roundhouse.client.direct import read_from
from roundhouse.client.errors import FailedPrecondition, Unavailable
from roundhouse.registry.v1.model_pb2 import ArtifactFile, ModelVersion

from tests.support.bundles import tiny_files
from tests.support.cutting_proxy import cutting_proxy
from tests.support.registry_api import RegistryCaller, digest_of, running_registry
from tests.support.seaweedfs import S3Server

MIB = 1 << 20
ROWS = b"".join(b"%07d\n" % row for row in range(5 * MIB // 8))
FILES = {**tiny_files(), "data/rows.csv": ROWS}
PATIENT = Timeouts(unary_s=10.0, away_s=20.0)

Run: TypeAlias = Callable[[str, Callable[[Any], Any]], Awaitable[Any]]


@pytest.fixture(params=["sync", "aio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Gives what `work(client)` gives, on either client of the registry at an address."""

    async def on_either(address: str, work: Callable[[Any], Any]) -> Any:
        addresses = Addresses(registry=address)
        if request.param == "aio":
            async with AsyncClient(addresses, timeouts=PATIENT) as client:
                return await work(client)

        def blocking() -> Any:
            with Client(addresses, timeouts=PATIENT) as client:
                return work(client)

        return await asyncio.to_thread(blocking)

    return on_either


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a bundle, and with what is none of it."""
    for path, data in {
        **FILES,
        ".hidden/x.csv": b"1",
        ".env": b"1",
        "manifest.json": b"{}",
    }.items():
        file = tmp_path / "bundle" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "bundle"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


async def test_a_folder_becomes_a_version_and_a_folder_again(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    seen: list[TransferProgress] = []
    async with running_registry(tmp_path / "registry") as caller:
        model = await caller.create_model()
        version = await run(
            caller.address,
            lambda client: client.upload_version(
                model, folder, version=ModelVersion(labels={"a": "b"}), on_progress=seen.append
            ),
        )
        assert version.state == ModelVersion.STATE_READY
        assert dict(version.labels) == {"a": "b"}
        assert seen[-1].path == "manifest.json"
        assert {each.path for each in seen if each.done_bytes == each.size_bytes} == {
            *FILES,
            "manifest.json",
        }

        got = tmp_path / "got"
        await run(caller.address, lambda client: client.download_version(version.name, got))

    found = contents(got)
    manifest = found.pop("manifest.json")
    assert found == FILES
    assert digest_of(manifest) == version.digest
    assert {file["path"] for file in json.loads(manifest)["files"]} == set(FILES)


async def test_broken_connections_are_taken_up_by_themselves(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    async with running_registry(tmp_path / "registry") as caller:
        model = await caller.create_model()
        async with cutting_proxy(caller.address, [3 * MIB, MIB]) as address:
            version = await run(address, lambda client: client.upload_version(model, folder))
        got = tmp_path / "got"
        async with cutting_proxy(caller.address, [2 * MIB, 2 * MIB]) as address:
            await run(address, lambda client: client.download_version(version.name, got))
    assert (got / "data" / "rows.csv").read_bytes() == ROWS


async def test_a_download_that_is_called_off_leaves_what_came_for_the_next_one(
    folder: Path, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    called_off = threading.Event()

    def call_off() -> None:
        downloading.cancel()
        loop.call_soon(loop.call_soon, called_off.set)

    def on_progress(progress: TransferProgress) -> None:
        if progress.done_bytes >= MIB:
            loop.call_soon_threadsafe(call_off)
            assert called_off.wait(30)

    async with running_registry(tmp_path / "registry") as caller:
        got = tmp_path / "got"
        async with AsyncClient(Addresses(registry=caller.address)) as client:
            version = await client.upload_version(await caller.create_model(), folder)
            downloading = asyncio.ensure_future(
                client.download_version(version.name, got, on_progress=on_progress)
            )
            with pytest.raises(asyncio.CancelledError):
                await downloading
            (part,) = got.glob("data/.*.part")
            assert MIB <= part.stat().st_size < len(ROWS)
            await client.download_version(version.name, got)
    assert (got / "data" / "rows.csv").read_bytes() == ROWS
    assert not part.exists()


async def test_an_upload_that_was_given_up_goes_on_later(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    starts: list[TransferProgress] = []
    async with running_registry(tmp_path / "registry") as caller:
        version = await caller.begin(await caller.create_model())
        await caller.upload_artifact(version, "model.onnx", FILES["model.onnx"])

        done = await run(
            caller.address,
            lambda client: client.upload_version(
                "unused", folder, resume=version, on_progress=starts.append
            ),
        )

    assert (done.name, done.state) == (version, ModelVersion.STATE_READY)
    onnx = [each.done_bytes for each in starts if each.path == "model.onnx"]
    assert onnx == [len(FILES["model.onnx"])], "nothing is sent again"


async def test_a_download_goes_on_where_an_earlier_one_ended(run: Run, tmp_path: Path) -> None:
    async with running_registry(tmp_path / "registry") as caller:
        version = await caller.ready_version(await caller.create_model(), FILES)
        got = tmp_path / "got"
        (got / "data").mkdir(parents=True)
        mark = digest_of(ROWS)[7:23]
        part = got / "data" / f".rows.csv.{mark}.part"
        part.write_bytes(ROWS[: 2 * MIB])
        seen: list[TransferProgress] = []
        await run(
            caller.address,
            lambda client: client.download_version(version, got, on_progress=seen.append),
        )
        assert min(each.done_bytes for each in seen if "rows" in each.path) == 2 * MIB
        assert (got / "data" / "rows.csv").read_bytes() == ROWS

        again: list[TransferProgress] = []
        await run(
            caller.address,
            lambda client: client.download_version(version, got, on_progress=again.append),
        )
        assert len(again) == len(FILES), "all is there"

        part.write_bytes(b"!" + ROWS[1 : 2 * MIB])
        (got / "data" / "rows.csv").unlink()
        with pytest.raises(DigestMismatch):
            await run(caller.address, lambda client: client.download_version(version, got))
        assert not part.exists()
        assert not (got / "data" / "rows.csv").exists()
        await run(caller.address, lambda client: client.download_version(version, got))
        assert contents(got)["data/rows.csv"] == ROWS


async def test_an_alias_is_downloaded_as_the_version_it_points_at(
    run: Run, caller_of: RegistryCaller, tmp_path: Path
) -> None:
    model = await caller_of.create_model()
    version = await caller_of.ready_version(model)
    await caller_of.move((f"{model}/aliases/newest", version, ""))
    got = tmp_path / "got"
    await run(
        caller_of.address, lambda client: client.download_version(f"{model}/aliases/newest", got)
    )
    assert "model.onnx" in contents(got)


async def test_what_the_registry_refuses_is_not_tried_again(
    run: Run, caller_of: RegistryCaller, tmp_path: Path
) -> None:
    version = await caller_of.ready_version(await caller_of.create_model())
    file = tmp_path / "card.md"
    file.write_bytes(b"late")
    with pytest.raises(FailedPrecondition) as refusal:
        await run(
            caller_of.address, lambda client: client.upload_artifact(version, "card.md", file)
        )
    assert refusal.value.reason == "ILLEGAL_STATE_TRANSITION"


@pytest.fixture
async def caller_of(tmp_path: Path):
    async with running_registry(tmp_path / "registry") as caller:
        yield caller


@pytest.mark.parametrize("path", ["../x.csv", "/x.csv", "a/../../x.csv", ""])
def test_no_file_is_written_outside_of_the_folder(path: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafePath):
        Download("v", ArtifactFile(path=path), tmp_path, no_progress, 1.0)


def test_a_folder_without_files_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file"):
        files_in(tmp_path)


def test_a_registry_that_stays_away_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "card.md"
    file.write_bytes(b"text")
    timeouts = Timeouts(unary_s=1.0, away_s=0.3)
    address = Addresses(registry="127.0.0.1:1")
    with Client(address, timeouts=timeouts) as client, pytest.raises(Unavailable):
        client.upload_artifact("projects/p/models/m/versions/1", "card.md", file)


class Store(BaseHTTPRequestHandler):
    """Reads a range of `ROWS`, or does what a store in trouble does, by the path."""

    def do_GET(self) -> None:
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        rest = ROWS[first : last + 1]
        if self.path == "/gone":
            self.send_error(403)
            return
        self.send_response(200 if self.path == "/whole" else 206)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        breaks_off = self.path == "/breaks-off" and first >= 3 * MIB
        self.wfile.write(rest[: MIB // 2 if breaks_off else None])

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def store() -> Iterator[str]:
    """The URL of an HTTP server with `ROWS`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("there", "path", "expected"),
    [
        (0, "/range", len(ROWS)),
        (2 * MIB, "/range", len(ROWS)),
        (0, "/breaks-off", 3 * MIB + MIB // 2),
        (0, "/whole", 0),
        (2 * MIB, "/whole", 2 * MIB),
        (2 * MIB, "/gone", 2 * MIB),
    ],
)
def test_what_a_url_gives_is_appended_and_the_rest_is_left_to_the_registry(
    store: str, tmp_path: Path, there: int, path: str, expected: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr(direct, "RANGE_BYTES", MIB)
    artifact = ArtifactFile(path="rows.csv", digest=digest_of(ROWS), size_bytes=len(ROWS))
    with closing(Download("v", artifact, tmp_path, no_progress, 1.0)) as download:
        download.open()
        if there:
            download.write(ROWS[:there])
        read_from(store + path, download)
        assert download.done_bytes == expected
        if expected < len(ROWS):
            download.write(ROWS[expected:])
        download.finish()
    assert (tmp_path / "rows.csv").read_bytes() == ROWS


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/nobody", "file:///etc/hostname", "nonsense"])
def test_a_store_that_cannot_be_reached_gives_nothing(tmp_path: Path, url: str) -> None:
    artifact = ArtifactFile(path="rows.csv", digest=digest_of(ROWS), size_bytes=len(ROWS))
    with closing(Download("v", artifact, tmp_path, no_progress, 1.0)) as download:
        download.open()
        read_from(url, download)
        assert download.done_bytes == 0


async def test_large_files_come_from_the_object_store_itself(
    run: Run, folder: Path, tmp_path: Path, s3_server: S3Server, s3_url: str, monkeypatch: Any
) -> None:
    read: list[tuple[str, int]] = []

    def noting(url: str, download: Download) -> None:
        read_from(url, download)
        read.append((download.path, download.missing_bytes))

    monkeypatch.setattr(direct, "read_from", noting)
    (folder / "data" / "rows.csv").write_bytes(ROWS * 2)
    connection = s3_server.connection
    async with running_registry(
        tmp_path / "registry",
        blob_url=s3_url,
        s3_endpoint=connection.endpoint,
        s3_access_key=connection.access_key,
        s3_secret_key=connection.secret_key,
        s3_secure=False,
    ) as caller:
        model = await caller.create_model()
        version = await run(caller.address, lambda client: client.upload_version(model, folder))
        got = tmp_path / "got"
        await run(caller.address, lambda client: client.download_version(version.name, got))
    assert read == [("data/rows.csv", 0)]
    assert (got / "data" / "rows.csv").read_bytes() == ROWS * 2
