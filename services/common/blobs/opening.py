"""The one place that picks a blob store, by a URL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.common.blobs.directory import DirectoryBlobStore
from services.common.blobs.errors import UnsafeStoreError
from services.common.blobs.memory import MemoryBlobStore
from services.common.blobs.port import BlobStore
from services.common.blobs.probe import probe, probe_multipart
from services.common.blobs.s3 import S3BlobStore, S3Connection
from services.common.settings import BlobSettings


def s3_connection_of(settings: BlobSettings) -> S3Connection | None:
    """The S3 that a service's settings name; None where its bytes are in a folder."""
    if not (settings.s3_endpoint and settings.s3_access_key and settings.s3_secret_key):
        return None
    connection = S3Connection(
        settings.s3_endpoint,
        settings.s3_access_key,
        settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
    )
    return replace(connection, region=settings.s3_region) if settings.s3_region else connection


@asynccontextmanager
async def open_configured_blob_store(
    settings: BlobSettings, *, public_url: str | None = None
) -> AsyncIterator[BlobStore]:
    """The store that a service's settings name, opened as by `open_blob_store`.

    Args:
        settings: The service's.
        public_url: Where presigned requests reach the S3, if elsewhere than the service does.
    """
    connection = s3_connection_of(settings)
    if connection is not None:
        connection = replace(connection, public_url=public_url)
    async with open_blob_store(settings.blob_url, connection=connection) as store:
        yield store


@asynccontextmanager
async def open_blob_store(
    url: str, *, connection: S3Connection | None = None
) -> AsyncIterator[BlobStore]:
    """A store that has shown that its conditional writes work; closed at the end.

    Args:
        url: `file:///absolute/folder`, `file://relative/folder`, `s3://bucket/prefix` or
            `memory://`.
        connection: The S3 that has the bucket; for `s3://` and nothing else.

    Raises:
        ValueError: The URL is none of these, or does not go with `connection`.
        UnsafeStoreError: The bucket is absent, or the store fails the probe.
        BlobStoreUnavailable: The store can't be reached.
    """
    parts = urlsplit(url)
    folder = unquote(parts.netloc + parts.path)
    if (connection is not None) != (parts.scheme == "s3"):
        raise ValueError(f"{url!r}: an S3 connection goes with an s3:// URL and only with that")
    match parts.scheme:
        case "memory" if not folder:
            yield MemoryBlobStore()
        case "file" if folder:
            store = DirectoryBlobStore(Path(folder))
            await probe(store)
            yield store
        case "s3" if parts.netloc and connection is not None:
            bucket = S3BlobStore(connection, parts.netloc, parts.path.strip("/"))
            try:
                if not await bucket.bucket_exists():
                    raise UnsafeStoreError(f"There is no bucket {parts.netloc}: create it first.")
                await probe(bucket)
                await probe_multipart(bucket)
                yield bucket
            finally:
                await bucket.close()
        case _:
            raise ValueError(
                f"{url!r} is no blob store: give file://folder, s3://bucket/prefix or memory://"
            )
