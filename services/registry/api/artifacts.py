"""A version's files: received, committed as one bundle, streamed out."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Final

from roundhouse.registry.v1 import model_pb2 as pb
from roundhouse.registry.v1 import model_service_pb2 as service_pb

from services.common.blobs.content import ContentStore, content_key
from services.common.blobs.digests import digest_of, parse_digest
from services.common.blobs.errors import DigestMismatch, UploadOffsetMismatch
from services.common.blobs.partials import PartialUploads
from services.common.errors import DataLoss, FieldViolation
from services.registry.api.claims import BlobClaims, HeldClaim
from services.registry.api.convert.models import artifact_to_proto, version_to_proto
from services.registry.api.downloads import stored_chunks
from services.registry.api.inspection import inspected
from services.registry.api.transactions import Transactions
from services.registry.api.uploads import HEAD_BYTES, checked_chunks, first_part, read_chunks
from services.registry.core.bundles import (
    MANIFEST,
    SIGNATURE,
    SIGNATURE_BUNDLE,
    BundleFile,
    check_head,
    check_json,
    check_path,
    check_signature,
    compare,
    manifest_of,
    parse_manifest,
)
from services.registry.core.errors import (
    InvalidManifest,
    ManifestMismatch,
    TruncatedUpload,
    UnsafeBundle,
    UploadTooLarge,
)
from services.registry.core.ports import BundleSigner, FormatInspector, RegistryTx
from services.registry.core.use_cases.lookup import the_version
from services.registry.core.use_cases.versions import commit_version, need_open, record_artifact
from services.registry.core.versions import ModelVersion, VersionState

_MAX_DOCUMENT_BYTES: Final = 64 << 20
"""A document is parsed in memory; profiles of thousands of features stay far below."""


class Artifacts:
    """Moves bytes in and out of versions.

    Args:
        transactions: The registry's.
        contents: Where the files are kept.
        claims: Keep contents that uploads rely on.
        partials: Takes their bytes in.
        inspector: Refuses files that may run code.
        signer: Signs what is committed; None leaves it unsigned.
        max_artifact_bytes: Largest file that is accepted.
    """

    def __init__(
        self,
        transactions: Transactions,
        contents: ContentStore,
        claims: BlobClaims,
        partials: PartialUploads,
        inspector: FormatInspector,
        signer: BundleSigner | None,
        *,
        max_artifact_bytes: int,
    ) -> None:
        self._transactions = transactions
        self._contents = contents
        self._claims = claims
        self._partials = partials
        self._inspector = inspector
        self._signer = signer
        self._max_artifact_bytes = max_artifact_bytes

    async def progress(
        self, request: service_pb.GetUploadProgressRequest
    ) -> service_pb.UploadProgress:
        """How much of a file is durable."""
        version, uploads = await self._transactions.read(
            lambda tx: (the_version(tx, request.version, "version"), tx.uploads(request.version))
        )
        for file in (*uploads.values(), *version.files):
            if (file.path, file.digest) == (request.path, request.digest):
                return service_pb.UploadProgress(received_bytes=file.size_bytes, complete=True)
        received = await self._partials.received_bytes(
            _upload_id(version, request.path, request.digest)
        )
        return service_pb.UploadProgress(received_bytes=received if received >= HEAD_BYTES else 0)

    async def upload(
        self, parts: AsyncIterator[service_pb.UploadArtifactRequest]
    ) -> pb.ArtifactFile:
        """The file, once it is durable and noted for its version."""
        header = (await first_part(parts)).header
        check_path(header.path)
        # Where a stream begins makes it no other request than the one it repeats.
        request = service_pb.UploadArtifactRequest.Header()
        request.CopyFrom(header)
        request.ClearField("offset_bytes")
        await self._check_open(request)
        async with self._claims.on(header.digest) as claim:
            file = await self._stored(header, parts)

            def record(tx: RegistryTx) -> pb.ArtifactFile:
                claim.redeem(tx)
                return artifact_to_proto(record_artifact(tx, header.version, file))

            return await self._transactions.mutate(request, pb.ArtifactFile, record)

    async def _check_open(self, request: service_pb.UploadArtifactRequest.Header) -> None:
        """Refuse bytes that could not be recorded, unless they repeat what was."""
        if await self._transactions.answered(request, pb.ArtifactFile) is None:
            await self._transactions.read(
                lambda tx: need_open(tx, request.version, "header.version")
            )

    async def _stored(
        self,
        header: service_pb.UploadArtifactRequest.Header,
        parts: AsyncIterator[service_pb.UploadArtifactRequest],
    ) -> BundleFile:
        version, recorded = await self._transactions.read(
            lambda tx: (
                the_version(tx, header.version, "header.version"),
                tx.uploads(header.version).get(header.path),
            )
        )
        if recorded and (recorded.digest, recorded.size_bytes) == (
            header.digest,
            header.offset_bytes,
        ):
            return recorded
        upload = _upload_id(version, header.path, header.digest)
        if 0 < header.offset_bytes < HEAD_BYTES:
            raise UploadOffsetMismatch(upload, header.offset_bytes, 0)
        try:
            async with aclosing(self._chunks_of(header, parts)) as chunks:
                written = await self._partials.write(
                    upload,
                    content_key(parse_digest(header.digest)),
                    chunks,
                    offset=header.offset_bytes,
                    digest=parse_digest(header.digest),
                    size_bytes=header.size_bytes or None,
                )
        except DigestMismatch as error:
            raise TruncatedUpload(header.path, header.digest, error.metadata["actual"]) from error
        return BundleFile(header.path, written.size_bytes, header.digest)

    def _chunks_of(
        self,
        header: service_pb.UploadArtifactRequest.Header,
        parts: AsyncIterator[service_pb.UploadArtifactRequest],
    ) -> AsyncGenerator[bytes]:
        if max(header.offset_bytes, header.size_bytes) > self._max_artifact_bytes:
            raise UploadTooLarge(header.path, self._max_artifact_bytes)
        begins = header.offset_bytes == 0
        return checked_chunks(
            read_chunks(parts),
            header.path,
            max_bytes=self._max_artifact_bytes - header.offset_bytes,
            check_head=(lambda head: check_head(header.path, head)) if begins else None,
        )

    async def commit(self, request: service_pb.CommitVersionRequest) -> pb.ModelVersion:
        """The version READY, after all stored bytes have been read and checked."""
        listed, inputs = await self._checked_bundle(request.name, request.manifest_digest)
        async with AsyncExitStack() as claims:
            signature, claim = await self._signed(request.name, listed, claims)

            def record(tx: RegistryTx) -> pb.ModelVersion:
                if claim is not None:
                    claim.redeem(tx)
                version = commit_version(
                    tx,
                    request.name,
                    listed,
                    digest=request.manifest_digest,
                    inputs=inputs,
                    signature=signature,
                )
                # A new version has no alias yet.
                return version_to_proto(version, (), verified_at=tx.now)

            return await self._transactions.mutate(request, pb.ModelVersion, record)

    async def _signed(
        self, name: str, listed: Sequence[BundleFile], claims: AsyncExitStack
    ) -> tuple[BundleFile, HeldClaim] | tuple[None, None]:
        """The signature over the files, once it is durable; none where no key is configured.

        Args:
            name: Of the version.
            listed: Its files; empty when they aren't to be committed.
            claims: Holds the claim that keeps the signature until it is recorded.
        """
        if self._signer is None or not listed:
            return None, None
        data = await asyncio.to_thread(self._signer.sign, name, manifest_of(listed))
        claim = await claims.enter_async_context(self._claims.on(digest_of(data)))
        digest = await self._contents.add_bytes(data)
        return BundleFile(SIGNATURE_BUNDLE, len(data), digest), claim

    async def _checked_bundle(
        self, name: str, manifest_digest: str
    ) -> tuple[tuple[BundleFile, ...], tuple[str, ...]]:
        """The files that the manifest lists, and the model's inputs."""
        version, uploaded = await self._transactions.read(
            lambda tx: (the_version(tx, name), tx.uploads(name))
        )
        if version.state is not VersionState.UPLOADING:
            return (), ()  # a repeat, or a mistake that the use case names
        if MANIFEST not in uploaded:
            raise ManifestMismatch(name, [FieldViolation(MANIFEST, "missing: not uploaded")])
        manifest = await self._document(name, uploaded[MANIFEST])
        listed = parse_manifest(name, manifest, manifest_digest)
        compare(name, listed, uploaded)
        return listed, await self._check_contents(name, listed)

    async def _check_contents(self, name: str, listed: Sequence[BundleFile]) -> tuple[str, ...]:
        documents: dict[str, bytes] = {}
        sizes = {file.path: file.size_bytes for file in listed}
        faults, unsafe = [], []
        for file in listed:
            try:
                if file.path.endswith(".json"):
                    documents[file.path] = await self._document(name, file)
                else:
                    async with aclosing(self._chunks(name, file)) as chunks:
                        fault = await inspected(self._inspector, file, chunks, sizes)
                    if fault is not None:
                        unsafe.append(FieldViolation(file.path, fault))
            except DataLoss as error:
                faults.append(FieldViolation(file.path, f"damaged in the store: {error}"))
        if faults:
            raise ManifestMismatch(name, faults)
        if unsafe:
            raise UnsafeBundle(name, unsafe)
        check_json(name, documents)
        return check_signature(name, documents[SIGNATURE])

    async def _document(self, name: str, file: BundleFile) -> bytes:
        if file.size_bytes > _MAX_DOCUMENT_BYTES:
            fault = f"is larger than {_MAX_DOCUMENT_BYTES} bytes"
            raise InvalidManifest(name, [FieldViolation(file.path, fault)])
        async with aclosing(self._chunks(name, file)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    def _chunks(self, name: str, file: BundleFile) -> AsyncGenerator[bytes]:
        return stored_chunks(self._contents, file.digest, owner=name, path=file.path)

    async def download(self, request: service_pb.DownloadArtifactRequest) -> AsyncGenerator[bytes]:
        """One file's bytes from the offset on; verified when that is 0."""
        version = await self._transactions.read(
            lambda tx: the_version(tx, request.version, "version")
        )
        file = version.file(request.path)
        async with aclosing(
            stored_chunks(
                self._contents,
                file.digest,
                owner=request.version,
                path=file.path,
                offset_bytes=request.offset_bytes,
            )
        ) as chunks:
            async for chunk in chunks:
                yield chunk


def _upload_id(version: ModelVersion, path: str, digest: str) -> str:
    """One id for all streams of one file; another for each file."""
    identity = f"{version.meta.uid}\n{path}\n{digest}"
    return hashlib.sha256(identity.encode()).hexdigest()[:32]
