"""For receivers of webhooks: whether a message is what the registry sent, and sent just now.

    from roundhouse.client.webhooks import verify

    verify(secret, headers, body)

A message may come more than once, always with the same `webhook-id`: do nothing for one that
was handled already. Any library for Standard Webhooks does the same.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from typing import Final

from roundhouse.client.errors import RoundhouseError

TOLERANCE_S: Final = 300.0
"""How old a message may be, so that a recorded one can't be played back later."""

_PREFIX: Final = "whsec_"
_KEY_BYTES: Final = 32


class InvalidSignature(RoundhouseError):
    """The message is not from who knows the secret, was changed, or is too old."""


def new_secret() -> str:
    """A fresh random secret."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def verify(
    secret: str, headers: Mapping[str, str], body: bytes, *, tolerance_s: float = TOLERANCE_S
) -> None:
    """Pass only a message that was signed with `secret` and is fresh.

    Args:
        secret: `whsec_` and base64.
        headers: Of the request, in whatever case.
        body: Exactly as it came.
        tolerance_s: Most seconds between the sender's clock and this one.

    Raises:
        InvalidSignature: It isn't; treat it as if it had never come.
    """
    given = {key.lower(): value for key, value in headers.items()}
    try:
        message_id, timestamp = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"].split(" ")
        age_s = abs(time.time() - int(timestamp))
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (KeyError, ValueError, binascii.Error):
        raise InvalidSignature("The message is not signed as Standard Webhooks has it.") from None
    if age_s > tolerance_s:
        raise InvalidSignature(f"The message is {age_s:.0f} s old.")
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    if not any(hmac.compare_digest(each, f"v1,{expected}") for each in signatures):
        raise InvalidSignature("The message is not signed with this secret.")
