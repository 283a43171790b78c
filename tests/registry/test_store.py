"""One behaviour suite for the transaction port: in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

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
from services.registry.core.use_cases import (
    approvals,
    models,
    promotion,
    versions,
)
from services.registry.core.use_cases.aliases import MoveOrder, move_aliases
from services.registry.core.use_cases.deployments import record_deployment
from services.registry.core.versions import Ancestry
from services.registry.wiring import MIGRATIONS
from tests.support.registry_memory import EPOCH, MemoryRegistryTx
from tests.support.registry_values import (
    CHAMPION,
    DATASET,
    JOB,
    MODEL,
    SNAPSHOT,
    Commit,
    create_model,
    evaluated,
    ready_version,
    sealed_snapshot,
)

COMMON_TABLES = {*COMMON.tables, "alembic_version"}


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
