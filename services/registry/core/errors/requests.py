"""What is wrong with any kind of request."""

from __future__ import annotations

from services.common.errors import (
    DataLoss,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PreconditionViolation,
    ResourceExhausted,
)


class UploadTooLarge(ResourceExhausted):
    """The upload is larger than the registry accepts."""

    reason = "UPLOAD_TOO_LARGE"

    def __init__(self, path: str, limit_bytes: int) -> None:
        super().__init__(
            f"{path!r} is larger than {limit_bytes} bytes.",
            subject=path,
            path=path,
            limit_bytes=str(limit_bytes),
        )


class TruncatedUpload(DataLoss):
    """The stream ended early, or its bytes don't match the declared digest."""

    reason = "TRUNCATED_UPLOAD"

    def __init__(self, path: str, declared: str, received: str) -> None:
        super().__init__(
            f"{path!r} is declared as {declared}; what arrived is {received}.",
            path=path,
            declared=declared,
            received=received,
        )


class UploadNotStaged(FailedPrecondition):
    """Nothing was put by the presigned URL."""

    reason = "UPLOAD_NOT_STAGED"

    def __init__(self, path: str, ticket: str) -> None:
        text = f"No bytes of {path!r} were put by the URL of {ticket}; ask for a new one."
        super().__init__(
            text,
            violations=[PreconditionViolation("STAGED", path, text)],
            path=path,
            ticket=ticket,
        )


class BytesMissing(DataLoss):
    """The blob store has lost bytes that the registry has on record."""

    reason = "BYTES_MISSING"

    def __init__(self, name: str, path: str, digest: str) -> None:
        super().__init__(
            f"The bytes {digest} of {path!r} in {name!r} are gone from the blob store.",
            name=name,
            path=path,
            digest=digest,
        )


class ArtifactNotFound(NotFound):
    """No file of the version or snapshot has this path."""

    reason = "ARTIFACT_NOT_FOUND"

    def __init__(self, name: str, path: str) -> None:
        super().__init__(f"{name!r} has no file {path!r}.", name=name, path=path)


class MalformedUpload(InvalidArgument):
    """The upload's first message is not a header, or a later one is."""

    reason = "MALFORMED_UPLOAD"

    def __init__(self, fault: str) -> None:
        super().__init__(fault, violations=[FieldViolation("part", fault)], fault=fault)
