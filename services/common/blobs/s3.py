"""Blobs in a bucket of any S3: MinIO, SeaweedFS, AWS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from minio import Minio
from minio.error import MinioException, S3Error, ServerError
from typing_extensions import override
from urllib3 import BaseHTTPResponse, PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from services.common.blobs.digests import Digest, StreamCheck, Written, once
from services.common.blobs.errors import (
    BlobChanged,
    BlobExists,
    BlobNotFound,
    BlobStoreUnavailable,
    OffsetOutOfRange,
)
from services.common.blobs.port import CHUNK_BYTES, BlobInfo, BlobStore, TaggedBlob, check_key
from services.common.blobs.s3_writes import (
    ALWAYS,
    IF_ABSENT,
    Precondition,
    PreconditionError,
    RefusedError,
    S3Writes,
    if_unchanged,
)

T = TypeVar("T")

_CONNECTIONS = 16
_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 60.0

_PART_BYTES = 8 << 20
"""A stream that fits one part is one PUT. S3 wants 5 MiB at least and 10,000 parts at most,
which makes 78 GiB the largest blob."""


@dataclass(frozen=True, slots=True)
class S3Connection:
    """Where an S3 is and who calls.

    Attributes:
        endpoint: `host:port` or `host`.
        access_key: Name of the account.
        secret_key: Its secret; not shown by `repr`.
        secure: Whether to speak TLS.
        region: What requests are signed for; any, for a store that has no regions.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    secure: bool = True
    region: str = "us-east-1"


class S3BlobStore(BlobStore):
    """Objects under a prefix of a bucket.

    An upload whose process is killed leaves its parts behind, unseen; a lifecycle rule
    `AbortIncompleteMultipartUpload` on the bucket removes them.

    Args:
        connection: The S3.
        bucket: Must exist.
        prefix: Put before each key, with a `/` between; empty for none.
    """

    def __init__(self, connection: S3Connection, bucket: str, prefix: str = "") -> None:
        if "/" in connection.endpoint:
            raise ValueError(f"{connection.endpoint!r} is no S3 endpoint: give 'host:port'")
        self._pool = PoolManager(
            maxsize=_CONNECTIONS,
            block=True,
            timeout=Timeout(connect=_CONNECT_TIMEOUT_S, read=_READ_TIMEOUT_S),
            retries=Retry(
                3,
                backoff_factor=0.2,
                status_forcelist=(500, 502, 503, 504),
                allowed_methods=("GET", "HEAD", "DELETE"),
            ),
        )
        self._client = Minio(
            connection.endpoint,
            access_key=connection.access_key,
            secret_key=connection.secret_key,
            region=connection.region,
            secure=connection.secure,
            http_client=self._pool,
        )
        self._writes = S3Writes(self._client, self._pool, bucket)
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="s3")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    async def close(self) -> None:
        """Close every connection, once the calls under way have ended."""
        await asyncio.to_thread(self._threads.shutdown)
        self._pool.clear()

    async def bucket_exists(self) -> bool:
        """Whether the bucket is there."""
        return await self._call(self._client.bucket_exists, self._bucket)

    @override
    async def put(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        digest: Digest | None = None,
        size_bytes: int | None = None,
    ) -> Written:
        check_key(key)
        return await self._upload(key, chunks, StreamCheck(digest, size_bytes), ALWAYS)

    @override
    async def create(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        digest: Digest | None = None,
        size_bytes: int | None = None,
    ) -> Written:
        check_key(key)
        try:
            return await self._upload(key, chunks, StreamCheck(digest, size_bytes), IF_ABSENT)
        except PreconditionError:
            raise BlobExists(key) from None

    @override
    async def read(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes]:
        check_key(key)
        if offset < 0:
            raise OffsetOutOfRange(key, offset, (await self.head(key)).size_bytes)
        try:
            response = await self._call(self._get, key, offset)
        except S3Error as error:
            if error.code != "InvalidRange":
                raise
            size = (await self.head(key)).size_bytes
            if offset == size:
                return
            raise OffsetOutOfRange(key, offset, size) from None
        try:
            while chunk := await self._call(response.read, CHUNK_BYTES):
                yield chunk
        finally:
            response.close()
            response.release_conn()

    @override
    async def head(self, key: str) -> BlobInfo:
        check_key(key)
        stat = partial(self._client.stat_object, self._bucket, self._name(key))
        found = await self._call(_absent_as(BlobNotFound(key), stat))
        return BlobInfo(key, found.size or 0)

    @override
    async def delete(self, key: str) -> None:
        check_key(key)
        await self._call(self._client.remove_object, self._bucket, self._name(key))

    @override
    async def list_blobs(self, prefix: str = "") -> list[BlobInfo]:
        # SeaweedFS lists in another order than that of the bytes.
        return sorted(await self._call(self._list, prefix), key=lambda info: info.key)

    @override
    async def load(self, key: str) -> TaggedBlob:
        check_key(key)
        return await self._call(self._load, key)

    @override
    async def compare_and_swap(self, key: str, data: bytes, *, etag: str | None) -> str:
        check_key(key)
        try:
            return await self._call(self._writes.put, self._name(key), data, if_unchanged(etag))
        except PreconditionError:
            raise BlobChanged(key, etag) from None

    async def create_in_parts(self, key: str, data: bytes) -> None:
        """Create a blob by a multipart upload, however short it is.

        Raises:
            BlobExists: The key is taken.
        """
        parts = _parts(once(data))
        try:
            await self._upload_parts(self._name(key), parts, StreamCheck(None, None), IF_ABSENT)
        except PreconditionError:
            raise BlobExists(key) from None

    async def _upload(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        check: StreamCheck,
        precondition: Precondition,
    ) -> Written:
        name = self._name(key)
        parts = _parts(chunks)
        first = await anext(parts)
        if len(first) == _PART_BYTES:
            return await self._upload_parts(name, _chain(first, parts), check, precondition)
        await self._call(check.update, first)
        written = check.finish()
        await self._call(self._writes.put, name, first, precondition)
        return written

    async def _upload_parts(
        self, name: str, parts: AsyncIterable[bytes], check: StreamCheck, precondition: Precondition
    ) -> Written:
        upload_id = await self._call(self._writes.begin, name)
        etags: list[str] = []
        try:
            async for part in parts:
                await self._call(check.update, part)
                number = len(etags) + 1
                etags.append(await self._call(self._writes.put_part, name, upload_id, number, part))
            written = check.finish()
            await self._call(self._writes.complete, name, upload_id, etags, precondition)
        except BaseException:
            await asyncio.shield(self._abandon(name, upload_id))
            raise
        return written

    async def _abandon(self, name: str, upload_id: str) -> None:
        with suppress(BlobStoreUnavailable, RefusedError):
            await self._call(self._writes.abort, name, upload_id)

    def _get(self, key: str, offset: int) -> BaseHTTPResponse:
        get = partial(self._client.get_object, self._bucket, self._name(key), offset)
        return _absent_as(BlobNotFound(key), get)()

    def _load(self, key: str) -> TaggedBlob:
        response = self._get(key, 0)
        try:
            return TaggedBlob(response.read(), response.headers["ETag"])
        finally:
            response.close()
            response.release_conn()

    def _list(self, prefix: str) -> list[BlobInfo]:
        objects = self._client.list_objects(
            self._bucket, prefix=f"{self._prefix}{prefix}", recursive=True
        )
        return [
            BlobInfo(found.object_name.removeprefix(self._prefix), found.size or 0)
            for found in objects
            if found.object_name is not None
        ]

    def _name(self, key: str) -> str:
        return f"{self._prefix}{key}"

    async def _call(self, work: Callable[..., T], *args: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        except HTTPError as error:
            raise BlobStoreUnavailable(str(error)) from error
        except MinioException as error:
            if _is_temporary(error):
                raise BlobStoreUnavailable(str(error)) from error
            raise


async def _parts(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """The same bytes in parts of `_PART_BYTES`, the last of them shorter; at least one part."""
    waiting = bytearray()
    whole_parts = 0
    async for chunk in chunks:
        waiting += chunk
        while len(waiting) >= _PART_BYTES:
            whole_parts += 1
            yield bytes(waiting[:_PART_BYTES])
            del waiting[:_PART_BYTES]
    if waiting or not whole_parts:
        yield bytes(waiting)


async def _chain(first: bytes, rest: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for part in rest:
        yield part


def _absent_as(absent: BlobNotFound, call: Callable[[], T]) -> Callable[[], T]:
    def work() -> T:
        try:
            return call()
        except S3Error as error:
            if error.code == "NoSuchKey":
                raise absent from None
            raise

    return work


def _is_temporary(error: MinioException) -> bool:
    """Whether waiting may mend what the store complains of."""
    status = HTTPStatus.OK
    if isinstance(error, ServerError):
        status = HTTPStatus(error.status_code)
    elif isinstance(error, S3Error):
        status = HTTPStatus(error.response.status)
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
