"""What may befall stored bytes."""

from __future__ import annotations

from enum import StrEnum

from services.common.blobs.digests import once
from services.common.blobs.port import BlobStore


class Damage(StrEnum):
    """Ways in which an object stops being what it was."""

    FLIPPED = "one bit flipped"
    TRUNCATED = "truncated"
    DELETED = "deleted"
    SWAPPED = "swapped"


async def damage(store: BlobStore, key: str, how: Damage, other_key: str) -> bytes:
    """Damage an object behind the registry's back; gives the bytes that it had.

    Args:
        store: That has it.
        key: Of the object.
        how: What happens to it.
        other_key: Of the object whose bytes take its place when they are swapped.
    """
    data = (await store.load(key)).data
    match how:
        case Damage.FLIPPED:
            place = len(data) // 2
            flipped = bytearray(data)
            flipped[place] ^= 1 << (place % 8)
            await store.put(key, once(bytes(flipped)))
        case Damage.TRUNCATED:
            await store.put(key, once(data[:-1]))
        case Damage.DELETED:
            await store.delete(key)
        case Damage.SWAPPED:
            await store.put(key, once((await store.load(other_key)).data))
    return data
