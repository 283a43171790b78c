"""What is kept, for whom, and what a plan says of the rest."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidRequest
from services.registry.core.aliases import MoveOrder
from services.registry.core.errors import (
    BytesCollected,
    CollectionPlanExpired,
    HoldReleased,
    PinExists,
    PrivacyHeld,
    Retained,
    VersionNotReady,
)
from services.registry.core.models import PromotionPolicy
from services.registry.core.retention.holds import HoldKind
from services.registry.core.retention.plans import ItemKind, ItemState, PlanState
from services.registry.core.retention.policy import RetentionPolicy
from services.registry.core.retention.reachability import Node, Root, RootKind, kept
from services.registry.core.use_cases import collection, datasets, retention
from services.registry.core.use_cases.aliases import move_aliases
from services.registry.core.use_cases.collection import Stored, StoredBlob, StoredPartial
from services.registry.core.versions import Ancestry, VersionState
from tests.support.registry_memory import MemoryRegistryTx
from tests.support.registry_values import (
    DATASET,
    MODEL,
    SNAPSHOT,
    create_model,
    ready_version,
    sealed_snapshot,
)

PROJECT = "projects/default"
NEWEST_ONLY = RetentionPolicy(keep_last=1)
NOTHING_STORED = Stored((), ())


def tx_with_policy(policy: RetentionPolicy | None = NEWEST_ONLY) -> MemoryRegistryTx:
    """A model and a dataset that keep only their newest."""
    tx = MemoryRegistryTx()
    create_model(tx, PromotionPolicy())
    model = tx.models.get(MODEL)
    tx.models.replace(replace(model, meta=model.meta.touched(tx.now), retention=policy))
    return tx


def keep_newest_snapshot(tx: MemoryRegistryTx) -> None:
    dataset = tx.datasets.get(DATASET)
    meta = dataset.meta.touched(tx.now)
    tx.datasets.replace(replace(dataset, meta=meta, retention=NEWEST_ONLY))


def everything_stored(tx: MemoryRegistryTx) -> Stored:
    digests = {
        digest
        for each in (*tx.versions.everything(), *tx.snapshots.everything())
        for digest in each.contents
    }
    return Stored([StoredBlob(digest, 10) for digest in sorted(digests)], ())


def planned(tx: MemoryRegistryTx, stored: Stored = NOTHING_STORED):
    return collection.plan_collection(tx, PROJECT, stored, actor="ann", expire_time=None)


def going(tx: MemoryRegistryTx, plan) -> list[str]:
    items = tx.plan_items.of[plan.meta.name].values()
    return [item.subject for item in items if item.state is ItemState.PENDING]


def run(tx: MemoryRegistryTx, plan) -> None:
    """Carry a plan out; the store always answers."""
    collection.begin_collection(tx, plan.meta.name, digest=plan.digest)
    while (found := collection.next_item(tx)) is not None:
        running, item = found
        name = running.meta.name
        if item.kind in (ItemKind.VERSION, ItemKind.SNAPSHOT):
            collection.collect_resource(tx, name, item)
        elif item.kind is ItemKind.BLOB:
            condemned = collection.condemn_blob(tx, name, item, timedelta(seconds=10))
            if condemned.state is ItemState.CONDEMNED:
                assert collection.absolve_blob(tx, name, condemned)
        elif not collection.spared_partial(tx, name, item):
            collection.settle(tx, name, item, ItemState.COLLECTED, item.detail)


def test_without_a_policy_everything_stays():
    tx = tx_with_policy(None)
    ready_version(tx, b"1")
    ready_version(tx, b"2")
    assert going(tx, planned(tx)) == []


def test_an_older_version_that_nothing_keeps_goes_with_the_contents_only_it_has():
    tx = tx_with_policy()
    old = ready_version(tx, b"old")
    new = ready_version(tx, b"new")
    plan = planned(tx, everything_stored(tx))
    shared = set(old.contents) & set(new.contents)
    assert shared, "both have the same signature"
    assert set(going(tx, plan)) == {old.meta.name} | (set(old.contents) - shared)
    run(tx, plan)
    gone = tx.versions.get(old.meta.name)
    assert (gone.state, gone.collected_by) == (VersionState.DELETED, plan.meta.name)
    ended = tx.plans.get(plan.meta.name)
    assert ended.progress is PlanState.SUCCEEDED
    assert ended.collected == plan.planned
    with pytest.raises(BytesCollected):
        gone.file("model.onnx")


def keep_by_alias(tx, version):
    move_aliases(tx, [MoveOrder(f"{MODEL}/aliases/live", version, "")], actor="ann", reason="")


def keep_by_pin(tx, version):
    retention.set_pin(
        tx, f"{PROJECT}/pins/p", target=version, holder="e", reason="", expire_time=None
    )


def keep_by_hold(tx, version):
    retention.place_hold(
        tx, PROJECT, target=version, kind=HoldKind.LEGAL, placed_by="ann", reason="case 1"
    )


def keep_by_child(tx, version):
    ready_version(tx, b"child", Ancestry((), "", version))


@pytest.mark.parametrize("keep", [keep_by_alias, keep_by_pin, keep_by_hold, keep_by_child])
def test_whatever_keeps_a_version_keeps_it_in_the_plan_and_at_its_turn(keep):
    tx = tx_with_policy()
    old = ready_version(tx, b"old").meta.name
    ready_version(tx, b"new")
    before = planned(tx)
    assert old in going(tx, before)
    keep(tx, old)
    assert old not in going(tx, planned(tx))
    run(tx, before)
    assert tx.versions.get(old).state is VersionState.READY
    skipped = [each for each in tx.plan_items.of[before.meta.name].values() if each.subject == old]
    assert [each.state for each in skipped] == [ItemState.SKIPPED]
    assert tx.plans.get(before.meta.name).skipped >= 1


def test_a_pin_that_ran_out_and_a_released_hold_keep_nothing():
    tx = tx_with_policy()
    old = ready_version(tx, b"old").meta.name
    ready_version(tx, b"new")
    retention.set_pin(
        tx,
        f"{PROJECT}/pins/p",
        target=old,
        holder="e",
        reason="",
        expire_time=tx.now + timedelta(minutes=1),
    )
    hold = retention.place_hold(
        tx, PROJECT, target=old, kind=HoldKind.MANUAL, placed_by="ann", reason="look"
    )
    tx.pass_time(minutes=1)
    assert old not in going(tx, planned(tx))
    retention.release_hold(tx, hold.meta.name, actor="bob", reason="seen", etag="")
    assert old in going(tx, planned(tx))
    with pytest.raises(HoldReleased):
        retention.release_hold(tx, hold.meta.name, actor="bob", reason="again", etag="")


def test_a_young_version_stays_beside_the_newest():
    tx = tx_with_policy(RetentionPolicy(1, timedelta(days=30)))
    old = ready_version(tx, b"old").meta.name
    tx.pass_time(days=20)
    ready_version(tx, b"new")
    assert old not in going(tx, planned(tx))
    tx.pass_time(days=10)
    assert old in going(tx, planned(tx))


def test_the_snapshot_of_a_kept_version_stays_and_goes_after_it():
    tx = tx_with_policy()
    sealed_snapshot(tx)
    keep_newest_snapshot(tx)
    old = ready_version(tx, b"old", Ancestry((SNAPSHOT,), "", "")).meta.name
    sealed_snapshot(tx, f"{DATASET}/snapshots/february")
    keep_by_alias(tx, old)
    ready_version(tx, b"new")
    assert SNAPSHOT not in going(tx, planned(tx))
    newer = ready_version(tx, b"newest").meta.name
    move_aliases(tx, [MoveOrder(f"{MODEL}/aliases/live", newer, old)], actor="a", reason="")
    plan = planned(tx)
    order = going(tx, plan)
    assert order.index(old) < order.index(SNAPSHOT)
    run(tx, plan)
    assert tx.snapshots.get(SNAPSHOT).collected_by == plan.meta.name
    with pytest.raises(BytesCollected):
        ready_version(tx, b"late", Ancestry((SNAPSHOT,), "", ""))


def test_a_collected_version_gets_neither_alias_nor_pin():
    tx = tx_with_policy()
    old = ready_version(tx, b"old").meta.name
    ready_version(tx, b"new")
    run(tx, planned(tx))
    with pytest.raises(VersionNotReady):
        keep_by_alias(tx, old)
    with pytest.raises(BytesCollected):
        keep_by_pin(tx, old)


def test_contents_that_nothing_refers_to_go_unless_an_upload_claims_them():
    from services.registry.core.retention import fence
    from services.registry.core.retention.fence import Claim

    tx = tx_with_policy()
    orphan, claimed = (f"sha256:{digit * 64}" for digit in "ab")
    fence.claim(tx.blobs, Claim("c", claimed, "here", tx.now + timedelta(minutes=1)), tx.now)
    partials = [
        StoredPartial(f"blobs/sha256/{each[7:9]}/{each[7:]}", each[7:9])
        for each in (orphan, claimed)
    ]
    plan = planned(tx, Stored([StoredBlob(orphan, 5), StoredBlob(claimed, 7)], partials))
    assert going(tx, plan) == [orphan, partials[0].key]
    assert (plan.planned.blobs, plan.planned.size_bytes) == (1, 5)
    run(tx, plan)
    assert tx.plans.get(plan.meta.name).collected.partial_uploads == 1


def test_a_plan_runs_only_with_its_own_digest_and_in_time():
    tx = tx_with_policy()
    plan = planned(tx)
    with pytest.raises(InvalidRequest):
        collection.begin_collection(tx, plan.meta.name, digest=f"sha256:{'0' * 64}")
    tx.pass_time(hours=1)
    assert plan.state_at(tx.now) is PlanState.EXPIRED
    with pytest.raises(CollectionPlanExpired):
        collection.begin_collection(tx, plan.meta.name, digest=plan.digest)


def test_a_plan_that_was_begun_goes_on_after_its_expiry():
    tx = tx_with_policy()
    plan = planned(tx)
    begun = collection.begin_collection(tx, plan.meta.name, digest=plan.digest)
    tx.pass_time(hours=2)
    again = collection.begin_collection(tx, plan.meta.name, digest=plan.digest)
    assert (begun, again.state_at(tx.now)) == (again, PlanState.RUNNING)


def test_a_plan_tells_what_keeps_each_thing():
    tx = tx_with_policy()
    old = ready_version(tx, b"old").meta.name
    keep_by_alias(tx, old)
    new = ready_version(tx, b"new").meta.name
    plan = planned(tx)
    roots = {
        item.subject: item.root
        for item in tx.plan_items.of[plan.meta.name].values()
        if item.state is ItemState.KEPT
    }
    assert roots == {
        old: Root(RootKind.ALIAS, f"{MODEL}/aliases/live"),
        new: Root(RootKind.RETENTION, MODEL),
    }
    assert plan.kept == {"ALIAS": 1, "RETENTION": 1}


def test_a_pin_set_again_is_one_pin_and_another_target_is_refused():
    tx = tx_with_policy()
    old = ready_version(tx, b"old").meta.name
    new = ready_version(tx, b"new").meta.name
    keep_by_pin(tx, old)
    keep_by_pin(tx, old)
    assert [pin.meta.revision for pin in tx.pins.everything()] == [2]
    with pytest.raises(PinExists):
        keep_by_pin(tx, new)


def test_nothing_is_made_from_a_snapshot_under_a_privacy_hold():
    tx = tx_with_policy()
    sealed_snapshot(tx)
    hold = retention.place_hold(
        tx, PROJECT, target=SNAPSHOT, kind=HoldKind.PRIVACY, placed_by="ann", reason="request 7"
    )
    assert retention.privacy_hold_on(tx, SNAPSHOT) == hold.meta.name
    with pytest.raises(PrivacyHeld):
        ready_version(tx, b"x", Ancestry((SNAPSHOT,), "", ""))
    retention.release_hold(tx, hold.meta.name, actor="ann", reason="withdrawn", etag="")
    ready_version(tx, b"x", Ancestry((SNAPSHOT,), "", ""))


def test_a_privacy_hold_is_on_a_snapshot_of_its_own_project():
    tx = tx_with_policy()
    version = ready_version(tx, b"x").meta.name
    for parent, target in ((PROJECT, version), ("projects/other", SNAPSHOT)):
        with pytest.raises(InvalidRequest):
            retention.place_hold(
                tx, parent, target=target, kind=HoldKind.PRIVACY, placed_by="ann", reason="r"
            )


def test_a_snapshot_that_is_pinned_or_held_is_not_deleted():
    tx = tx_with_policy()
    sealed_snapshot(tx)
    keep_by_pin(tx, SNAPSHOT)
    with pytest.raises(Retained):
        datasets.delete_snapshot(tx, SNAPSHOT, etag="")
    retention.delete_pin(tx, f"{PROJECT}/pins/p", etag="")
    keep_by_hold(tx, SNAPSHOT)
    with pytest.raises(Retained):
        datasets.delete_snapshot(tx, SNAPSHOT, etag="")


@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(st.integers(0, 11), max_size=3)),
        min_size=1,
        max_size=12,
    )
)
def test_kept_is_the_smallest_set_with_all_roots_that_its_own_needs_stay_in(drawn):
    nodes = [
        Node(
            name=str(number),
            roots=(Root(RootKind.PIN, "p"),) if is_root else (),
            needs=tuple(str(each) for each in needs if each != number),
            size_bytes=0,
            digests=(),
        )
        for number, (is_root, needs) in enumerate(drawn)
    ]
    found = kept(nodes)
    by_name = {node.name: node for node in nodes}
    for node in nodes:
        if node.roots:
            assert found[node.name] == node.roots[0]
    for name in found:
        for needed in by_name[name].needs:
            assert needed in found or needed not in by_name
    for name, root in found.items():
        if not by_name[name].roots:
            assert name in by_name[root.name].needs, "kept by something that is kept"
            assert root.name in found
