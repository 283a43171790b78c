"""Signatures of OpenSSF model-signing, made with a key from a file."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from model_signing import signing

from services.registry.core.bundles import MANIFEST, SIGNATURE_BUNDLE


class KeySigner:
    """Implements `BundleSigner` with an elliptic-curve key.

    What is signed is a folder of the manifest alone, called as the version is: so the
    signature binds every file's digest and the version's name.

    Args:
        key_file: PEM of a private key on P-256, P-384 or P-521, without a password.

    Raises:
        ValueError, OSError: It is none.
    """

    def __init__(self, key_file: Path) -> None:
        self._config = signing.Config().use_elliptic_key_signer(private_key=key_file)  # type: ignore[no-untyped-call]  # it has no types

    def sign(self, version: str, manifest: bytes) -> bytes:
        """See `BundleSigner`."""
        with TemporaryDirectory(prefix="roundhouse-") as parent:
            folder = Path(parent, version.replace("/", "."))
            folder.mkdir()
            (folder / MANIFEST).write_bytes(manifest)
            signature = Path(parent, SIGNATURE_BUNDLE)
            self._config.sign(folder, signature)
            return signature.read_bytes()
