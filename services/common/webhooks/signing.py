"""Signatures of deliveries, as Standard Webhooks 1.0 has them (standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a prefix, no secret
SHORTEST_KEY_BYTES: Final = 24
LONGEST_KEY_BYTES: Final = 64


def key_of(secret: str) -> bytes:
    """The key that a secret stands for.

    Raises:
        ValueError: It isn't `whsec_` and base64 of 24 to 64 bytes; the text doesn't repeat it.
    """
    fault = f"isn't {SECRET_PREFIX} and base64 of {SHORTEST_KEY_BYTES} to {LONGEST_KEY_BYTES} bytes"
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(fault)
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(fault) from None  # its text may hold a part of the secret
    if not SHORTEST_KEY_BYTES <= len(key) <= LONGEST_KEY_BYTES:
        raise ValueError(fault)
    return key


def signed_headers(
    secrets: Sequence[str], message_id: str, time: datetime, body: bytes
) -> Mapping[str, str]:
    """The headers that let a receiver trust `body`.

    Args:
        secrets: The newest first; more than one while a secret is being replaced.
        message_id: The same each time that the message is sent.
        time: Of this attempt.
        body: As it is sent.
    """
    timestamp = str(int(time.timestamp()))
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    signatures = (
        base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest()).decode()
        for secret in secrets
    )
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
