"""A snapshot's files: received, cleaned, stored, reported on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import ExitStack, aclosing
from tempfile import TemporaryFile
from typing import BinaryIO, Final

from roundhouse.registry.v1 import dataset_pb2 as pb
from roundhouse.registry.v1 import dataset_service_pb2 as service_pb

from services.common.blobs.content import ContentStore
from services.common.blobs.digests import parse_digest
from services.common.resources import ConcurrentChange
from services.registry.api.claims import BlobClaims, HeldClaim
from services.registry.api.convert.datasets import (
    file_to_proto,
    format_from_proto,
    snapshot_to_proto,
)
from services.registry.api.downloads import stored_chunks
from services.registry.api.transactions import Transactions
from services.registry.api.uploads import (
    checked_chunks,
    digest_of_file,
    file_chunks,
    first_part,
    read_chunks,
    spool,
)
from services.registry.core.columns import ColumnReport
from services.registry.core.ports import RegistryTx, TableCleaner
from services.registry.core.snapshots import DatasetSnapshot, SnapshotFile, SnapshotState
from services.registry.core.use_cases.datasets import add_file, seal_snapshot
from services.registry.core.use_cases.lookup import the_snapshot

_TRIES: Final = 8
"""How often work on a snapshot starts over because another call added a file to it."""


class SnapshotFiles:
    """Moves bytes in and out of snapshots.

    Spooled bytes lie in files without a name, which a killed process leaves no trace of.

    Args:
        transactions: The registry's.
        contents: Where canonical files are kept.
        claims: Keep contents that uploads rely on.
        cleaner: Turns uploads into canonical files.
        max_upload_bytes: Largest upload that is accepted.
    """

    def __init__(
        self,
        transactions: Transactions,
        contents: ContentStore,
        claims: BlobClaims,
        cleaner: TableCleaner,
        *,
        max_upload_bytes: int,
    ) -> None:
        self._transactions = transactions
        self._contents = contents
        self._claims = claims
        self._cleaner = cleaner
        self._max_upload_bytes = max_upload_bytes

    async def upload(
        self, parts: AsyncIterator[service_pb.UploadSnapshotFileRequest]
    ) -> pb.SnapshotFile:
        """The file as the snapshot holds it, once it is durable."""
        header = (await first_part(parts)).header
        with TemporaryFile() as source:
            async with aclosing(
                checked_chunks(read_chunks(parts), header.path, max_bytes=self._max_upload_bytes)
            ) as chunks:
                await spool(chunks, source, path=header.path, digest=header.digest)
            for tried in range(1, _TRIES + 1):
                try:
                    return await self._add(header, source)
                except ConcurrentChange:
                    if tried == _TRIES:
                        raise
        raise AssertionError("unreachable")

    async def _add(
        self, header: service_pb.UploadSnapshotFileRequest.Header, source: BinaryIO
    ) -> pb.SnapshotFile:
        snapshot = await self._transactions.read(
            lambda tx: the_snapshot(tx, header.snapshot, "header.snapshot")
        )
        if snapshot.holds(header.path, header.digest):
            return await self._recorded(header, snapshot, snapshot.file(header.path))
        snapshot.need_open()
        with ExitStack() as spools:
            target = spools.enter_context(TemporaryFile())
            file = await self._cleaned(snapshot, header, source, target)
            async with self._claims.on(file.digest) as claim:
                await self._contents.add(
                    parse_digest(file.digest), file_chunks(target), size_bytes=file.size_bytes
                )
                return await self._recorded(header, snapshot, file, claim)

    async def _recorded(
        self,
        header: service_pb.UploadSnapshotFileRequest.Header,
        snapshot: DatasetSnapshot,
        file: SnapshotFile,
        claim: HeldClaim | None = None,
    ) -> pb.SnapshotFile:
        def record(tx: RegistryTx) -> pb.SnapshotFile:
            if claim is not None:
                claim.redeem(tx)
            revision = snapshot.meta.revision
            return file_to_proto(add_file(tx, header.snapshot, file, cleaned_at_revision=revision))

        return await self._transactions.mutate(header, pb.SnapshotFile, record)

    async def _cleaned(
        self,
        snapshot: DatasetSnapshot,
        header: service_pb.UploadSnapshotFileRequest.Header,
        source: BinaryIO,
        target: BinaryIO,
    ) -> SnapshotFile:
        with ExitStack() as spools:
            earlier = await self._fetched(snapshot, spools)
            table = await asyncio.to_thread(
                self._cleaner.clean,
                source,
                target,
                path=header.path,
                file_format=format_from_proto(header.format),
                rules=snapshot.rules,
                earlier=earlier,
            )
        digest, size_bytes = await asyncio.to_thread(digest_of_file, target)
        return SnapshotFile(
            path=header.path,
            digest=digest,
            size_bytes=size_bytes,
            source_digest=header.digest,
            source_format=format_from_proto(header.format),
            table=table,
        )

    async def seal(self, request: service_pb.SealSnapshotRequest) -> pb.DatasetSnapshot:
        """The snapshot, final, with a report on all its files."""
        for tried in range(1, _TRIES + 1):
            snapshot = await self._transactions.read(lambda tx: the_snapshot(tx, request.name))
            columns = await self._report(snapshot)
            try:
                return await self._seal(request, columns, snapshot.meta.revision)
            except ConcurrentChange:
                if tried == _TRIES:
                    raise
        raise AssertionError("unreachable")

    async def _seal(
        self,
        request: service_pb.SealSnapshotRequest,
        columns: Sequence[ColumnReport],
        revision: int,
    ) -> pb.DatasetSnapshot:
        return await self._transactions.mutate(
            request,
            pb.DatasetSnapshot,
            lambda tx: snapshot_to_proto(
                seal_snapshot(
                    tx,
                    request.name,
                    columns,
                    etag=request.etag,
                    reported_at_revision=revision,
                )
            ),
        )

    async def _report(self, snapshot: DatasetSnapshot) -> tuple[ColumnReport, ...]:
        if snapshot.state is SnapshotState.SEALED or not snapshot.files:
            return snapshot.columns
        with ExitStack() as spools:
            files = await self._fetched(snapshot, spools)
            return await asyncio.to_thread(self._cleaner.report, files)

    async def _fetched(self, snapshot: DatasetSnapshot, spools: ExitStack) -> list[BinaryIO]:
        """The snapshot's canonical files, verified, on the local disk until `spools` closes."""
        fetched: list[BinaryIO] = []
        for file in snapshot.files:
            local = spools.enter_context(TemporaryFile())  # noqa: SIM115 - the stack closes it
            async with aclosing(
                stored_chunks(self._contents, file.digest, owner=snapshot.meta.name, path=file.path)
            ) as chunks:
                await spool(chunks, local, path=file.path, digest=file.digest)
            fetched.append(local)
        return fetched

    async def download(
        self, request: service_pb.DownloadSnapshotFileRequest
    ) -> AsyncGenerator[bytes]:
        """One file's bytes from the offset on; verified when that is 0."""
        snapshot = await self._transactions.read(
            lambda tx: the_snapshot(tx, request.snapshot, "snapshot")
        )
        file = snapshot.file(request.path)
        async with aclosing(
            stored_chunks(
                self._contents,
                file.digest,
                owner=snapshot.meta.name,
                path=file.path,
                offset_bytes=request.offset_bytes,
            )
        ) as chunks:
            async for chunk in chunks:
                yield chunk
