"""Model versions and the moves their life cycle allows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from services.common.resources import Meta
from services.registry.core.bundles import MANIFEST, BundleFile, manifest_of
from services.registry.core.errors import (
    ArtifactNotFound,
    BytesCollected,
    IllegalTransition,
    VersionNotReady,
    VersionQuarantined,
)
from services.registry.core.integrity import FileFault, summary


class VersionState(StrEnum):
    """Where a version stands."""

    UPLOADING = "UPLOADING"
    READY = "READY"
    REJECTED = "REJECTED"
    DEPRECATED = "DEPRECATED"
    QUARANTINED = "QUARANTINED"
    DELETED = "DELETED"


COMMITTED: Final = frozenset(
    {VersionState.READY, VersionState.DEPRECATED, VersionState.QUARANTINED}
)
"""States of a version whose bundle is fixed."""

_NEXT: Final = {
    VersionState.UPLOADING: frozenset({VersionState.READY, VersionState.REJECTED}),
    VersionState.READY: frozenset(
        {VersionState.DEPRECATED, VersionState.QUARANTINED, VersionState.DELETED}
    ),
    VersionState.REJECTED: frozenset[VersionState](),
    VersionState.DEPRECATED: frozenset({VersionState.QUARANTINED, VersionState.DELETED}),
    VersionState.QUARANTINED: frozenset(
        {VersionState.READY, VersionState.DEPRECATED, VersionState.DELETED}
    ),
    VersionState.DELETED: frozenset[VersionState](),
}


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Why a version may not be used.

    Attributes:
        time: When it began.
        faults: What was found last.
        former: Where the version stood before.
    """

    time: datetime
    faults: tuple[FileFault, ...]
    former: VersionState


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
        quarantine: Why it is QUARANTINED; None in other states.
        collected_by: Plan that removed its bytes; empty unless DELETED.
        collect_time: When it did.
        signature: Over the manifest and the name, a file of its own; None if unsigned.
    """

    meta: Meta
    number: int
    state: VersionState
    ancestry: Ancestry
    files: tuple[BundleFile, ...] = ()
    digest: str | None = None
    quarantine: Quarantine | None = None
    collected_by: str = ""
    collect_time: datetime | None = None
    signature: BundleFile | None = None

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(file.size_bytes for file in self.files)

    @property
    def contents(self) -> tuple[str, ...]:
        """Digests of the stored contents that it relies on, its manifest's among them."""
        if self.digest is None or self.state is VersionState.DELETED:
            return ()
        signature = () if self.signature is None else (self.signature.digest,)
        files = (file.digest for file in self.files)
        return tuple(dict.fromkeys((self.digest, *files, *signature)))

    def need_bytes(self) -> None:
        """Pass unless its bytes have been collected.

        Raises:
            BytesCollected: They have.
        """
        if self.collect_time is not None:
            raise BytesCollected(self.meta.name, self.collected_by, self.collect_time.isoformat())

    def collected(self, plan: str, now: datetime) -> ModelVersion:
        """This version without its bytes; its record stays.

        Raises:
            IllegalTransition: It has none, or may not lose them.
        """
        return replace(
            self.moved_to(VersionState.DELETED, now),
            collected_by=plan,
            collect_time=now,
            quarantine=None,
        )

    def file(self, path: str) -> BundleFile:
        """The file at `path`, or the manifest.

        Raises:
            VersionNotReady: Its bytes aren't committed.
            BytesCollected: They are gone.
            VersionQuarantined: They aren't whole any more.
            ArtifactNotFound: There is no such file.
        """
        self.need_whole()
        return self.committed_file(path)

    def committed_file(self, path: str) -> BundleFile:
        """The file at `path` as it was committed, whatever became of its bytes.

        Raises:
            VersionNotReady: Nothing is committed.
            BytesCollected: It was given up.
            ArtifactNotFound: There is no such file.
        """
        for file in self.committed_files():
            if file.path == path:
                return file
        raise ArtifactNotFound(self.meta.name, path)

    def committed_files(self) -> tuple[BundleFile, ...]:
        """Every file that the store must hold for it: the bundle's, its manifest and signature.

        Raises:
            VersionNotReady: Nothing is committed.
            BytesCollected: They have been given up.
        """
        if self.digest is None:
            raise VersionNotReady(self.meta.name, self.state)
        self.need_bytes()
        manifest = BundleFile(MANIFEST, len(manifest_of(self.files)), self.digest)
        signature = () if self.signature is None else (self.signature,)
        return (manifest, *self.files, *signature)

    def need_whole(self) -> None:
        """Pass unless its bytes were found missing or changed.

        Raises:
            VersionQuarantined: They were.
        """
        if self.quarantine is not None:
            faults = self.quarantine.faults
            raise VersionQuarantined(self.meta.name, faults[0].path, summary(faults))

    def need_ready(self) -> None:
        """Pass only for a version that may be used.

        Raises:
            VersionQuarantined: Its bytes were found missing or changed.
            VersionNotReady: It is in another state.
        """
        self.need_whole()
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

    def quarantined(self, faults: tuple[FileFault, ...], now: datetime) -> ModelVersion:
        """This version QUARANTINED for `faults`, at least one.

        Raises:
            IllegalTransition: It isn't committed.
        """
        if self.quarantine is not None:
            return replace(
                self,
                meta=self.meta.touched(now),
                quarantine=replace(self.quarantine, faults=faults),
            )
        return replace(
            self.moved_to(VersionState.QUARANTINED, now),
            quarantine=Quarantine(now, faults, self.state),
        )

    def restored(self, now: datetime) -> ModelVersion:
        """This version where it stood before its quarantine.

        Raises:
            IllegalTransition: It isn't QUARANTINED.
        """
        if self.quarantine is None:
            raise IllegalTransition(
                self.meta.name, self.state, VersionState.READY, "it isn't QUARANTINED"
            )
        return replace(self.moved_to(self.quarantine.former, now), quarantine=None)
