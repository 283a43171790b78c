"""Which store a URL opens."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from services.common.blobs.errors import UnsafeStoreError
from services.common.blobs.memory import MemoryBlobStore
from services.common.blobs.opening import open_blob_store, open_configured_blob_store
from services.common.blobs.probe import probe
from services.common.blobs.s3 import S3Connection
from services.common.settings import Address, BlobSettings
from tests.support.seaweedfs import S3Server
from tests.support.streams import stream

CONNECTION = S3Connection("127.0.0.1:9", "name", "secret")


@pytest.mark.parametrize(
    ("url", "connection"),
    [
        ("", None),
        ("file://", None),
        ("/a/path", None),
        ("memory://name", None),
        ("ftp://host/path", None),
        ("s3://bucket", None),
        ("s3:///prefix", CONNECTION),
        ("file:///a/path", CONNECTION),
        ("s3://bucket", S3Connection("http://127.0.0.1:9000", "name", "secret")),
    ],
)
async def test_a_url_that_names_no_store_is_refused(url: str, connection: S3Connection | None):
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own sentence
        async with open_blob_store(url, connection=connection):
            pytest.fail("a store was opened")


async def test_a_directory_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    async with open_blob_store("file://./some/folder") as store:
        await store.put("k", stream(b"1"))

    assert (tmp_path / "some/folder/objects/k").read_bytes() == b"1"


async def test_the_probe_leaves_nothing_behind(tmp_path: Path):
    async with open_blob_store(f"file://{tmp_path}") as store:
        assert await store.list_blobs() == []


class Settings(BlobSettings, env_prefix="ROUNDHOUSE_BLOBTEST_"):
    listen: Address = "127.0.0.1:0"
    metrics_listen: Address = "127.0.0.1:0"
    data_dir: Path = Path("unused")


async def test_settings_open_the_folder_that_they_name(tmp_path: Path):
    async with open_configured_blob_store(Settings(data_dir=tmp_path)) as store:
        await store.put("k", stream(b"1"))

    assert (tmp_path / "blobs/objects/k").exists()


async def test_settings_open_the_bucket_that_they_name(s3_server: S3Server, s3_url: str):
    connection = s3_server.connection
    settings = Settings(
        blob_url=s3_url,
        s3_endpoint=connection.endpoint,
        s3_access_key=connection.access_key,
        s3_secret_key=SecretStr(connection.secret_key),
        s3_secure=False,
        s3_region="eu-central-1",
    )

    async with open_configured_blob_store(settings) as store:
        await store.put("k", stream(b"1"))

        assert await store.exists("k")


class ForgetfulStore(MemoryBlobStore):
    """Acknowledges swaps without making them."""

    async def compare_and_swap(self, key: str, data: bytes, *, etag: str | None) -> str:
        before = await self.load(key)
        new = await super().compare_and_swap(key, data, etag=etag)
        self._blobs[key] = before.data
        return new


async def test_a_store_that_does_not_keep_what_it_acknowledged_is_refused():
    with pytest.raises(UnsafeStoreError):
        await probe(ForgetfulStore())
