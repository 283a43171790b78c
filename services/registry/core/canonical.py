"""Canonical JSON, and the digests that identities and evidence are made of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

Json: TypeAlias = str | int | float | bool | Sequence["Json"] | Mapping[str, "Json"] | None

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def canonical_json(value: Json) -> bytes:
    """`value` as UTF-8 JSON with sorted keys and no white space: one value, one text.

    Raises:
        ValueError: A number is NaN or infinite, which JSON has no text for.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_of_bytes(data: bytes) -> str:
    """`sha256:` and the 64 hex digits of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of(value: Json) -> str:
    """The digest of `value`'s canonical JSON."""
    return digest_of_bytes(canonical_json(value))


def is_digest(text: str) -> bool:
    """Whether `text` is `sha256:` and 64 lower-case hex digits."""
    return _DIGEST.fullmatch(text) is not None
