"""A blob by ranges, several of them under way at a time."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from minio import Minio
from minio.error import S3Error
from urllib3.exceptions import HTTPError, MaxRetryError

from services.common.blobs.errors import BlobChanged, BlobNotFound
from services.common.blobs.port import CHUNK_BYTES
from services.common.blobs.s3_calls import S3Calls
from services.common.blobs.threads import ended

RANGE_BYTES: Final = 8 << 20

_AHEAD: Final = 2
"""Ranges fetched beside the one that is given out; a reader holds some 24 MiB."""

_TRIES: Final = 3
_FIRST_PAUSE_S: Final = 0.2
_CONTENT_RANGE: Final = re.compile(r"bytes \d+-\d+/(\d+)")


class OutsideBlobError(Exception):
    """The first byte asked for is behind the end, or there are none."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    chunks: list[bytes]
    etag: str
    blob_bytes: int


class RangedReads:
    """Reads objects of one bucket.

    Args:
        client: To the S3.
        calls: Runs its calls.
        bucket: That has the objects.
    """

    def __init__(self, client: Minio, calls: S3Calls, bucket: str) -> None:
        self._client = client
        self._calls = calls
        self._bucket = bucket

    async def read(self, key: str, name: str, offset: int) -> AsyncGenerator[bytes]:
        """The bytes of the object `name` from `offset` on, in chunks of `CHUNK_BYTES`.

        Raises:
            BlobNotFound, BlobChanged: Of `key`.
            OutsideBlobError: No byte is at `offset`.
        """
        first = await self._calls.run(self._fetch, key, name, offset, None)
        starts = iter(range(offset + RANGE_BYTES, first.blob_bytes, RANGE_BYTES))
        under_way: deque[asyncio.Future[_Fetched]] = deque()

        def fetch_on() -> None:
            start = next(starts, None)
            if start is not None:
                fetching = self._calls.start(self._fetch, key, name, start, first.etag)
                under_way.append(fetching)

        try:
            for _ in range(_AHEAD):
                fetch_on()
            fetched = first
            while True:
                for chunk in fetched.chunks:
                    yield chunk
                if not under_way:
                    return
                fetched = await self._calls.result(under_way[0])
                del under_way[0]
                fetch_on()
        finally:
            await ended(under_way)

    def _fetch(self, key: str, name: str, start: int, etag: str | None) -> _Fetched:
        """One range, of the write that has the etag. What breaks off is fetched again."""
        for tried in range(1, _TRIES):
            try:
                return self._fetch_once(key, name, start, etag)
            except MaxRetryError:
                raise  # it never began, and the pool has tried again already
            except HTTPError:
                time.sleep(_FIRST_PAUSE_S * 2**tried)
        return self._fetch_once(key, name, start, etag)

    def _fetch_once(self, key: str, name: str, start: int, etag: str | None) -> _Fetched:
        headers: dict[str, str | list[str] | tuple[str]] = {"If-Match": etag} if etag else {}
        try:
            response = self._client.get_object(
                self._bucket, name, start, RANGE_BYTES, request_headers=headers
            )
        except S3Error as error:
            if error.code == "NoSuchKey":
                raise BlobNotFound(key) from None
            if error.code == "InvalidRange":
                raise OutsideBlobError from None
            if error.response.status == HTTPStatus.PRECONDITION_FAILED:
                raise BlobChanged(key, etag) from None
            raise
        try:
            chunks = []
            while chunk := response.read(CHUNK_BYTES, decode_content=False):
                chunks.append(chunk)
            received = sum(map(len, chunks))
            found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
            blob_bytes = int(found[1]) if found else start + received
            if received < min(RANGE_BYTES, blob_bytes - start):
                raise HTTPError(f"the body of {name} broke off")
            return _Fetched(chunks, response.headers["ETag"], blob_bytes)
        finally:
            response.close()
            response.release_conn()
