"""Plans of garbage collections: what would go, what stays, and how far the run has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from services.common.resources import Meta
from services.registry.core.canonical import digest_of
from services.registry.core.errors import CollectionPlanExpired
from services.registry.core.retention.reachability import Root

DEFAULT_VALIDITY: Final = timedelta(hours=1)
LONGEST_VALIDITY: Final = timedelta(days=7)


class PlanState(StrEnum):
    """Where a plan stands."""

    PLANNED = "PLANNED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    EXPIRED = "EXPIRED"


class ItemKind(StrEnum):
    """What an item is."""

    VERSION = "VERSION"
    SNAPSHOT = "SNAPSHOT"
    BLOB = "BLOB"
    PARTIAL_UPLOAD = "PARTIAL_UPLOAD"


class ItemState(StrEnum):
    """What becomes of an item."""

    KEPT = "KEPT"
    PENDING = "PENDING"
    CONDEMNED = "CONDEMNED"
    COLLECTED = "COLLECTED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True)
class Counts:
    """A number of items of each kind."""

    versions: int = 0
    snapshots: int = 0
    blobs: int = 0
    partial_uploads: int = 0
    size_bytes: int = 0

    def plus(self, item: Item) -> Counts:
        """These and one more; only a blob's bytes are freed."""
        match item.kind:
            case ItemKind.VERSION:
                return replace(self, versions=self.versions + 1)
            case ItemKind.SNAPSHOT:
                return replace(self, snapshots=self.snapshots + 1)
            case ItemKind.BLOB:
                return replace(
                    self, blobs=self.blobs + 1, size_bytes=self.size_bytes + item.size_bytes
                )
            case ItemKind.PARTIAL_UPLOAD:
                return replace(self, partial_uploads=self.partial_uploads + 1)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a plan looked at.

    Attributes:
        position: In the plan, from 1.
        subject: Resource name, digest of a blob, key of a partial upload.
        detail: Why nothing reaches it, or why it was spared.
        handle: What the store calls a partial upload.
        root: What keeps it, if anything does.
    """

    position: int
    kind: ItemKind
    subject: str
    size_bytes: int
    state: ItemState
    detail: str = ""
    handle: str = ""
    root: Root | None = None
    settle_time: datetime | None = None


class PlanItems(Protocol):
    """The items of plans, in one transaction."""

    def add(self, plan: str, items: Sequence[Item]) -> None:
        """Store a new plan's items."""
        ...

    def unsettled(self, plan: str) -> Item | None:
        """The first that is PENDING or CONDEMNED."""
        ...

    def settle(self, plan: str, item: Item) -> None:
        """Store what has become of an item."""
        ...


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """What a collection would remove, or has removed.

    Attributes:
        meta: `projects/{p}/collectionPlans/{plan}`.
        progress: PLANNED, RUNNING or SUCCEEDED; expiry comes with time, see `state_at`.
        digest: Over the items to be collected, in order.
        kept: How much stays for each kind of root.
    """

    meta: Meta
    progress: PlanState
    digest: str
    expire_time: datetime
    actor: str
    planned: Counts
    kept: Mapping[str, int] = field(default_factory=dict)
    collected: Counts = Counts()
    skipped: int = 0
    start_time: datetime | None = None
    end_time: datetime | None = None

    def state_at(self, now: datetime) -> PlanState:
        """Where it stands at `now`."""
        if self.progress is PlanState.PLANNED and now >= self.expire_time:
            return PlanState.EXPIRED
        return self.progress

    def begun(self, now: datetime) -> CollectionPlan:
        """This plan RUNNING.

        Raises:
            CollectionPlanExpired: It was not run in time.
        """
        if self.state_at(now) is PlanState.EXPIRED:
            raise CollectionPlanExpired(self.meta.name, self.expire_time.isoformat())
        return replace(
            self, meta=self.meta.touched(now), progress=PlanState.RUNNING, start_time=now
        )

    def settled(self, item: Item, now: datetime) -> CollectionPlan:
        """This plan with one more item collected or skipped."""
        meta = self.meta.touched(now)
        if item.state is ItemState.COLLECTED:
            return replace(self, meta=meta, collected=self.collected.plus(item))
        return replace(self, meta=meta, skipped=self.skipped + 1)

    def ended(self, now: datetime) -> CollectionPlan:
        """This plan SUCCEEDED."""
        return replace(
            self, meta=self.meta.touched(now), progress=PlanState.SUCCEEDED, end_time=now
        )


def digest_of_items(items: Sequence[Item]) -> str:
    """What a person who decides on a plan decides on."""
    return digest_of(
        [
            {
                "kind": item.kind.value,
                "subject": item.subject,
                "handle": item.handle,
                "size_bytes": item.size_bytes,
            }
            for item in items
            if item.state is ItemState.PENDING
        ]
    )
