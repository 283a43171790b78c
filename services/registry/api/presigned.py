"""A version's files, moved between clients and the object store without the registry between."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from roundhouse.registry.v1 import model_pb2 as pb
from roundhouse.registry.v1 import model_service_pb2 as service_pb

from services.common.blobs.content import ContentStore
from services.common.blobs.digests import parse_digest
from services.common.blobs.errors import BlobNotFound, DigestMismatch
from services.common.blobs.staging import Staging
from services.common.clock import Clock
from services.common.errors import InvalidArgument
from services.common.rpc.convert import to_timestamp
from services.registry.api.claims import BlobClaims
from services.registry.api.convert.models import artifact_to_proto
from services.registry.api.transactions import Transactions
from services.registry.api.uploads import checked_chunks
from services.registry.core.bundles import BundleFile, check_head, check_path
from services.registry.core.errors import TruncatedUpload, UploadNotStaged, UploadTooLarge
from services.registry.core.ports import RegistryTx
from services.registry.core.use_cases.lookup import the_version
from services.registry.core.use_cases.versions import need_open, record_artifact

_DEFAULT_LIFETIME: Final = timedelta(minutes=15)


class PresignedFiles:
    """Gives leave to put and read files, and checks what was put.

    Args:
        transactions: The registry's.
        contents: Where the files are kept.
        claims: Keep contents that uploads rely on.
        staging: Where they wait until they are checked.
        now: The clock.
        max_artifact_bytes: Largest file that is accepted.
    """

    def __init__(
        self,
        transactions: Transactions,
        contents: ContentStore,
        claims: BlobClaims,
        staging: Staging,
        now: Clock,
        *,
        max_artifact_bytes: int,
    ) -> None:
        self._transactions = transactions
        self._contents = contents
        self._claims = claims
        self._staging = staging
        self._now = now
        self._max_artifact_bytes = max_artifact_bytes

    async def create_upload_urls(
        self, request: service_pb.CreateUploadUrlsRequest
    ) -> service_pb.CreateUploadUrlsResponse:
        """Leave to put each file in a place of its own."""
        for file in request.files:
            check_path(file.path)
            if file.size_bytes > self._max_artifact_bytes:
                raise UploadTooLarge(file.path, self._max_artifact_bytes)
        await self._transactions.read(lambda tx: need_open(tx, request.version, "version"))
        lifetime = _lifetime(request.lifetime, request.HasField("lifetime"))
        response = service_pb.CreateUploadUrlsResponse()
        for file in request.files:
            offer = self._staging.offer(parse_digest(file.digest), file.size_bytes, lifetime)
            response.urls.add(
                path=file.path,
                url=offer.request.url,
                headers=offer.request.headers,
                ticket=offer.ticket,
                expire_time=to_timestamp(offer.expire_time),
            )
        return response

    async def complete(self, request: service_pb.CompleteUploadRequest) -> pb.ArtifactFile:
        """The file, once what was put has been checked and stored for good. Idempotent."""
        answered = await self._transactions.answered(request, pb.ArtifactFile)
        if answered is not None:
            return answered
        check_path(request.path)
        await self._transactions.read(lambda tx: need_open(tx, request.version, "version"))
        async with self._claims.on(request.digest) as claim:
            file = await self._accepted(request)

            def record(tx: RegistryTx) -> pb.ArtifactFile:
                claim.redeem(tx)
                return artifact_to_proto(record_artifact(tx, request.version, file))

            recorded = await self._transactions.mutate(request, pb.ArtifactFile, record)
        await self._staging.free(request.ticket)
        return recorded

    async def _accepted(self, request: service_pb.CompleteUploadRequest) -> BundleFile:
        """The file, copied to where its digest says; a URL can't change it there."""
        path, digest = request.path, request.digest
        try:
            async with aclosing(self._staged_chunks(request)) as chunks:
                written = await self._contents.add(parse_digest(digest), chunks)
        except BlobNotFound:
            raise UploadNotStaged(path, request.ticket) from None
        except DigestMismatch as error:
            await self._staging.free(request.ticket)
            raise TruncatedUpload(path, digest, error.metadata["actual"]) from error
        except InvalidArgument:
            await self._staging.free(request.ticket)
            raise
        return BundleFile(path, written.size_bytes, digest)

    def _staged_chunks(self, request: service_pb.CompleteUploadRequest) -> AsyncGenerator[bytes]:
        return checked_chunks(
            self._staging.read(request.ticket),
            request.path,
            max_bytes=self._max_artifact_bytes,
            check_head=lambda head: check_head(request.path, head),
        )

    async def create_download_urls(
        self, request: service_pb.CreateDownloadUrlsRequest
    ) -> service_pb.CreateDownloadUrlsResponse:
        """Leave to read files of a committed version."""
        version = await self._transactions.read(
            lambda tx: the_version(tx, request.version, "version")
        )
        version.need_whole()
        paths = request.paths or [file.path for file in version.committed_files()]
        lifetime = _lifetime(request.lifetime, request.HasField("lifetime"))
        expire_time = to_timestamp((self._now() + lifetime).replace(microsecond=0))
        response = service_pb.CreateDownloadUrlsResponse()
        for path in paths:
            file = version.file(path)
            signed = self._contents.presigned(parse_digest(file.digest), lifetime=lifetime)
            response.urls.add(file=artifact_to_proto(file), url=signed.url, expire_time=expire_time)
        return response


def _lifetime(wanted: Duration, is_set: bool) -> timedelta:
    """Whole seconds, as S3 counts them."""
    return timedelta(seconds=wanted.seconds) if is_set else _DEFAULT_LIFETIME
