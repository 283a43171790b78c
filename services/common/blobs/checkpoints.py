"""How far a stream has come, kept so that a later one can go on from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

PARTIAL_PREFIX: Final = "staged/partial/"
"""A record for each upload that has begun and not ended: `staged/partial/<upload>`."""

CHECKPOINT_BYTES: Final = 32 << 20
"""A stream notes how far it is after this many bytes, and when it breaks off."""


@dataclass(frozen=True, slots=True)
class DigestState:
    """The running check of a stream's first bytes.

    Attributes:
        size_bytes: How many they are.
        sha256: What `RunningSha256` goes on from; None where it can't.
    """

    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The durable beginning of a blob.

    Attributes:
        state: How long it is and what its digest is so far.
        pieces: Where the store has it; only the store can tell what they mean.
    """

    state: DigestState
    pieces: tuple[str, ...]


class Journal(Protocol):
    """Remembers the checkpoints of one stream."""

    @property
    def upload(self) -> str:
        """Names the upload that the stream belongs to; a segment of a key."""
        ...

    @property
    def begun(self) -> Checkpoint | None:
        """Where the stream goes on; None if it starts the blob."""
        ...

    async def save(self, checkpoint: Checkpoint) -> None:
        """Remember it, durably.

        Raises:
            UploadChanged: Another stream has taken the upload up.
        """
        ...
