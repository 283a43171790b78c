"""A registry that has been lived in: every kind of resource, changed, moved and removed."""

from __future__ import annotations

from typing import Any

from roundhouse.registry.v1 import dataset_service_pb2 as datasets_pb
from roundhouse.registry.v1 import model_pb2
from roundhouse.registry.v1 import model_service_pb2 as models_pb
from sqlalchemy import select

from services.common.store.database import Database
from services.registry.adapters.database.journal import KINDS, ROWS
from tests.support.calls import PROJECT, TIMEOUT_S, request_id
from tests.support.registry_api import BUNDLE, RegistryCaller

MODEL = f"{PROJECT}/models/delays"
CHAMPION = f"{MODEL}/aliases/champion"
POLICY = model_pb2.PromotionPolicy(
    rules=[
        model_pb2.GateRule(
            metric="auc", comparison=model_pb2.GateRule.COMPARISON_AT_LEAST, value=0.6
        )
    ],
    protected_aliases=["champion"],
)


async def live(caller: RegistryCaller) -> None:
    """Do everything once that changes the registry; versions 1 to 5 of `MODEL`."""
    january = await caller.sealed_snapshot("january", b"x,day\n1,2\n3,4\n")
    dataset = january.rpartition("/snapshots/")[0]
    await caller.create_snapshot(dataset, "open", parents=[january], labels={"a": "b"})
    gone = await caller.create_dataset("gone")
    await caller.datasets.DeleteDataset(
        datasets_pb.DeleteDatasetRequest(name=gone, request_id=request_id()), timeout=TIMEOUT_S
    )
    model = await caller.create_model("delays", promotion_policy=POLICY)
    first, second = [
        await caller.ready_version(
            model, {**BUNDLE, "card.md": card}, snapshots=[january], labels={"seed": "7"}
        )
        for card in (b"first", b"second")
    ]
    approvals = []
    for version, auc in ((first, 0.7), (second, 0.8)):
        evaluation = await caller.evaluate(version, january, auc=auc)
        gate = await caller.gate(evaluation.name)
        approvals.append((await caller.ask(version, gate.name)).name)
        await caller.decide(approvals[-1], comment="fine")
    await caller.move((CHAMPION, first, ""), (f"{MODEL}/aliases/latest", first, ""))
    await caller.move((CHAMPION, second, first))
    await _end_versions(caller, model)
    await caller.models.UpdateModel(
        models_pb.UpdateModelRequest(
            model=model_pb2.Model(
                name=model, description="On time?", labels={"x": "y"}, promotion_policy=POLICY
            ),
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )
    await caller.models.VerifyVersion(
        models_pb.VerifyVersionRequest(name=second, request_id=request_id()), timeout=TIMEOUT_S
    )


async def _end_versions(caller: RegistryCaller, model: str) -> None:
    """One version given up, one deprecated, one still open."""
    given_up = await caller.begin(model)
    await caller.models.AbortVersionUpload(
        models_pb.AbortVersionUploadRequest(name=given_up, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    old = await caller.ready_version(model, {**BUNDLE, "card.md": b"old"})
    await caller.models.DeprecateVersion(
        models_pb.DeprecateVersionRequest(name=old, request_id=request_id()), timeout=TIMEOUT_S
    )
    await caller.upload_artifact(await caller.begin(model), "card.md", b"open")


def contents(url: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table that is restored; in order, where only the order counts.

    Not the answers to requests: those that changed nothing are forgotten.
    """
    database = Database(url)
    tables = {**{name: kind.table for name, kind in KINDS.items()}, **ROWS}

    def dump(connection: Any) -> dict[str, list[dict[str, Any]]]:
        found = {}
        for name, table in tables.items():
            if name == "request":
                continue
            rows = connection.execute(select(table).order_by(*table.primary_key.columns))
            found[name] = [
                {key: value for key, value in row.items() if key != "seq" or name == "event"}
                for row in rows.mappings()
            ]
        return found

    try:
        return database.read_now(dump)
    finally:
        database.close()
