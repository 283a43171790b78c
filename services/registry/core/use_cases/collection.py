"""Garbage collections: planned with proof, carried out item by item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.common.errors import FieldViolation, InvalidRequest
from services.common.resources import existing
from services.registry.core.errors import CollectionPlanNotFound
from services.registry.core.names import COLLECTION_PLAN, id_of
from services.registry.core.ports import RegistryTx
from services.registry.core.retention import fence
from services.registry.core.retention.plans import (
    DEFAULT_VALIDITY,
    LONGEST_VALIDITY,
    CollectionPlan,
    Counts,
    Item,
    ItemKind,
    ItemState,
    PlanState,
    digest_of_items,
)
from services.registry.core.retention.reachability import Node, Root, kept
from services.registry.core.use_cases.identities import new_child_meta
from services.registry.core.use_cases.survey import obstacle_to_collecting, survey


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A content that the store has."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoredPartial:
    """An upload that the store has only a part of.

    Attributes:
        key: What it was to be stored under; empty if that isn't known.
        handle: What the store calls it.
    """

    key: str
    handle: str

    @property
    def digest(self) -> str:
        """Of the content it was to become; empty if that isn't known."""
        return f"sha256:{id_of(self.key)}" if self.key else ""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds; may be seconds old."""

    blobs: Sequence[StoredBlob]
    partials: Sequence[StoredPartial]


def the_plan(tx: RegistryTx, name: str) -> CollectionPlan:
    """The plan `name`.

    Raises:
        InvalidName, CollectionPlanNotFound: There is none.
    """
    return existing(tx.plans, COLLECTION_PLAN, name, CollectionPlanNotFound)


def plan_collection(
    tx: RegistryTx, parent: str, stored: Stored, *, actor: str, expire_time: datetime | None
) -> CollectionPlan:
    """A plan of what a collection would remove from a project and the store.

    Raises:
        InvalidRequest: The expiry is past or too far away.
    """
    expiry = tx.now + DEFAULT_VALIDITY if expire_time is None else expire_time
    if not tx.now < expiry <= tx.now + LONGEST_VALIDITY:
        text = "is not between now and a week from now"
        raise InvalidRequest([FieldViolation("expire_time", text)])
    nodes = survey(tx, parent)
    staying = kept(nodes)
    # What was made later goes first, so that at its turn nothing is left that needs it.
    going = [node for node in reversed(nodes) if node.name not in staying]
    items = _numbered(
        [
            *(_going_item(node) for node in going),
            *_blob_items(tx, going, stored.blobs),
            *_partial_items(tx, stored.partials),
            *(_kept_item(node, staying[node.name]) for node in nodes if node.name in staying),
        ]
    )
    planned = Counts()
    for item in items:
        if item.state is ItemState.PENDING:
            planned = planned.plus(item)
    plan = CollectionPlan(
        meta=new_child_meta(tx, parent, "collectionPlans"),
        progress=PlanState.PLANNED,
        digest=digest_of_items(items),
        expire_time=expiry,
        actor=actor,
        planned=planned,
        kept=Counter(root.kind.value for root in staying.values()),
    )
    tx.plans.add(plan)
    tx.plan_items.add(plan.meta.name, items)
    tx.tell("collection.planned", plan.meta.name, {"digest": plan.digest, "actor": actor})
    return plan


def _going_item(node: Node) -> Item:
    kind = ItemKind.VERSION if "/versions/" in node.name else ItemKind.SNAPSHOT
    detail = (
        "no alias, pin, hold or approval keeps it, nothing that is kept was made from it, "
        f"and {node.why_not}"
    )
    return Item(0, kind, node.name, node.size_bytes, ItemState.PENDING, detail)


def _kept_item(node: Node, root: Root) -> Item:
    kind = ItemKind.VERSION if "/versions/" in node.name else ItemKind.SNAPSHOT
    return Item(0, kind, node.name, node.size_bytes, ItemState.KEPT, root=root)


def _blob_items(tx: RegistryTx, going: Sequence[Node], blobs: Sequence[StoredBlob]) -> list[Item]:
    """The contents that nothing refers to once `going` is gone."""
    names = {node.name for node in going}
    freed_by = {digest: node.name for node in going for digest in node.digests}
    relied_on = tx.blobs.relied_on([blob.digest for blob in blobs], tx.now)
    items = []
    for blob in blobs:
        if blob.digest not in relied_on:
            detail = "no version, snapshot or upload refers to it"
        elif blob.digest in freed_by and names.issuperset(tx.blobs.referrers(blob.digest)):
            detail = f"only what goes refers to it, such as {freed_by[blob.digest]}"
        else:
            continue
        items.append(
            Item(0, ItemKind.BLOB, blob.digest, blob.size_bytes, ItemState.PENDING, detail)
        )
    return items


def _partial_items(tx: RegistryTx, partials: Sequence[StoredPartial]) -> list[Item]:
    digests = [partial.digest for partial in partials if partial.digest]
    claimed = tx.blobs.claimed(digests, tx.now)
    return [
        Item(
            position=0,
            kind=ItemKind.PARTIAL_UPLOAD,
            subject=partial.key or f"partial/{partial.handle}",
            size_bytes=0,
            state=ItemState.PENDING,
            detail="no upload that is under way claims it",
            handle=partial.handle,
        )
        for partial in partials
        if partial.digest not in claimed
    ]


def _numbered(items: Sequence[Item]) -> list[Item]:
    return [replace(item, position=position) for position, item in enumerate(items, start=1)]


def begin_collection(tx: RegistryTx, name: str, *, digest: str) -> CollectionPlan:
    """The plan RUNNING; one that is running or over is given as it stands.

    Raises:
        CollectionPlanNotFound: There is none.
        CollectionPlanExpired: It was not run in time.
        InvalidRequest: The digest isn't the plan's.
    """
    plan = the_plan(tx, name)
    if digest != plan.digest:
        raise InvalidRequest([FieldViolation("digest", f"the plan's is {plan.digest}")])
    if plan.progress is not PlanState.PLANNED:
        return plan
    begun = plan.begun(tx.now)
    tx.plans.replace(begun)
    tx.tell("collection.begun", name, {"digest": digest})
    return begun


def next_item(tx: RegistryTx) -> tuple[CollectionPlan, Item] | None:
    """The next item of the plan that is running; a plan without one is ended on the way."""
    while (plan := tx.running_plan()) is not None:
        item = tx.plan_items.unsettled(plan.meta.name)
        if item is not None:
            return plan, item
        tx.plans.replace(plan.ended(tx.now))
        tx.tell(
            "collection.ended",
            plan.meta.name,
            {"skipped": plan.skipped, "freed_bytes": plan.collected.size_bytes},
        )
    return None


def collect_resource(tx: RegistryTx, plan: str, item: Item) -> Item:
    """The item, settled: a version or snapshot that is DELETED now, or was spared."""
    obstacle = obstacle_to_collecting(tx, item.subject)
    if obstacle is not None:
        return settle(tx, plan, item, ItemState.SKIPPED, obstacle)
    if item.kind is ItemKind.VERSION:
        version = tx.versions.get(item.subject)
        if version is not None:
            tx.versions.replace(version.collected(plan, tx.now))
            tx.tell("version.deleted", item.subject, {"plan": plan, "digest": version.digest})
    else:
        snapshot = tx.snapshots.get(item.subject)
        if snapshot is not None:
            tx.snapshots.replace(snapshot.collected(plan, tx.now))
            tx.tell("snapshot.collected", item.subject, {"plan": plan, "digest": snapshot.digest})
    return settle(tx, plan, item, ItemState.COLLECTED, item.detail)


def condemn_blob(tx: RegistryTx, plan: str, item: Item, lifetime: timedelta) -> Item:
    """The item, CONDEMNED, so that its bytes may be removed; or spared and settled.

    Args:
        tx: The transaction.
        plan: The plan.
        item: A blob.
        lifetime: After which no request to remove it can arrive any more.
    """
    obstacle = fence.condemn(tx.blobs, item.subject, plan, tx.now, tx.now + lifetime)
    if obstacle is not None:
        return settle(tx, plan, item, ItemState.SKIPPED, f"{obstacle} relies on it")
    condemned = replace(item, state=ItemState.CONDEMNED)
    tx.plan_items.settle(plan, condemned)
    return condemned


def absolve_blob(tx: RegistryTx, plan: str, item: Item) -> bool:
    """Settle a blob whose removal was answered; False while an earlier request may be under way."""
    if not fence.absolve(tx.blobs, item.subject, tx.now):
        return False
    settle(tx, plan, item, ItemState.COLLECTED, item.detail)
    return True


def spared_partial(tx: RegistryTx, plan: str, item: Item) -> bool:
    """Whether an upload that is under way may be the one; then the item is settled.

    One that begins later has a part of its own, so nobody needs to be kept out.
    """
    digest = StoredPartial(item.subject, item.handle).digest
    if not any(held.expire_time > tx.now for held in tx.blobs.claims_on(digest)):
        return False
    settle(tx, plan, item, ItemState.SKIPPED, "an upload that is under way claims it")
    return True


def settle(tx: RegistryTx, plan_name: str, item: Item, state: ItemState, detail: str) -> Item:
    """The item with what has become of it, counted in its plan."""
    settled = replace(item, state=state, detail=detail, settle_time=tx.now)
    tx.plan_items.settle(plan_name, settled)
    tx.plans.replace(the_plan(tx, plan_name).settled(settled, tx.now))
    return settled
