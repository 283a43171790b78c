"""Pins, holds, retention and collection plans to and from proto messages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from roundhouse.registry.v1 import retention_pb2 as pb

from services.common.rpc.convert import from_timestamp, to_timestamp
from services.registry.core.retention.holds import Hold, HoldKind, HoldState
from services.registry.core.retention.pins import Pin
from services.registry.core.retention.plans import (
    CollectionPlan,
    Counts,
    Item,
    ItemKind,
    ItemState,
    PlanState,
)
from services.registry.core.retention.policy import RetentionPolicy
from services.registry.core.retention.reachability import Root, RootKind

_HOLD_KINDS: Final = {
    HoldKind.LEGAL: pb.Hold.KIND_LEGAL,
    HoldKind.MANUAL: pb.Hold.KIND_MANUAL,
    HoldKind.PRIVACY: pb.Hold.KIND_PRIVACY,
}
_HOLD_KINDS_FROM_PROTO: Final = {value: key for key, value in _HOLD_KINDS.items()}
_HOLD_STATES: Final = {
    HoldState.ACTIVE: pb.Hold.STATE_ACTIVE,
    HoldState.RELEASED: pb.Hold.STATE_RELEASED,
}
_PLAN_STATES: Final = {
    PlanState.PLANNED: pb.CollectionPlan.STATE_PLANNED,
    PlanState.RUNNING: pb.CollectionPlan.STATE_RUNNING,
    PlanState.SUCCEEDED: pb.CollectionPlan.STATE_SUCCEEDED,
    PlanState.EXPIRED: pb.CollectionPlan.STATE_EXPIRED,
}
_ROOTS: Final = {
    RootKind.ALIAS: pb.Root.KIND_ALIAS,
    RootKind.PIN: pb.Root.KIND_PIN,
    RootKind.HOLD: pb.Root.KIND_HOLD,
    RootKind.APPROVAL: pb.Root.KIND_APPROVAL,
    RootKind.OPEN: pb.Root.KIND_OPEN,
    RootKind.RETENTION: pb.Root.KIND_RETENTION,
    RootKind.LINEAGE: pb.Root.KIND_LINEAGE,
}
_ITEM_KINDS: Final = {
    ItemKind.VERSION: pb.CollectionItem.KIND_VERSION,
    ItemKind.SNAPSHOT: pb.CollectionItem.KIND_SNAPSHOT,
    ItemKind.BLOB: pb.CollectionItem.KIND_BLOB,
    ItemKind.PARTIAL_UPLOAD: pb.CollectionItem.KIND_PARTIAL_UPLOAD,
}
_ITEM_STATES: Final = {
    ItemState.KEPT: pb.CollectionItem.STATE_KEPT,
    ItemState.PENDING: pb.CollectionItem.STATE_PENDING,
    ItemState.CONDEMNED: pb.CollectionItem.STATE_CONDEMNED,
    ItemState.COLLECTED: pb.CollectionItem.STATE_COLLECTED,
    ItemState.SKIPPED: pb.CollectionItem.STATE_SKIPPED,
}


def retention_to_proto(policy: RetentionPolicy | None) -> pb.RetentionPolicy | None:
    """`policy` as it goes over the wire."""
    if policy is None:
        return None
    message = pb.RetentionPolicy(keep_last=policy.keep_last)
    if policy.keep_younger_than is not None:
        message.keep_younger_than.FromTimedelta(policy.keep_younger_than)
    return message


def retention_from_proto(policy: pb.RetentionPolicy) -> RetentionPolicy | None:
    """The policy that a caller wants; a message that is unset keeps everything."""
    if not policy.keep_last:
        return None
    age: timedelta | None = None
    if policy.HasField("keep_younger_than"):
        age = policy.keep_younger_than.ToTimedelta()
    return RetentionPolicy(policy.keep_last, age)


def pin_to_proto(pin: Pin) -> pb.Pin:
    """`pin` as it goes over the wire."""
    meta = pin.meta
    return pb.Pin(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        target=pin.target,
        holder=pin.holder,
        reason=pin.reason,
        expire_time=_stamp(pin.expire_time),
    )


def hold_to_proto(hold: Hold) -> pb.Hold:
    """`hold` as it goes over the wire."""
    meta = hold.meta
    return pb.Hold(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        target=hold.target,
        kind=_HOLD_KINDS[hold.kind],
        placed_by=hold.placed_by,
        reason=hold.reason,
        state=_HOLD_STATES[hold.state],
        released_by=hold.released_by,
        release_reason=hold.release_reason,
        release_time=_stamp(hold.release_time),
    )


def hold_kind_from_proto(kind: pb.Hold.Kind.ValueType) -> HoldKind:
    """What a caller orders."""
    return _HOLD_KINDS_FROM_PROTO[kind]


def plan_to_proto(plan: CollectionPlan, now: datetime) -> pb.CollectionPlan:
    """`plan` as it stands at `now`."""
    meta = plan.meta
    kept = sorted(plan.kept.items(), key=lambda entry: (-entry[1], entry[0]))
    return pb.CollectionPlan(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        state=_PLAN_STATES[plan.state_at(now)],
        digest=plan.digest,
        expire_time=to_timestamp(plan.expire_time),
        actor=plan.actor,
        planned=_counts_to_proto(plan.planned),
        kept=[pb.KeptCount(kind=_ROOTS[RootKind(kind)], count=count) for kind, count in kept],
        collected=_counts_to_proto(plan.collected),
        skipped=plan.skipped,
        start_time=_stamp(plan.start_time),
        end_time=_stamp(plan.end_time),
    )


def item_to_proto(item: Item) -> pb.CollectionItem:
    """`item` as it goes over the wire."""
    return pb.CollectionItem(
        position=item.position,
        kind=_ITEM_KINDS[item.kind],
        subject=item.subject,
        size_bytes=item.size_bytes,
        state=_ITEM_STATES[item.state],
        detail=item.detail,
        root=None if item.root is None else _root_to_proto(item.root),
        settle_time=_stamp(item.settle_time),
    )


def moment(message: Timestamp, is_set: bool) -> datetime | None:
    """The moment that a caller has set."""
    return from_timestamp(message) if is_set else None


def _root_to_proto(root: Root) -> pb.Root:
    return pb.Root(kind=_ROOTS[root.kind], name=root.name)


def _counts_to_proto(counts: Counts) -> pb.CollectionCounts:
    return pb.CollectionCounts(
        versions=counts.versions,
        snapshots=counts.snapshots,
        blobs=counts.blobs,
        partial_uploads=counts.partial_uploads,
        size_bytes=counts.size_bytes,
    )


def _stamp(time: datetime | None) -> Timestamp | None:
    return None if time is None else to_timestamp(time)
