"""What goes wrong with stored bytes.

NotFound      ── BlobNotFound
AlreadyExists ── BlobExists
Conflict      ┬─ BlobChanged
              ├─ UploadChanged
              └─ UploadOffsetMismatch
InvalidArgument ── OffsetOutOfRange
FailedPrecondition ── PresigningUnsupported
DataLoss      ┬─ DigestMismatch
              └─ SizeMismatch
Unavailable   ── BlobStoreUnavailable
Exception     ┬─ UnsafeStoreError       (at start only)
              └─ DeletionExpired        (inside a service only)
"""

from __future__ import annotations

from services.common.errors import (
    AlreadyExists,
    Conflict,
    DataLoss,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PreconditionViolation,
    Unavailable,
)


class BlobNotFound(NotFound):
    """Nothing is stored under the key."""

    reason = "BLOB_NOT_FOUND"

    def __init__(self, key: str) -> None:
        super().__init__(f"Nothing is stored under {key}.", key=key)


class BlobExists(AlreadyExists):
    """The key is taken, and the write was to create it."""

    reason = "BLOB_EXISTS"

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is already stored.", key=key)


class BlobChanged(Conflict):
    """Another writer swapped the blob first."""

    reason = "BLOB_CHANGED"

    def __init__(self, key: str, etag: str | None) -> None:
        expected = "be absent" if etag is None else f"have the etag {etag}"
        super().__init__(
            f"{key} was expected to {expected} and did not: load it again and retry.",
            key=key,
            etag=etag or "",
        )


class UploadChanged(Conflict):
    """Another stream took the upload up, or what had arrived of it was dropped."""

    reason = "UPLOAD_CHANGED"

    def __init__(self, upload: str) -> None:
        super().__init__(
            f"The upload {upload} goes on elsewhere or was dropped: ask how much of it has "
            "arrived, and go on from there.",
            upload=upload,
        )


class UploadOffsetMismatch(Conflict):
    """A stream that neither starts an upload nor goes on where it broke off."""

    reason = "UPLOAD_OFFSET_MISMATCH"

    def __init__(self, upload: str, offset: int, received_bytes: int) -> None:
        super().__init__(
            f"{received_bytes} bytes of the upload {upload} have arrived; it can't go on from "
            f"byte {offset}. Go on from {received_bytes}, or start over from 0.",
            upload=upload,
            offset=str(offset),
            received_bytes=str(received_bytes),
        )


class PresigningUnsupported(FailedPrecondition):
    """The bytes are where no URL leads."""

    reason = "PRESIGNING_UNSUPPORTED"

    def __init__(self, store: str) -> None:
        text = (
            f"The bytes are kept in {store}, which no URL leads to: stream them through the "
            "service instead, or configure an S3."
        )
        super().__init__(
            text, violations=[PreconditionViolation("STORE", store, text)], store=store
        )


class OffsetOutOfRange(InvalidArgument):
    """A read that would start behind the blob's end."""

    reason = "OFFSET_OUT_OF_RANGE"

    def __init__(self, key: str, offset: int, size_bytes: int) -> None:
        super().__init__(
            f"{key} has {size_bytes} bytes; it can't be read from byte {offset}.",
            violations=[FieldViolation("offset", f"must be between 0 and {size_bytes}")],
            key=key,
            offset=str(offset),
            size_bytes=str(size_bytes),
        )


class DigestMismatch(DataLoss):
    """Bytes that are not the ones their digest promises."""

    reason = "DIGEST_MISMATCH"

    def __init__(self, digest: str, actual: str) -> None:
        super().__init__(
            f"The bytes hash to {actual} and were to hash to {digest}.",
            digest=digest,
            actual=actual,
        )


class SizeMismatch(DataLoss):
    """A stream of more or fewer bytes than promised; `actual` counts those that came."""

    reason = "SIZE_MISMATCH"

    def __init__(self, size_bytes: int, actual: int) -> None:
        super().__init__(
            f"{actual} bytes came where {size_bytes} were promised.",
            size_bytes=str(size_bytes),
            actual=str(actual),
        )


class BlobStoreUnavailable(Unavailable):
    """The store could not be reached or gave up; a write may or may not have happened."""

    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self, detail: str) -> None:
        super().__init__(f"The object store is unavailable: {detail}.", dependency="object store")


class UnsafeStoreError(Exception):
    """A store that must not be used, since it would lose acknowledged writes."""


class DeletionExpired(Exception):
    """A deletion came too late, and nothing was removed."""

    def __init__(self, key: str) -> None:
        super().__init__(f"The time in which {key} could be removed is over.")
