"""What keeps bytes, and what lets them go: in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

from services.registry.core.bundles import BundleFile
from services.registry.core.canonical import digest_of_bytes
from services.registry.core.integrity import Examination, FaultKind, FileFault
from services.registry.core.ports import RegistryTx
from services.registry.core.retention import fence
from services.registry.core.retention.fence import Claim, Sentence
from services.registry.core.retention.holds import HoldKind
from services.registry.core.retention.plans import PlanState
from services.registry.core.snapshots import Origin
from services.registry.core.use_cases import (
    collection,
    datasets,
    retention,
    versions,
)
from services.registry.core.use_cases.collection import Stored, StoredBlob
from services.registry.core.use_cases.integrity import record_examination
from tests.support.registry_memory import EPOCH
from tests.support.registry_values import (
    DATASET,
    MODEL,
    NO_ANCESTRY,
    NO_RULES,
    SNAPSHOT,
    Commit,
    ready_version,
    sealed_snapshot,
)

CONTENTS = (b"one", b"two", b"three")


LOST = FileFault("model.onnx", FaultKind.MISSING, digest_of_bytes(b"three"), 5)


def test_the_version_verified_longest_ago_is_the_stalest(commit: Commit) -> None:
    def check(tx: RegistryTx) -> None:
        first, second, third = (ready_version(tx, content).meta.name for content in CONTENTS)
        tx.note_verified(first, EPOCH + timedelta(hours=2))
        tx.note_verified(second, EPOCH + timedelta(hours=1))
        tx.note_verified(third, EPOCH)
        versions.deprecate_version(tx, second, etag="")
        record_examination(tx, third, Examination(3, 1, (LOST,)))
        assert tx.stalest_version(EPOCH + timedelta(hours=3)) == second
        assert tx.stalest_version(EPOCH + timedelta(hours=1)) is None
        tx.note_verified(second, EPOCH + timedelta(hours=4))
        assert tx.stalest_version(EPOCH + timedelta(hours=3)) == first
        assert tx.verified_at([second, "nobody"]) == {second: EPOCH + timedelta(hours=4)}
        stored = tx.versions.get(third)
        assert stored is not None
        assert stored.quarantine is not None
        assert stored.quarantine.faults == (LOST,)

    commit(check)


def test_what_relies_on_a_content_is_known_until_it_is_given_up(commit: Commit):
    def work(tx: RegistryTx) -> None:
        version = ready_version(tx, b"one")
        content = version.file("model.onnx").digest
        begun = versions.begin_upload(tx, MODEL, NO_ANCESTRY, labels={}).meta.name
        versions.record_artifact(tx, begun, BundleFile("model.onnx", 3, content))
        orphan = digest_of_bytes(b"orphan")
        assert set(tx.blobs.referrers(content)) == {version.meta.name, begun}
        assert tx.blobs.relied_on([content, orphan], tx.now) == {content}

        end = tx.now + timedelta(minutes=1)
        fence.claim(tx.blobs, Claim("1", orphan, "here", end), tx.now)
        fence.claim(tx.blobs, Claim("2", content, "here", end), tx.now)
        assert tx.blobs.relied_on([orphan], tx.now) == {orphan}
        assert tx.blobs.claimed([orphan, content], tx.now) == {orphan, content}
        tx.blobs.prolong_claims(["1"], tx.now + timedelta(minutes=2))
        assert tx.blobs.relied_on([orphan, content], end) == {orphan, content}
        assert tx.blobs.claimed([orphan, content], end) == {orphan}
        tx.blobs.drop_claims_of("elsewhere")
        [claim] = tx.blobs.claims_on(orphan)
        assert claim.expire_time == tx.now + timedelta(minutes=2)
        tx.blobs.drop_claims_of("here")
        assert not tx.blobs.drop_claim("1")

        versions.abort_upload(tx, begun)
        tx.versions.replace(version.collected("a plan", tx.now))
        assert tx.blobs.referrers(content) == []

    commit(work)


def test_a_sentence_is_kept_with_its_attempts_and_lifted(commit: Commit):
    def work(tx: RegistryTx) -> None:
        digest = digest_of_bytes(b"orphan")
        until = tx.now + timedelta(seconds=15)
        assert fence.condemn(tx.blobs, digest, "a plan", tx.now, until) is None
        assert fence.condemn(tx.blobs, digest, "a plan", tx.now, until) is None
        assert tx.blobs.sentence(digest) == Sentence(digest, "a plan", until, attempts=2)
        assert not fence.absolve(tx.blobs, digest, tx.now)
        assert fence.absolve(tx.blobs, digest, until)
        assert tx.blobs.sentence(digest) is None

    commit(work)


def test_pins_and_holds_are_found_by_their_target(commit: Commit):
    def work(tx: RegistryTx) -> None:
        first, second = (ready_version(tx, content).meta.name for content in CONTENTS[:2])
        project = "projects/default"
        pin = retention.set_pin(
            tx,
            f"{project}/pins/p",
            target=first,
            holder="e",
            reason="",
            expire_time=tx.now + timedelta(days=1),
        )
        hold = retention.place_hold(
            tx, project, target=first, kind=HoldKind.LEGAL, placed_by="ann", reason="case"
        )
        assert (tx.pins_on(first), tx.holds_on(first)) == ([pin], [hold])
        assert (tx.pins_on(second), tx.holds_on(second)) == ([], [])
        retention.release_hold(tx, hold.meta.name, actor="bob", reason="over", etag="")
        assert tx.holds_on(first) == []
        assert (tx.newer_versions(first), tx.newer_versions(second)) == (1, 0)

    commit(work)


def test_newer_snapshots_count_sealed_ones_alone(commit: Commit):
    def work(tx: RegistryTx) -> None:
        sealed_snapshot(tx)
        sealed_snapshot(tx, f"{DATASET}/snapshots/february")
        datasets.create_snapshot(
            tx,
            f"{DATASET}/snapshots/march",
            rules=NO_RULES,
            origin=Origin(source="", parents=()),
            labels={},
        )
        assert tx.newer_snapshots(SNAPSHOT) == 1

    commit(work)


def test_a_plan_and_its_items_are_kept_in_order(commit: Commit):
    def work(tx: RegistryTx) -> None:
        orphans = [digest_of_bytes(content) for content in CONTENTS]
        stored = Stored([StoredBlob(digest, 5) for digest in orphans], ())
        plan = collection.plan_collection(
            tx, "projects/default", stored, actor="ann", expire_time=None
        )
        assert tx.plans.get(plan.meta.name) == plan
        assert tx.running_plan() is None
        begun = collection.begin_collection(tx, plan.meta.name, digest=plan.digest)
        assert tx.running_plan() == begun
        for digest in orphans:
            found = collection.next_item(tx)
            assert found is not None
            _, item = found
            assert (item.subject, item.size_bytes) == (digest, 5)
            condemned = collection.condemn_blob(tx, plan.meta.name, item, timedelta(seconds=1))
            assert tx.plan_items.unsettled(plan.meta.name) == condemned
            assert collection.absolve_blob(tx, plan.meta.name, condemned)
        assert collection.next_item(tx) is None
        ended = tx.plans.get(plan.meta.name)
        assert ended is not None
        assert (ended.progress, ended.collected.size_bytes) == (PlanState.SUCCEEDED, 15)

    commit(work)
