"""What the registry hears of endpoints and rollouts: everything, once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from roundhouse.registry.v1 import lineage_service_pb2 as lineage

from services.common.errors import ServiceError
from services.common.rpc.remote import DependencyUnavailable
from services.common.store import leases
from services.common.store.database import Database
from services.common.store.leases import Lease, LeaseLost
from services.common.store.migrations import migrate
from services.common.store.outbox import Outbox
from services.inference.adapters.happenings import OutboxHappenings
from services.inference.core.telling import DeploymentTeller, Report, Turn
from services.inference.wiring import MIGRATIONS
from tests.support.fake_monitor import Response, fake_monitor
from tests.support.inference_api import (
    ENDPOINT,
    TIMEOUT_S,
    registry_with_models,
    running_inference,
)
from tests.support.serving import T0

VERSION = "projects/default/models/delays/versions/1"
OUTBOX = Outbox("inference")


class Listener:
    """A registry that may be away; a repeated request id changes nothing."""

    def __init__(self) -> None:
        self.heard: list[Report] = []
        self.calls = 0
        self.error: ServiceError | None = None

    async def record_deployment(self, report: Report) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        if report.request_id not in {each.request_id for each in self.heard}:
            self.heard.append(report)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    await migrate(database, MIGRATIONS)
    yield database
    database.close()


def lease_of(database: Database, holder: str = "one") -> Lease:
    lease = database.write_now(
        lambda tx: leases.claim(tx, "telling", holder, timedelta(seconds=6), T0)
    )
    assert lease is not None
    return lease


def emit(database: Database, kind: str, subject: str = f"{ENDPOINT}/rollouts/r") -> None:
    data = {"endpoint": ENDPOINT, "version": VERSION, "approval": "a", "reason": "because"}
    database.write_now(lambda tx: OUTBOX.append(tx, kind, subject, T0, data))


def teller(database: Database, listener: Listener, lease: Lease) -> DeploymentTeller:
    return DeploymentTeller(OutboxHappenings(database, lease, lambda: T0), listener)


async def test_each_turn_is_told_once_and_in_order_also_after_a_restart(
    database: Database,
) -> None:
    listener = Listener()
    emit(database, "endpoint.created", ENDPOINT)
    emit(database, "endpoint.updated", ENDPOINT)
    emit(database, "rollout.created")
    assert await teller(database, listener, lease_of(database))._pass()
    emit(database, "rollout.phase_started")
    emit(database, "rollout.rolled_back")
    emit(database, "endpoint.deleted", ENDPOINT)
    assert await teller(database, listener, lease_of(database))._pass()
    assert [(each.rollout, each.turn) for each in listener.heard] == [
        ("", Turn.SUCCEEDED),
        (f"{ENDPOINT}/rollouts/r", Turn.ROLLING_OUT),
        (f"{ENDPOINT}/rollouts/r", Turn.ROLLED_BACK),
        ("", Turn.DELETED),
    ]
    assert {each.endpoint for each in listener.heard} == {ENDPOINT}
    assert listener.calls == 4


async def test_a_registry_that_is_away_hears_the_same_later(database: Database) -> None:
    listener = Listener()
    emit(database, "rollout.created")
    emit(database, "rollout.succeeded")
    telling_one = teller(database, listener, lease_of(database))
    listener.error = DependencyUnavailable("registry")
    assert not await telling_one._pass()
    assert listener.calls == 1
    listener.error = None
    assert await telling_one._pass()
    assert [each.turn for each in listener.heard] == [Turn.ROLLING_OUT, Turn.SUCCEEDED]


async def test_a_death_between_telling_and_noting_repeats_the_same_request(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    emit(database, "rollout.created")
    emit(database, "rollout.succeeded")

    async def die(*_: object) -> None:
        raise ConnectionAbortedError

    with monkeypatch.context() as patch:
        patch.setattr(OutboxHappenings, "done", die)
        with pytest.raises(ConnectionAbortedError):
            await teller(database, listener, lease_of(database))._pass()
    assert await teller(database, listener, lease_of(database))._pass()
    assert listener.calls == 3
    assert [each.turn for each in listener.heard] == [Turn.ROLLING_OUT, Turn.SUCCEEDED]


async def test_who_lost_the_lease_notes_nothing(database: Database) -> None:
    listener = Listener()
    emit(database, "rollout.created")
    old = teller(database, listener, lease_of(database))
    new = lease_of(database)  # the same holder, restarted
    with pytest.raises(LeaseLost):
        await old._pass()
    assert await teller(database, listener, new)._pass()
    assert len(listener.heard) == 1


async def test_the_registry_knows_who_serves_what(tmp_path: Path) -> None:
    async with (
        registry_with_models(tmp_path / "registry") as registry,
        fake_monitor() as monitor,
        running_inference(tmp_path / "inference", registry.address, monitor.address) as inference,
    ):
        monitor.verdict = Response.VERDICT_PASS
        first, second = await registry.approved(), await registry.approved(0.5)
        await inference.create_endpoint(first)
        await inference.create_rollout(second)
        rollout = f"{ENDPOINT}/rollouts/r"
        states: dict[str, str] = {}
        async with asyncio.timeout(TIMEOUT_S * 3):
            while states.get(rollout) != "SUCCEEDED":
                answer = await registry.caller.lineage.QueryLineage(
                    lineage.QueryLineageRequest(name=ENDPOINT, direction="DIRECTION_UPSTREAM"),
                    timeout=TIMEOUT_S,
                )
                states = {node.name: node.state for node in answer.nodes}
                await asyncio.sleep(0.05)
    assert states[ENDPOINT] == "SERVING"
    assert states[rollout] == "SUCCEEDED"
    assert {first.version, first.approval, second.version, second.approval} < states.keys()
