"""What is refused about versions' files and the signatures over them."""

from __future__ import annotations

from services.common.errors import (
    DataLoss,
    FailedPrecondition,
    PreconditionViolation,
)


class UnservableBundle(FailedPrecondition):
    """The version's bundle is intact but this server can't serve it."""

    reason = "BUNDLE_NOT_SERVABLE"

    def __init__(self, subject: str, description: str) -> None:
        super().__init__(
            f"{subject}: {description}",
            violations=[PreconditionViolation("BUNDLE", subject, description)],
            subject=subject,
        )


class BundleCorrupt(DataLoss):
    """A file of the bundle does not match its digest."""

    reason = "BUNDLE_CORRUPT"

    def __init__(self, version: str, path: str, expected: str, actual: str) -> None:
        super().__init__(
            f"{path} of {version} has digest {actual}, not {expected}.",
            version=version,
            path=path,
            expected=expected,
            actual=actual,
        )


class VersionNotServable(FailedPrecondition):
    """The registry does not offer this version for serving, or it can't be loaded."""

    reason = "VERSION_NOT_SERVABLE"

    def __init__(self, version: str, description: str) -> None:
        super().__init__(
            f"{version!r} can't be served: {description}.",
            violations=[PreconditionViolation("VERSION", version, description)],
            version=version,
        )


class VersionUnsigned(FailedPrecondition):
    """The version has no signature, and only signed ones are served."""

    reason = "VERSION_UNSIGNED"

    def __init__(self, version: str) -> None:
        text = f"{version!r} is not signed, and this server serves signed versions only."
        super().__init__(
            text, violations=[PreconditionViolation("SIGNED", version, text)], version=version
        )


class WrongSigningKey(FailedPrecondition):
    """The version was signed with another key than the trusted one.

    Args:
        version: That can't be served.
        key: sha256 of the signer's public key, as the signature claims.
        trusted: sha256 of the trusted one.
    """

    reason = "WRONG_SIGNING_KEY"

    def __init__(self, version: str, key: str, trusted: str) -> None:
        text = f"{version!r} is signed with the key {key}, and only {trusted} is trusted."
        super().__init__(
            text,
            violations=[PreconditionViolation("SIGNED", version, text)],
            version=version,
            key=key,
            trusted=trusted,
        )


class SignatureTampered(DataLoss):
    """The signature is not as its key made it."""

    reason = "SIGNATURE_TAMPERED"

    def __init__(self, version: str, fault: str) -> None:
        super().__init__(f"The signature of {version!r} is not genuine: {fault}.", version=version)


class SignatureOfAnotherVersion(FailedPrecondition):
    """An authentic signature that stands at the wrong version."""

    reason = "SIGNATURE_OF_ANOTHER_VERSION"

    def __init__(self, version: str, signed: str) -> None:
        text = f"The signature of {version!r} is genuine, and of {signed}."
        super().__init__(
            text,
            violations=[PreconditionViolation("SIGNED", version, text)],
            version=version,
            signed=signed,
        )
