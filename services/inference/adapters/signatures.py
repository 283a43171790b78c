"""Signatures of OpenSSF model-signing, held against a public key from a file."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from model_signing import verifying

from services.inference.core.errors import (
    SignatureOfAnotherVersion,
    SignatureTampered,
    WrongSigningKey,
)

_MISMATCH = "Signature mismatch"
"""How model-signing 1.1 begins to say that an authentic signature is of other files."""


class KeyVerifier:
    """Implements `SignatureVerifier` with an elliptic-curve key.

    Args:
        key_file: PEM of the public key.

    Raises:
        ValueError, OSError: It is none.
    """

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        key = load_pem_public_key(key_file.read_bytes())
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self._hint = hashlib.sha256(pem).hexdigest()
        verifying.Config().use_elliptic_key_verifier(public_key=key_file)  # type: ignore[no-untyped-call]  # it has no types

    def verify(self, version: str, manifest: bytes, signature: bytes) -> None:
        """See `SignatureVerifier`."""
        hint, subject = _told(version, signature)
        if hint != self._hint:
            raise WrongSigningKey(version, hint, self._hint)
        name = version.replace("/", ".")
        with TemporaryDirectory(prefix="roundhouse-") as parent:
            folder = Path(parent, name)
            folder.mkdir()
            (folder / "manifest.json").write_bytes(manifest)
            file = Path(parent, "model.sig")
            file.write_bytes(signature)
            self._verify(version, folder, file)
        if subject != name:
            raise SignatureOfAnotherVersion(version, subject)

    def _verify(self, version: str, folder: Path, signature: Path) -> None:
        config = verifying.Config().use_elliptic_key_verifier(public_key=self._key_file)  # type: ignore[no-untyped-call]  # it has no types
        try:
            config.verify(folder, signature)
        except InvalidSignature as error:
            raise SignatureTampered(version, "its content was changed") from error
        except ValueError as error:
            if str(error).startswith(_MISMATCH):
                raise SignatureOfAnotherVersion(version, "other files") from error
            raise SignatureTampered(version, str(error)) from error
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise SignatureTampered(version, f"it can't be read: {error!r}") from error


def _told(version: str, signature: bytes) -> tuple[str, str]:
    """The key and the subject that a signature claims, before anything is proved."""
    try:
        document = json.loads(signature)
        statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
        hint = document["verificationMaterial"]["publicKey"]["hint"]
        return str(hint), str(statement["subject"][0]["name"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise SignatureTampered(version, f"it can't be read: {error!r}") from error
