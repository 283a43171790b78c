"""Blobs in a bucket of any S3: MinIO, SeaweedFS, AWS."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from minio import Minio
from minio.error import S3Error
from typing_extensions import override
from urllib3 import PoolManager, Retry, Timeout

from services.common.blobs.checkpoints import Checkpoint, Journal
from services.common.blobs.digests import Digest, StreamCheck, Written, once, parse_digest
from services.common.blobs.errors import (
    BlobChanged,
    BlobExists,
    BlobNotFound,
    DeletionExpired,
    OffsetOutOfRange,
)
from services.common.blobs.port import (
    BlobInfo,
    BlobStore,
    SignedRequest,
    TaggedBlob,
    UnfinishedUpload,
    check_key,
)
from services.common.blobs.s3_calls import CONNECTIONS, S3Calls
from services.common.blobs.s3_parts import PART_BYTES, Part, PartsUpload, in_parts, size_of
from services.common.blobs.s3_ranges import OutsideBlobError, RangedReads
from services.common.blobs.s3_signing import Signer
from services.common.blobs.s3_writes import (
    ALWAYS,
    IF_ABSENT,
    Precondition,
    PreconditionError,
    RefusedError,
    S3Writes,
    if_unchanged,
)
from services.common.clock import Clock, utc_now

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class S3Connection:
    """Where an S3 is and who calls.

    Attributes:
        endpoint: `host:port` or `host`.
        access_key: Name of the account.
        secret_key: Its secret; not shown by `repr`.
        secure: Whether to speak TLS.
        region: What requests are signed for; any, for a store that has no regions.
        public_url: Where those reach it who get presigned requests; None if at `endpoint`.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    secure: bool = True
    region: str = "us-east-1"
    public_url: str | None = None


class S3BlobStore(BlobStore):
    """Objects under a prefix of a bucket.

    An upload whose process is killed leaves its parts behind, unseen; a lifecycle rule
    `AbortIncompleteMultipartUpload` on the bucket removes them.

    Args:
        connection: The S3.
        bucket: Must exist.
        prefix: Put before each key, with a `/` between; empty for none.
        now: The clock, for signatures.
    """

    def __init__(
        self, connection: S3Connection, bucket: str, prefix: str = "", now: Clock = utc_now
    ) -> None:
        if "/" in connection.endpoint:
            raise ValueError(f"{connection.endpoint!r} is no S3 endpoint: give 'host:port'")
        self._pool = PoolManager(
            maxsize=CONNECTIONS,
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
        self._calls = S3Calls()
        self._reads = RangedReads(self._client, self._calls, bucket)
        scheme = "https" if connection.secure else "http"
        self._signer = Signer(
            connection.public_url or f"{scheme}://{connection.endpoint}",
            bucket,
            connection.access_key,
            connection.secret_key,
            connection.region,
        )
        self._now = now
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    async def close(self) -> None:
        """Close every connection, once the calls under way have ended."""
        await self._calls.close()
        self._pool.clear()

    async def bucket_exists(self) -> bool:
        """Whether the bucket is there."""
        return await self._calls.run(self._client.bucket_exists, self._bucket)

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
        journal: Journal | None = None,
    ) -> Written:
        check_key(key)
        begun = journal.begun if journal else None
        check = StreamCheck(digest, size_bytes, begun.state if begun else None)
        try:
            return await self._upload(key, chunks, check, IF_ABSENT, journal)
        except PreconditionError:
            raise BlobExists(key) from None

    @override
    async def drop_pieces(self, upload: str, key: str, checkpoint: Checkpoint | None) -> None:
        check_key(key)
        if checkpoint is not None:
            await self._calls.run(self._writes.abort, self._name(key), checkpoint.pieces[0])

    @override
    async def read(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes]:
        check_key(key)
        if offset < 0:
            raise OffsetOutOfRange(key, offset, (await self.head(key)).size_bytes)
        try:
            async with aclosing(self._reads.read(key, self._name(key), offset)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except OutsideBlobError:
            size = (await self.head(key)).size_bytes
            if offset != size:
                raise OffsetOutOfRange(key, offset, size) from None

    @override
    async def head(self, key: str) -> BlobInfo:
        check_key(key)
        stat = partial(self._client.stat_object, self._bucket, self._name(key))
        found = await self._calls.run(_absent_as(BlobNotFound(key), stat))
        return BlobInfo(key, found.size or 0)

    @override
    async def delete(self, key: str) -> None:
        check_key(key)
        await self._calls.run(self._client.remove_object, self._bucket, self._name(key))

    @override
    async def delete_within(self, key: str, begun: datetime, lifetime: timedelta) -> None:
        check_key(key)
        if utc_now() > begun + lifetime:
            raise DeletionExpired(key)
        try:
            await self._calls.run(self._writes.delete_within, self._name(key), begun, lifetime)
        except RefusedError as error:
            raise DeletionExpired(key) from error

    @override
    async def unfinished_uploads(self, prefix: str) -> list[UnfinishedUpload]:
        return await self._calls.run(self._unfinished, prefix)

    @override
    async def drop_unfinished(self, upload: UnfinishedUpload) -> None:
        await self._calls.run(self._writes.abort, self._name(upload.key), upload.handle)

    @override
    async def list_blobs(self, prefix: str = "") -> list[BlobInfo]:
        # SeaweedFS lists in another order than that of the bytes.
        return sorted(await self._calls.run(self._list, prefix), key=lambda info: info.key)

    @override
    async def load(self, key: str) -> TaggedBlob:
        check_key(key)
        return await self._calls.run(self._load, key)

    @override
    async def compare_and_swap(self, key: str, data: bytes, *, etag: str | None) -> str:
        check_key(key)
        try:
            return await self._calls.run(
                self._writes.put, self._name(key), data, if_unchanged(etag)
            )
        except PreconditionError:
            raise BlobChanged(key, etag) from None

    @override
    def presign_put(
        self, key: str, *, digest: Digest, size_bytes: int, lifetime: timedelta
    ) -> SignedRequest:
        check_key(key)
        checksum = bytes.fromhex(parse_digest(digest).removeprefix("sha256:"))
        headers = {
            "content-length": str(size_bytes),
            "x-amz-checksum-sha256": base64.b64encode(checksum).decode(),
        }
        return self._signer.signed(
            "PUT", self._name(key), headers, now=self._now(), lifetime=lifetime
        )

    @override
    def presign_get(self, key: str, *, lifetime: timedelta) -> SignedRequest:
        check_key(key)
        return self._signer.signed("GET", self._name(key), {}, now=self._now(), lifetime=lifetime)

    async def create_in_parts(self, key: str, data: bytes) -> None:
        """Create a blob by a multipart upload, however short it is.

        Raises:
            BlobExists: The key is taken.
        """
        upload = PartsUpload(
            self._writes, self._calls, self._name(key), StreamCheck(None, None), None
        )
        try:
            await upload.store(in_parts(once(data)), IF_ABSENT)
        except PreconditionError:
            raise BlobExists(key) from None

    async def _upload(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        check: StreamCheck,
        precondition: Precondition,
        journal: Journal | None = None,
    ) -> Written:
        name = self._name(key)
        begun = journal.begun if journal else None
        async with aclosing(in_parts(chunks)) as parts:
            # An empty tuple as the default of anext is a SystemError (python/cpython#128078).
            first: Part = [] if begun else await anext(parts, [])
            if begun is None and size_of(first) < PART_BYTES:
                return await self._put_whole(name, b"".join(first), check, precondition)
            upload = PartsUpload(self._writes, self._calls, name, check, journal)
            return await upload.store(_chain(first, parts), precondition)

    async def _put_whole(
        self, name: str, data: bytes, check: StreamCheck, precondition: Precondition
    ) -> Written:
        await asyncio.to_thread(check.update, data)
        written = check.finish()
        await self._calls.run(self._writes.put, name, data, precondition)
        return written

    def _load(self, key: str) -> TaggedBlob:
        get = partial(self._client.get_object, self._bucket, self._name(key))
        response = _absent_as(BlobNotFound(key), get)()
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

    def _unfinished(self, prefix: str) -> list[UnfinishedUpload]:
        found: list[UnfinishedUpload] = []
        at_key: str | None = None
        at_upload: str | None = None
        while True:
            # The SDK has no public way to list them.
            page = self._client._list_multipart_uploads(  # noqa: SLF001
                self._bucket,
                prefix=self._name(prefix),
                key_marker=at_key,
                upload_id_marker=at_upload,
            )
            found += [
                UnfinishedUpload(
                    upload.object_name.removeprefix(self._prefix),
                    upload.upload_id or "",
                    upload.initiated_time or utc_now(),
                )
                for upload in page.uploads
                if upload.object_name.startswith(self._name(prefix))
            ]
            if not page.is_truncated:
                return found
            at_key, at_upload = page.next_key_marker, page.next_upload_id_marker

    def _name(self, key: str) -> str:
        return f"{self._prefix}{key}"


async def _chain(first: Part, rest: AsyncIterable[Part]) -> AsyncGenerator[Part]:
    if first:
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
