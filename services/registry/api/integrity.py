"""Committed versions, read again: verified, repaired, restored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from roundhouse.registry.v1 import model_pb2 as pb
from roundhouse.registry.v1 import model_service_pb2 as service_pb

from services.common.blobs.content import ContentStore
from services.common.blobs.digests import parse_digest
from services.common.blobs.errors import DigestMismatch
from services.common.store.leases import Lease
from services.registry.api.convert.models import (
    artifact_to_proto,
    fault_to_proto,
    version_to_proto,
)
from services.registry.api.transactions import Transactions
from services.registry.api.uploads import checked_chunks, first_part, read_chunks
from services.registry.core.bundles import BundleFile
from services.registry.core.errors import TruncatedUpload
from services.registry.core.integrity import Examination, Stored, fault_of
from services.registry.core.ports import IntegrityMeter, RegistryTx
from services.registry.core.use_cases.integrity import (
    file_to_repair,
    note_repair,
    record_examination,
    restore_version,
)
from services.registry.core.use_cases.lookup import the_version
from services.registry.core.versions import ModelVersion

Pace = Callable[[int], Awaitable[None]]
"""Awaited after so many bytes were read."""


class Integrity:
    """Holds stored bytes against what was committed.

    Args:
        transactions: The registry's.
        contents: Where the files are kept.
        meter: Counts what is found.
    """

    def __init__(
        self, transactions: Transactions, contents: ContentStore, meter: IntegrityMeter
    ) -> None:
        self._transactions = transactions
        self._contents = contents
        self._meter = meter

    async def verify(
        self, request: service_pb.VerifyVersionRequest
    ) -> service_pb.VerifyVersionResponse:
        """What was found, and the version after it."""
        answered = await self._transactions.answered(request, service_pb.VerifyVersionResponse)
        if answered is not None:
            return answered
        found = await self._examined(request.name)

        def record(tx: RegistryTx) -> service_pb.VerifyVersionResponse:
            return service_pb.VerifyVersionResponse(
                version=_to_proto(tx, record_examination(tx, request.name, found)),
                faults=[fault_to_proto(fault) for fault in found.faults],
                files=found.files,
                size_bytes=found.size_bytes,
            )

        return await self._transactions.mutate(request, service_pb.VerifyVersionResponse, record)

    async def restore(self, request: service_pb.RestoreVersionRequest) -> pb.ModelVersion:
        """The version where it stood before its quarantine."""
        answered = await self._transactions.answered(request, pb.ModelVersion)
        if answered is not None:
            return answered
        found = await self._examined(request.name)
        return await self._transactions.mutate(
            request,
            pb.ModelVersion,
            lambda tx: _to_proto(tx, restore_version(tx, request.name, found, etag=request.etag)),
        )

    async def repair(
        self, parts: AsyncIterator[service_pb.RepairArtifactRequest]
    ) -> pb.ArtifactFile:
        """The file, once its bytes are stored again."""
        header = (await first_part(parts)).header
        file = await self._transactions.read(
            lambda tx: file_to_repair(tx, header.version, header.path, header.digest)
        )
        await self._store_again(file, parts)
        return await self._transactions.mutate(
            header,
            pb.ArtifactFile,
            lambda tx: artifact_to_proto(note_repair(tx, header.version, file)),
        )

    async def _store_again(
        self, file: BundleFile, parts: AsyncIterator[service_pb.RepairArtifactRequest]
    ) -> None:
        # One byte more than the file has is enough to see that it is another.
        chunks = checked_chunks(read_chunks(parts), file.path, max_bytes=file.size_bytes + 1)
        try:
            async with aclosing(chunks):
                await self._contents.replace(parse_digest(file.digest), chunks)
        except DigestMismatch as error:
            raise TruncatedUpload(file.path, file.digest, error.metadata["actual"]) from error

    async def verify_under(self, lease: Lease, name: str, pace: Pace) -> ModelVersion:
        """The version after a slow look at its bytes, noted only while the lease is held.

        Args:
            lease: Of the one process that does so.
            name: Of the version.
            pace: Slows the reading.

        Raises:
            LeaseLost: Another process does it now.
        """
        found = await self._examined(name, pace)
        return await self._transactions.write_under(
            lease, lambda tx: record_examination(tx, name, found)
        )

    async def _examined(self, name: str, pace: Pace | None = None) -> Examination:
        version = await self._transactions.read(lambda tx: the_version(tx, name))
        files = version.committed_files()
        faults = []
        for file in files:
            fault = fault_of(file, await self._stored(file, pace))
            if fault is not None:
                faults.append(fault)
        self._meter.examined(is_whole=not faults)
        return Examination(
            files=len(files),
            size_bytes=sum(file.size_bytes for file in files),
            faults=tuple(sorted(faults, key=lambda fault: fault.path)),
        )

    async def _stored(self, file: BundleFile, pace: Pace | None) -> Stored | None:
        async def after_chunk(size_bytes: int) -> None:
            self._meter.read(size_bytes)
            if pace is not None:
                await pace(size_bytes)

        written = await self._contents.examine(parse_digest(file.digest), after_chunk)
        if written is None:
            return None
        differs = written.digest != file.digest
        return Stored(
            written.digest,
            written.size_bytes,
            is_of_another=differs and await self._contents.exists(written.digest),
        )


def _to_proto(tx: RegistryTx, version: ModelVersion) -> pb.ModelVersion:
    name = version.meta.name
    return version_to_proto(
        version,
        tx.aliases_at([name]),
        verified_at=tx.verified_at([name]).get(name),
    )
