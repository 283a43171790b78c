from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from roundhouse.registry.v1 import lineage_service_pb2 as pb
from sqlalchemy import Connection, event, text

from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.registry.adapters.database.tables import EDGE
from services.registry.adapters.database.transaction import SqlRegistryTx
from services.registry.core.lineage import BOTH, MAX_EDGES, Bounds, walk
from services.registry.wiring import MIGRATIONS
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.registry_api import BUNDLE, RegistryCaller, running_registry
from tests.support.registry_memory import EPOCH

MODEL = f"{PROJECT}/models/delays"
JOB = f"{PROJECT}/trainingJobs/first"
ENDPOINT = f"{PROJECT}/endpoints/late"
ROLLOUT = f"{ENDPOINT}/rollouts/r"
Node, Deployment = pb.LineageNode, pb.Deployment


async def query(caller: RegistryCaller, name: str, direction: str = "BOTH", **bounds: int):
    return await caller.lineage.QueryLineage(
        pb.QueryLineageRequest(name=name, direction=f"DIRECTION_{direction}", **bounds),
        timeout=TIMEOUT_S,
    )


async def record(caller: RegistryCaller, state: str, **fields: str):
    message = Deployment(
        **{
            "endpoint": ENDPOINT,
            "version": f"{MODEL}/versions/1",
            "state": f"STATE_{state}",
            "time": Timestamp(seconds=1_700_000_000),
            **fields,
        }
    )
    return await caller.lineage.RecordDeployment(
        pb.RecordDeploymentRequest(deployment=message, request_id=request_id()), timeout=TIMEOUT_S
    )


async def served(caller: RegistryCaller) -> str:
    """A version that has gone the whole way to an endpoint."""
    snapshot = await caller.sealed_snapshot(data=b"x,y\n1,2\n")
    model = await caller.create_model()
    version = await caller.ready_version(model, training_job=JOB, snapshots=[snapshot])
    evaluation = await caller.evaluate(version, snapshot, auc=0.7)
    gate = await caller.gate(evaluation.name)
    approval = await caller.ask(version, gate.name)
    await caller.decide(approval.name)
    await record(caller, "ROLLING_OUT", rollout=ROLLOUT, approval=approval.name)
    await record(caller, "SUCCEEDED", rollout=ROLLOUT, approval=approval.name)
    return version


async def test_one_query_tells_how_a_version_came_to_be_and_what_came_of_it(
    caller: RegistryCaller,
) -> None:
    version = await served(caller)
    answer = await query(caller, version)
    assert not answer.truncated
    kinds = {node.name: Node.Kind.Name(node.kind).removeprefix("KIND_") for node in answer.nodes}
    edges = {(kinds[getattr(e, "from")], e.relation, kinds[e.to]) for e in answer.edges}
    assert edges == {
        ("SNAPSHOT", "selected", "FEATURE"),
        ("FEATURE", "featured", "VERSION"),
        ("SNAPSHOT", "trained", "VERSION"),
        ("SNAPSHOT", "trained", "TRAINING_JOB"),
        ("TRAINING_JOB", "produced", "VERSION"),
        ("VERSION", "evaluated", "EVALUATION"),
        ("EVALUATION", "gated", "GATE_RESULT"),
        ("GATE_RESULT", "approved", "APPROVAL"),
        ("APPROVAL", "permitted", "ROLLOUT"),
        ("VERSION", "deployed", "ROLLOUT"),
        ("ROLLOUT", "served", "ENDPOINT"),
    }
    told = {kinds[node.name]: (node.state, node.label) for node in answer.nodes}
    assert told["FEATURE"] == ("", "x")
    assert told["EVALUATION"] == ("", "test: auc 0.7")
    assert told["APPROVAL"] == ("APPROVED", "asked by ann, decided by bob")
    assert told["ROLLOUT"] == ("SUCCEEDED", version)
    assert told["ENDPOINT"] == ("SERVING", version)
    assert answer.nodes[0].name == version
    assert all(node.HasField("time") for node in answer.nodes if node.state)


async def test_an_endpoint_is_traced_to_the_column_and_a_column_to_the_endpoint(
    caller: RegistryCaller,
) -> None:
    await served(caller)
    feature = f"{PROJECT}/datasets/flights/snapshots/january/features/x"
    up = {node.name for node in (await query(caller, ENDPOINT, "UPSTREAM")).nodes}
    down = {node.name for node in (await query(caller, feature, "DOWNSTREAM")).nodes}
    assert feature in up
    assert ENDPOINT in down
    # What no version takes is no feature.
    assert not any(name.endswith("/features/y") for name in up)


async def test_the_same_query_gives_the_same_order_and_no_more_than_was_asked_for(
    caller: RegistryCaller,
) -> None:
    version = await served(caller)
    whole = await query(caller, version)
    assert whole == await query(caller, version)
    part = await query(caller, version, max_edges=4)
    assert list(part.edges) == list(whole.edges[:4])
    assert part.truncated


async def test_a_name_that_nothing_refers_to_is_a_graph_of_one_node(
    caller: RegistryCaller,
) -> None:
    answer = await query(caller, JOB)
    assert [(node.name, node.kind) for node in answer.nodes] == [(JOB, Node.KIND_TRAINING_JOB)]
    assert not answer.edges


async def test_a_report_that_comes_late_changes_no_state(caller: RegistryCaller) -> None:
    version = await served(caller)
    await record(caller, "ROLLING_OUT", rollout=ROLLOUT, time=Timestamp(seconds=1_600_000_000))
    states = {node.name: node.state for node in (await query(caller, version)).nodes}
    assert (states[ROLLOUT], states[ENDPOINT]) == ("SUCCEEDED", "SERVING")
    await record(caller, "DELETED", time=Timestamp(seconds=1_700_000_001))
    states = {node.name: node.state for node in (await query(caller, version)).nodes}
    assert (states[ROLLOUT], states[ENDPOINT]) == ("SUCCEEDED", "DELETED")


async def test_a_report_whose_parts_do_not_belong_together_is_refused(
    caller: RegistryCaller,
) -> None:
    version = await served(caller)
    for field, fields in (
        ("deployment.rollout", {"rollout": f"{PROJECT}/endpoints/other/rollouts/r"}),
        ("deployment.approval", {"approval": f"{MODEL}/versions/9/approvals/a"}),
    ):
        with refused() as refusal:
            await record(caller, "SUCCEEDED", version=version, **fields)
        assert (refusal.code, refusal.reason, refusal.fields()) == (
            StatusCode.INVALID_ARGUMENT,
            "INVALID_DEPLOYMENT",
            [field],
        )
        assert refusal.metadata == {"endpoint": ENDPOINT}
    with refused() as refusal:
        await record(caller, "FAILED", version=version)
    assert refusal.fields() == ["deployment.state"]
    with refused() as refusal:
        await record(caller, "SUCCEEDED", version=f"{MODEL}/versions/9")
    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "VERSION_NOT_FOUND")
    with refused() as refusal:
        await record(caller, "SUCCEEDED", version=version, endpoint="late")
    assert (refusal.reason, refusal.fields()) == ("INVALID_NAME", ["deployment.endpoint"])


async def test_features_survive_a_restart(tmp_path: Path) -> None:
    async with running_registry(tmp_path) as caller:
        snapshot = await caller.sealed_snapshot(data=b"x\n1\n")
        version = await caller.ready_version(
            await caller.create_model(), {**BUNDLE, "card.md": b"1"}, snapshots=[snapshot]
        )
    async with running_registry(tmp_path) as caller:
        answer = await query(caller, version, "UPSTREAM")
    assert [node.label for node in answer.nodes if node.kind == Node.KIND_FEATURE] == ["x"]


@pytest.fixture
async def crowded(database_url: str):
    """100,000 edges: a snapshot that 50,000 jobs were trained on, each with a version."""
    database = Database(database_url)
    await migrate(database, MIGRATIONS)

    def fill(connection: Connection) -> None:
        rows = []
        for i in range(50_000):
            job, version = f"{PROJECT}/trainingJobs/j{i}", f"{MODEL}/versions/{i + 1}"
            for source, target, relation in (
                (f"{PROJECT}/datasets/d/snapshots/s", job, "trained"),
                (job, version, "produced"),
            ):
                rows.append(
                    {"source": source, "target": target, "relation": relation, "time": EPOCH}
                )
        connection.execute(EDGE.insert(), rows)
        if database.dialect == "postgresql":
            connection.execute(text("ANALYZE lineage_edge"))

    await database.write(fill)
    yield database
    database.close()


@pytest.mark.real
async def test_a_hundred_thousand_edges_are_read_through_an_index_and_in_few_queries(
    crowded: Database,
) -> None:
    statements: list[tuple[str, object]] = []

    def note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        statements.append((statement, parameters))

    def around(connection: Connection, name: str):
        event.listen(connection, "before_cursor_execute", note)
        tx = SqlRegistryTx(connection, EPOCH + timedelta(days=1))
        graph = walk(name, BOTH, Bounds(8, MAX_EDGES), tx.edges_at)
        assert len(tx.nodes(graph.names)) == len(graph.names)
        return graph

    one = await crowded.read(lambda tx: around(tx, f"{MODEL}/versions/777"))
    assert len(one.edges) == 2
    assert len(statements) < 12
    hub = await crowded.read(lambda tx: around(tx, f"{PROJECT}/datasets/d/snapshots/s"))
    assert (len(hub.edges), hub.truncated) == (MAX_EDGES, True)
    asked = [each for each in statements if "FROM lineage_edge" in each[0]]

    def plans(connection: Connection) -> list[str]:
        explain = "EXPLAIN" if crowded.dialect == "postgresql" else "EXPLAIN QUERY PLAN"
        return [
            "\n".join(
                str(row) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters)
            )
            for statement, parameters in asked
        ]

    for plan in await crowded.read(plans):
        assert "ix_lineage_edge_" in plan or "lineage_edge_pkey" in plan, plan
        assert "Seq Scan" not in plan
        assert "SCAN lineage_edge" not in plan
