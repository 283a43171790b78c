"""Where batch predictions come from and go to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.inference.core.batches import (
    BatchPredictionJob,
    InputSnapshot,
    Part,
    WrittenPart,
)
from services.inference.core.rows import Rows
from services.inference.core.signature import Signature

Scorer: TypeAlias = Callable[[Rows], Awaitable[NDArray[np.float32]]]
"""Probability of class 1 for each of the rows, float32 [rows]."""


class BatchFiles(Protocol):
    """Reads the rows of parts, and keeps what was predicted."""

    def url_of(self, job: BatchPredictionJob) -> str:
        """Where the job's output is."""
        ...

    async def predict(
        self, job: BatchPredictionJob, part: Part, signature: Signature, score: Scorer
    ) -> WrittenPart:
        """The part, durable; one that is there already is not predicted again.

        Raises:
            DataLoss: The snapshot's bytes are not what its manifest says.
            SnapshotNotUsable: The registry no longer has them.
            Unavailable: The registry or the object store is away.
        """
        ...

    async def write_manifest(self, job: BatchPredictionJob) -> str:
        """The digest of the manifest, which is durable. Idempotent."""
        ...

    async def remove(self, job: BatchPredictionJob) -> None:
        """Delete whatever the job wrote. Idempotent."""
        ...

    async def forget(self) -> None:
        """Free what is kept on this machine."""
        ...


class BatchCatalog(Protocol):
    """What a job has to know of the registry before it is created."""

    async def snapshot(self, name: str) -> InputSnapshot:
        """A sealed snapshot.

        Raises:
            SnapshotNotUsable: It is unknown, not sealed, collected, or under a privacy hold.
            Unavailable: The registry is away.
        """
        ...

    async def version_of(self, model: str) -> str:
        """The version that a version's or an alias's name means now.

        Raises:
            VersionNotServable: There is no such alias.
        """
        ...

    async def digest_of(self, version: str) -> str:
        """See `VersionCatalog`."""
        ...

    async def signature(self, version: str) -> Signature:
        """What a version takes and gives.

        Raises:
            VersionNotServable, UnservableBundle: It has none that could be served.
        """
        ...

    async def pin(self, job: str, target: str) -> None:
        """Keep a snapshot or version in the registry for a job that is about to need it."""
        ...
