"""One behaviour suite for the transaction port: in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from services.common.resources import ConcurrentChange, PageQuery
from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.common.store.outbox import read_after
from services.common.store.tables import METADATA as COMMON
from services.registry.adapters.database.lists import SqlRegistryLists
from services.registry.adapters.database.tables import METADATA
from services.registry.adapters.database.transaction import SqlRegistryTx
from services.registry.core.approvals import ApprovalState, Decision
from services.registry.core.bundles import BundleFile
from services.registry.core.canonical import digest_of_bytes
from services.registry.core.deployments import Deployment, DeploymentState
from services.registry.core.evaluations import Purpose, SliceScores
from services.registry.core.integrity import Examination, FaultKind, FileFault
from services.registry.core.ledger import Touch
from services.registry.core.lineage import (
    BOTH,
    Bounds,
    Direction,
    Edge,
    Relation,
    feature_name,
    walk,
)
from services.registry.core.models import Accountability, Money
from services.registry.core.names import parent_of
from services.registry.core.policies import (
    BaselineBar,
    Comparison,
    FixedBar,
    GateRule,
    NamedSlice,
    PromotionPolicy,
    ReadinessItem,
    Reduction,
    SlicesOf,
)
from services.registry.core.ports import RegistryTx
from services.registry.core.retention import fence
from services.registry.core.retention.fence import Claim, Sentence
from services.registry.core.retention.holds import HoldKind
from services.registry.core.retention.plans import PlanState
from services.registry.core.snapshots import Origin
from services.registry.core.use_cases import (
    approvals,
    collection,
    datasets,
    models,
    promotion,
    retention,
    versions,
)
from services.registry.core.use_cases.aliases import MoveOrder, move_aliases
from services.registry.core.use_cases.collection import Stored, StoredBlob
from services.registry.core.use_cases.deployments import record_deployment
from services.registry.core.use_cases.integrity import record_examination
from services.registry.core.versions import Ancestry
from services.registry.wiring import MIGRATIONS
from tests.support.registry_memory import EPOCH, MemoryRegistryTx
from tests.support.registry_values import (
    CHAMPION,
    DATASET,
    JOB,
    MODEL,
    NO_ANCESTRY,
    NO_RULES,
    SNAPSHOT,
    create_model,
    evaluated,
    ready_version,
    sealed_snapshot,
)

CONTENTS = (b"one", b"two", b"three")
LOST = FileFault("model.onnx", FaultKind.MISSING, digest_of_bytes(b"three"), 5)
COMMON_TABLES = {*COMMON.tables, "alembic_version"}

Commit: TypeAlias = Callable[[Callable[[RegistryTx], None]], None]
"""Runs a function in a transaction and commits it."""


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.real)])
async def commit(request: pytest.FixtureRequest) -> AsyncIterator[Commit]:
    if request.param == "memory":
        tx = MemoryRegistryTx()
        yield lambda work: work(tx)
        return
    database = Database(request.getfixturevalue(f"{request.param}_url"))
    await migrate(database, MIGRATIONS)

    def run(work: Callable[[RegistryTx], None]) -> None:
        database.write_now(lambda connection: work(SqlRegistryTx(connection, EPOCH)))

    yield run
    database.close()


def promoted(tx: RegistryTx) -> None:
    """Every kind of resource, each through its use case."""
    rules = (
        GateRule("auc", Comparison.AT_LEAST, FixedBar(0.5)),
        GateRule("auc", Comparison.AT_LEAST, BaselineBar(-0.01, -2.0)),
        GateRule("auc", Comparison.AT_LEAST, FixedBar(0.5), NamedSlice("origin", "JFK", 50)),
        GateRule("auc", Comparison.AT_MOST, FixedBar(0.5), SlicesOf("origin", Reduction.GAP, 50)),
    )
    create_model(tx, PromotionPolicy(rules, ("champion",), (ReadinessItem.OWNER,)))
    who = Accountability("ann", "https://runbooks/delays", Money("EUR", 300, 5), True)
    models.update_model(tx, MODEL, models.ModelChange(accountability=lambda _: who), etag="")
    sealed_snapshot(tx)
    version = ready_version(tx, ancestry=Ancestry((SNAPSHOT,), JOB, ""))
    jfk = SliceScores("origin", "JFK", 60, {"auc": 0.7}, {"auc": 0.05})
    evaluation = evaluated(tx, version, standard_errors={"auc": 0.02}, slices=(jfk,))
    result = promotion.evaluate_gate(tx, evaluation.meta.name, "")
    approval = approvals.request_approval(
        tx, version.meta.name, gate_result=result.meta.name, requester="ann", expire_time=None
    )
    approvals.decide_approval(
        tx, approval.meta.name, Decision.APPROVE, approver="bob", comment="", etag=""
    )
    order = MoveOrder(CHAMPION, version.meta.name, "")
    move_aliases(tx, [order], actor="ann", reason="best")


def test_every_kind_of_resource_comes_back_as_it_was_stored(commit: Commit) -> None:
    commit(promoted)
    model = MemoryRegistryTx()
    promoted(model)

    def check(tx: RegistryTx) -> None:
        for kind, parent in (
            ("datasets", parent_of(DATASET)),
            ("snapshots", DATASET),
            ("models", parent_of(MODEL)),
            ("versions", MODEL),
            ("aliases", MODEL),
            ("evaluations", f"{MODEL}/versions/1"),
            ("gate_results", f"{MODEL}/versions/1"),
            ("approvals", f"{MODEL}/versions/1"),
        ):
            (expected,) = getattr(model, kind).under(parent)
            (stored,) = getattr(tx, kind).under(parent)
            assert anonymous(stored) == anonymous(expected)
            assert getattr(tx, kind).get(stored.meta.name) == stored
            assert getattr(tx, kind).newest(parent) == stored
            assert getattr(tx, kind).count(parent) == 1

    commit(check)


def anonymous(resource: object) -> object:
    """The resource without the ids that differ from run to run."""
    text = repr(resource).replace("TzInfo(0)", "datetime.timezone.utc")
    return re.sub(r"[0-9a-f]{32}(?![0-9a-f])", "*", re.sub(r"mappingproxy\((.*?)\)", r"\1", text))


def test_a_revision_that_is_not_the_next_is_refused(commit: Commit) -> None:
    commit(create_model)

    def check(tx: RegistryTx) -> None:
        model = tx.models.get(MODEL)
        assert model is not None
        with pytest.raises(ConcurrentChange):
            tx.models.replace(model)
        tx.models.replace(replace(model, meta=model.meta.touched(EPOCH)))
        with pytest.raises(ConcurrentChange):
            tx.models.replace(replace(model, meta=model.meta.touched(EPOCH)))

    commit(check)


def test_version_numbers_count_up_per_model_and_do_not_change_its_etag(commit: Commit) -> None:
    def check(tx: RegistryTx) -> None:
        create_model(tx)
        etag = tx.models.under(parent_of(MODEL))[0].meta.etag
        assert [tx.take_number(MODEL) for _ in range(3)] == [1, 2, 3]
        assert tx.models.under(parent_of(MODEL))[0].meta.etag == etag

    commit(check)


def test_uploads_are_replaced_by_path_and_forgotten_together(commit: Commit) -> None:
    def check(tx: RegistryTx) -> None:
        create_model(tx)
        version = versions.begin_upload(tx, MODEL, Ancestry((), "", ""), labels={}).meta.name
        old, new = BundleFile("a.md", 1, "sha256:1"), BundleFile("a.md", 2, "sha256:2")
        tx.record_upload(version, old)
        tx.record_upload(version, new)
        assert tx.uploads(version) == {"a.md": new}
        versions.abort_upload(tx, version)
        assert tx.uploads(version) == {}

    commit(check)


def test_edges_are_found_from_both_ends_and_stored_once(commit: Commit) -> None:
    def check(tx: RegistryTx) -> None:
        edge = Edge("a", "b", Relation.DERIVED, EPOCH)
        tx.link(edge)
        tx.link(edge)
        assert tx.edges_at(["a", "x"], Direction.DOWNSTREAM) == [edge]
        assert tx.edges_at(["b"], Direction.UPSTREAM) == [edge]
        assert tx.edges_at(["b"], Direction.DOWNSTREAM) == []
        tx.link(Edge("c", "d", Relation.DERIVED, EPOCH))
        tx.unlink("d")
        assert tx.edges_at(["c"], Direction.DOWNSTREAM) == []
        more = [Edge("a", f"b{i}", Relation.SELECTED, EPOCH) for i in range(600)]
        tx.link_all([*more[:5], edge])
        tx.link_all(more)
        assert tx.edges_at(["a"], Direction.DOWNSTREAM) == [edge, *more]
        assert tx.edges_at(["x", "a"], Direction.DOWNSTREAM, 3) == [edge, *more[:2]]
        assert list(tx.edges_at([f"n{i}" for i in range(2000)] + ["a"], Direction.DOWNSTREAM))

    commit(check)


def test_every_kind_of_node_is_told_alike_by_every_store(commit: Commit) -> None:
    def check(tx: RegistryTx) -> None:
        promoted(tx)
        version = f"{MODEL}/versions/1"
        (approval,) = tx.approvals.under(version)
        rollout = "projects/default/endpoints/late/rollouts/r"
        report = Deployment(
            "projects/default/endpoints/late",
            rollout,
            version,
            approval.meta.name,
            DeploymentState.SUCCEEDED,
            EPOCH,
        )
        record_deployment(tx, report)
        record_deployment(
            tx, replace(report, state=DeploymentState.ROLLING_OUT, time=EPOCH - timedelta(1))
        )
        graph = walk(version, BOTH, Bounds(), tx.edges_at)
        nodes = tx.nodes([*graph.names, feature_name(SNAPSHOT, "a b"), "no/such/shape"])
        told = {node.kind.value: (node.state, node.label) for node in nodes}
        assert told == {
            "VERSION": ("READY", nodes[0].label),
            "SNAPSHOT": ("SEALED", nodes[1].label),
            "TRAINING_JOB": ("", ""),
            "EVALUATION": ("", "test: auc 0.7"),
            "GATE_RESULT": ("PASSED", "5 of 5 rules"),
            "APPROVAL": ("APPROVED", "asked by ann, decided by bob"),
            "ALIAS": ("", version),
            "ROLLOUT": ("SUCCEEDED", version),
            "ENDPOINT": ("SERVING", version),
            "FEATURE": ("", "a b"),
            "UNKNOWN": ("", ""),
        }
        assert re.fullmatch(r"sha256:[0-9a-f]{12}", nodes[0].label)
        assert {node.time for node in nodes} == {EPOCH, None}

    commit(check)


def test_touches_are_found_by_their_rows_in_order(commit: Commit) -> None:
    def check(tx: RegistryTx) -> None:
        version = ready_version(tx, ancestry=Ancestry((), JOB, ""))
        evaluation = evaluated(tx, version)
        evaluated(tx, ready_version(tx, b"other"), purpose=Purpose.BASELINE)
        evaluated(tx, version, split_digest=digest_of_bytes(b"others"))
        snapshot = tx.snapshots.get(SNAPSHOT)
        assert snapshot is not None
        found = tx.touches_of(snapshot.data_digest, evaluation.scores.split_digest)
        assert [touch.purpose for touch in found] == [Purpose.TEST, Purpose.BASELINE]
        assert found[0] == Touch(
            snapshot=SNAPSHOT,
            data_digest=snapshot.data_digest,
            split="test",
            split_digest=evaluation.scores.split_digest,
            purpose=Purpose.TEST,
            version=version.meta.name,
            training_job=JOB,
            lineage=(version.meta.name, JOB),
            evaluation=evaluation.meta.name,
            evaluator="",
            time=EPOCH,
        )
        assert tx.touches_of(digest_of_bytes(b"x"), evaluation.scores.split_digest) == []

    commit(check)


async def test_the_ledger_is_listed_by_project_and_filtered(database: Database) -> None:
    await database.write(lambda connection: promoted(SqlRegistryTx(connection, EPOCH)))

    def found(project: str, asked: str) -> int:
        query = PageQuery(project, 0, "", asked)
        return len(database.read_now(lambda tx: SqlRegistryLists(tx, EPOCH).touches(query)).items)

    assert found("projects/default", "") == 1
    assert found("projects/default", f'purpose = TEST AND version = "{MODEL}/versions/1"') == 1
    assert found("projects/default", "purpose = SELECTION") == 0
    assert found("projects/other", "") == 0


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    await migrate(database, MIGRATIONS)
    yield database
    database.close()


async def test_a_failed_transaction_leaves_no_row_and_no_event(database: Database) -> None:
    def fail(connection: Connection) -> None:
        promoted(SqlRegistryTx(connection, EPOCH))
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError):
        await database.write(fail)

    def nothing(connection: Connection) -> None:
        assert SqlRegistryTx(connection, EPOCH).models.get(MODEL) is None
        assert read_after(connection, "", 100)[0] == []

    await database.read(nothing)


async def test_events_tell_of_each_change_in_order(database: Database) -> None:
    await database.write(lambda connection: promoted(SqlRegistryTx(connection, EPOCH)))
    events, _ = await database.read(lambda connection: read_after(connection, "", 100))
    kinds = [event.type.removeprefix("roundhouse.registry.") for event in events]
    assert kinds == [
        "model.created",
        "model.updated",
        "dataset.created",
        "snapshot.created",
        "snapshot.file_added",
        "snapshot.sealed",
        "version.begun",
        "version.ready",
        "evaluation.recorded",
        "gate.evaluated",
        "approval.requested",
        "approval.decided",
        "alias.moved",
    ]


async def test_an_approvals_state_is_filtered_as_it_stands_now(database: Database) -> None:
    await database.write(lambda connection: promoted(SqlRegistryTx(connection, EPOCH)))

    def found(state: ApprovalState, days: int) -> int:
        query = PageQuery(f"{MODEL}/versions/-", 0, "", f"state = {state}")
        now = EPOCH + timedelta(days=days)
        return len(database.read_now(lambda tx: SqlRegistryLists(tx, now).approvals(query)).items)

    assert [found(ApprovalState.APPROVED, 6), found(ApprovalState.EXPIRED, 6)] == [1, 0]
    assert [found(ApprovalState.APPROVED, 7), found(ApprovalState.EXPIRED, 7)] == [0, 1]


async def test_the_migration_makes_the_tables_that_the_code_declares(database: Database) -> None:
    def check(connection: Connection) -> None:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        changes = [
            change
            for change in compare_metadata(context, METADATA)
            if not (change[0] == "remove_table" and change[1].name in COMMON_TABLES)
            and not (change[0] == "remove_index" and change[1].table.name in COMMON_TABLES)
        ]
        assert changes == []

    await database.read(check)


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
        assert tx.blobs.relied_on([content, orphan]) == {content}

        fence.claim(tx.blobs, Claim("1", orphan, "here", tx.now + timedelta(minutes=1)), tx.now)
        assert tx.blobs.relied_on([orphan]) == tx.blobs.claimed([orphan, content]) == {orphan}
        tx.blobs.prolong_claims("here", tx.now + timedelta(minutes=2))
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
