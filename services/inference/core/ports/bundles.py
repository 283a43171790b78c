"""Versions' files, from the registry to the local disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.inference.core.signature import Signature


@dataclass(frozen=True, slots=True)
class Bundle:
    """A version's files on the local disk, each verified against its digest.

    Attributes:
        digest: `sha256:` + sha256 of the manifest.
        folder: Holds `model.onnx` and the other files; read-only by agreement.
    """

    version: str
    digest: str
    folder: Path
    signature: Signature


class BundleSource(Protocol):
    """Where bundles come from."""

    def read(self, version: str, path: str) -> AsyncIterator[bytes]:
        """The bytes of one file of a version's bundle, in order, unverified.

        Raises:
            NotFound: The version, or the file, doesn't exist.
            Unavailable: The source is away.
        """
        ...

    async def signature_of(self, version: str) -> bytes | None:
        """The signature over the version's manifest; None if it is unsigned.

        Raises:
            Unavailable: The source is away.
        """
        ...


class SignatureVerifier(Protocol):
    """Knows whose versions may be served. Blocks: call it in a thread."""

    def verify(self, version: str, manifest: bytes, signature: bytes) -> None:
        """Pass only a signature of the trusted key over this manifest of this version.

        Raises:
            WrongSigningKey: Another key made it.
            SignatureTampered: It is not as the key made it.
            SignatureOfAnotherVersion: It is of something else.
        """
        ...


class Bundles(Protocol):
    """Verified bundles."""

    async def fetch(self, version: str, digest: str) -> Bundle:
        """The bundle with `digest`, downloaded unless it is here already.

        Raises:
            BundleCorrupt: A file, or the manifest, does not match its digest.
            UnservableBundle: The bundle is intact but its signature can't be served.
            VersionUnsigned, WrongSigningKey, SignatureTampered, SignatureOfAnotherVersion:
                Its signature does not let this server serve it.
        """
        ...

    async def retain(self, digests: Iterable[str]) -> None:
        """Forget every bundle but these."""
        ...
