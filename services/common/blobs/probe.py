"""A check, at start, that a store keeps its word about concurrent writers."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable

from services.common.blobs.digests import once
from services.common.blobs.errors import BlobChanged, BlobExists, UnsafeStoreError
from services.common.blobs.port import BlobStore
from services.common.blobs.s3 import S3BlobStore

_REFUSAL = (
    "The object store {fault}. Two writers would overwrite each other and acknowledged data "
    "would be lost, so it is refused; use one that honours If-Match and If-None-Match, such as "
    "MinIO, SeaweedFS or AWS S3."
)


async def probe(store: BlobStore) -> None:
    """Make sure that creating and swapping are conditional.

    Writes to keys under `probes/` and removes them.

    Raises:
        UnsafeStoreError: A write went through whose condition did not hold, or one failed
            whose condition did.
    """
    key = f"probes/{uuid.uuid4()}"
    try:
        await store.create(key, once(b"first"))
        await _must_exist(store.create(key, once(b"second")), "overwrites a blob on create")
        first = await store.load(key)
        etag = await _swap(store, key, first.etag)
        if etag == first.etag:
            raise UnsafeStoreError(_REFUSAL.format(fault="gives two contents one etag"))
        await _must_not_swap(store, key, first.etag)
        await _must_not_swap(store, key, None)
        if (await store.load(key)).data != b"swapped":
            raise UnsafeStoreError(_REFUSAL.format(fault="keeps other bytes than it acknowledged"))
    finally:
        await store.delete(key)


async def probe_multipart(store: S3BlobStore) -> None:
    """Make sure that a multipart upload, too, only creates what is absent.

    Raises:
        UnsafeStoreError: It overwrote an object.
    """
    key = f"probes/{uuid.uuid4()}"
    try:
        await store.create_in_parts(key, b"first")
        await _must_exist(
            store.create_in_parts(key, b"second"), "overwrites a blob by a multipart upload"
        )
    finally:
        await store.delete(key)


async def _must_exist(create: Awaitable[object], fault: str) -> None:
    try:
        await create
    except BlobExists:
        return
    raise UnsafeStoreError(_REFUSAL.format(fault=fault))


async def _swap(store: BlobStore, key: str, etag: str) -> str:
    try:
        return await store.compare_and_swap(key, b"swapped", etag=etag)
    except BlobChanged as error:
        raise UnsafeStoreError(_REFUSAL.format(fault="does not know its own etags")) from error


async def _must_not_swap(store: BlobStore, key: str, etag: str | None) -> None:
    try:
        await store.compare_and_swap(key, b"swapped twice", etag=etag)
    except BlobChanged:
        return
    raise UnsafeStoreError(_REFUSAL.format(fault="swaps a blob whose etag is another"))
