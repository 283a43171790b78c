"""Model versions and the moves their life cycle allows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from services.common.resources import Meta
from services.registry.core.bundles import MANIFEST, BundleFile, manifest_of
from services.registry.core.errors import ArtifactNotFound, IllegalTransition, VersionNotReady


class VersionState(StrEnum):
    """Where a version stands."""

    UPLOADING = "UPLOADING"
    READY = "READY"
    REJECTED = "REJECTED"
    DEPRECATED = "DEPRECATED"


_NEXT: Final = {
    VersionState.UPLOADING: frozenset({VersionState.READY, VersionState.REJECTED}),
    VersionState.READY: frozenset({VersionState.DEPRECATED}),
    VersionState.REJECTED: frozenset[VersionState](),
    VersionState.DEPRECATED: frozenset[VersionState](),
}


@dataclass(frozen=True, slots=True)
class Ancestry:
    """What a version was made from; names may be empty where nothing applies.

    Attributes:
        snapshots: Sealed snapshots that it was trained on.
        training_job: The trainer's job that made it.
        parent_version: The version that it was retrained from.
    """

    snapshots: tuple[str, ...]
    training_job: str
    parent_version: str


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One immutable bundle of a model.

    Attributes:
        meta: `projects/{p}/models/{m}/versions/{n}`.
        number: 1, 2, … in the order of BeginVersionUpload; never used again.
        files: The bundle without its manifest, sorted by path; empty before READY.
        digest: Of the canonical manifest; None before READY.
    """

    meta: Meta
    number: int
    state: VersionState
    ancestry: Ancestry
    files: tuple[BundleFile, ...] = ()
    digest: str | None = None

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(file.size_bytes for file in self.files)

    def file(self, path: str) -> BundleFile:
        """The file at `path`, or the manifest.

        Raises:
            VersionNotReady: Its bytes aren't committed.
            ArtifactNotFound: There is no such file.
        """
        if self.digest is None:
            raise VersionNotReady(self.meta.name, self.state)
        if path == MANIFEST:
            return BundleFile(MANIFEST, len(manifest_of(self.files)), self.digest)
        for file in self.files:
            if file.path == path:
                return file
        raise ArtifactNotFound(self.meta.name, path)

    def need_ready(self) -> None:
        """Pass only for a version that may be used.

        Raises:
            VersionNotReady: It is in another state.
        """
        if self.state is not VersionState.READY:
            raise VersionNotReady(self.meta.name, self.state)

    def can_move_to(self, state: VersionState) -> None:
        """Pass only if the life cycle has this move.

        Raises:
            IllegalTransition: It hasn't.
        """
        if state not in _NEXT[self.state]:
            raise IllegalTransition(self.meta.name, self.state, state)

    def moved_to(self, state: VersionState, now: datetime) -> ModelVersion:
        """This version in `state`.

        Raises:
            IllegalTransition: The life cycle has no such move.
        """
        self.can_move_to(state)
        return replace(self, meta=self.meta.touched(now), state=state)

    def committed(self, digest: str, files: tuple[BundleFile, ...], now: datetime) -> ModelVersion:
        """This version READY, with its bundle fixed.

        Raises:
            IllegalTransition: It isn't UPLOADING.
        """
        return replace(
            self.moved_to(VersionState.READY, now),
            files=files,
            digest=digest,
        )
