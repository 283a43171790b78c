"""Retraining on events and new columns, or distilling: a whole monitor beside a registry."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from google.type.money_pb2 import Money
from grpc import StatusCode
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit
from roundhouse.monitor.v1 import (
    alert_service_pb2,
    monitor_pb2,
    retrain_service_pb2,
    slo_pb2,
    slo_service_pb2,
)

from services.common.clock import utc_now
from services.common.rpc.convert import from_timestamp
from services.monitor.core.resources import EventTrigger, NewFeatureTrigger
from services.monitor.core.use_cases.events import (
    SealedSnapshot,
    datasets_asked_about,
    declare_event,
    note_sealed,
)
from tests.monitor.test_watching import WEEK, champion_registry, decisions, reports, send_weeks
from tests.support.calls import TIMEOUT_S, refused, request_id
from tests.support.monitor_api import running_monitor
from tests.support.monitor_database import monitor_database, written
from tests.support.monitor_values import DATASET, MARCH, MONITOR, new_episode, policy_of, watched
from tests.support.predictions import MONDAY, World

GUIDE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
Policy = monitor_pb2.RetrainPolicy
ROWS = 1050


@pytest.fixture
def world():
    return World(5)


@pytest.fixture
async def registry(tmp_path, world):
    async with champion_registry(tmp_path / "registry", world) as registry:
        yield registry


@pytest.fixture
async def caller(tmp_path, registry):
    settings = {"registry": registry.address, "alert_interval_s": 0.1}
    async with running_monitor(tmp_path / "monitor", **settings) as caller:
        await caller.create_monitor()
        yield caller


@pytest.fixture
async def database(database_url):
    async with monitor_database(database_url) as database:
        yield database


def only(**trigger):
    """A policy with this trigger alone."""
    return {"data_drift": None, **trigger}


async def events(caller):
    request = retrain_service_pb2.ListRetrainEventsRequest(parent=MONITOR)
    found = await caller.retraining.ListRetrainEvents(request, timeout=TIMEOUT_S)
    return list(found.retrain_events)


def dollars(units):
    return Money(currency_code="USD", units=units)


def declaration(**fields):
    return retrain_service_pb2.DeclareRetrainEventRequest(
        **{
            "parent": MONITOR,
            "kind": "catalog-changed",
            "description": "Three new airports.",
            "request_id": request_id(),
            **fields,
        }
    )


async def test_a_declared_event_retrains_with_the_next_window(caller, world):
    await caller.create_policy(MONITOR, **only(events=Policy.Events(kinds=["catalog-changed"])))
    await send_weeks(caller, world, 0, 2)
    (first,) = await reports(caller, 1)
    request = declaration()
    event = await caller.retraining.DeclareRetrainEvent(request, timeout=TIMEOUT_S)
    assert await caller.retraining.DeclareRetrainEvent(request, timeout=TIMEOUT_S) == event
    assert (event.kind, event.snapshot) == ("catalog-changed", "")
    assert event.event_time == first.window_end_time
    await caller.retraining.DeclareRetrainEvent(declaration(kind="strike"), timeout=TIMEOUT_S)
    assert [each.kind for each in await events(caller)] == ["strike", "catalog-changed"]
    await send_weeks(caller, world, 2, 4)
    await reports(caller, 3)
    (decision,) = await decisions(caller)
    assert (decision.kind, decision.reason) == (decision.KIND_TRIGGERED, "EVENT")
    assert "Three new airports." in decision.explanation
    assert decision.numbers == {"event_age_days": 7.0}
    assert from_timestamp(decision.event_time) == MONDAY + 2 * WEEK


async def test_a_snapshot_that_is_sealed_retrains_and_older_ones_do_not(caller, world, registry):
    await caller.create_policy(MONITOR, **only(events=Policy.Events(datasets=[DATASET])))
    await send_weeks(caller, world, 0, 2)
    await reports(caller, 1)
    spring = await registry.sealed_snapshot("spring", b"day,late\n2013-03-02T00:00:00Z,0\n")
    async with asyncio.timeout(60):
        while not (found := await events(caller)):
            await asyncio.sleep(0.05)
    (event,) = found
    assert (event.kind, event.snapshot) == ("", spring)
    assert "of 1 rows was sealed" in event.description
    await send_weeks(caller, world, 2, 3)
    await reports(caller, 2)
    (decision,) = await decisions(caller)
    assert (decision.kind, decision.reason) == (decision.KIND_TRIGGERED, "EVENT")
    assert spring in decision.explanation


async def test_a_column_that_most_rows_have_and_no_training_had_retrains_once(caller, world):
    await caller.create_policy(
        MONITOR, cool_down={"seconds": 0}, **only(new_features=Policy.NewFeatures())
    )
    gust = pa.array([1.5] * ROWS, pa.float32())
    few = ROWS // 2 - 1
    rare = pa.array([1.5] * few + [None] * (ROWS - few), pa.float32())
    # The champion's snapshot had "late" beside its features, so that is none of the new ones.
    await send_weeks(caller, world, 0, 3, f_gust=gust, f_snow=rare, f_late=gust)
    await reports(caller, 2)
    found = await decisions(caller)
    assert [(each.kind, each.reason) for each in found][-1] == (
        monitor_pb2.RetrainDecision.KIND_TRIGGERED,
        "NEW_FEATURES",
    )
    assert "not trained beside gust (1 new, 1 suffice)" in found[-1].explanation
    assert [each.kind for each in found].count(monitor_pb2.RetrainDecision.KIND_TRIGGERED) == 1


async def test_the_guide_s_commands_declare_and_list(caller, tmp_path, capsys):
    commands = re.findall(r"^roundhouse (retrains (?:declare|events) .+)$", GUIDE, re.MULTILINE)
    before = ["--data-dir", str(tmp_path), "--address", f"monitor={caller.address}"]
    for command in commands:
        words = [quoted or word for quoted, word in re.findall(r'"([^"]+)"|(\S+)', command)]
        capsys.readouterr()
        assert await asyncio.to_thread(run, [*before, *words]) == Exit.OK
        assert "catalog-changed" in capsys.readouterr().out
    words = ["retrains", "declare", "delays", "strike", "--reason", "No crew."]
    words += ["--at", "2013-03-04", "--json"]
    assert await asyncio.to_thread(run, [*before, *words]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["event_time"] == "2013-03-04T00:00:00Z"


async def test_what_is_no_event_or_no_trigger_is_refused(caller):
    for fields, field in (
        ({"kind": "Catalog changed"}, "kind"),
        ({"description": ""}, "description"),
    ):
        with refused() as refusal:
            await caller.retraining.DeclareRetrainEvent(declaration(**fields), timeout=TIMEOUT_S)
        assert refusal.fields() == [field]
    with refused() as refusal:
        await caller.retraining.DeclareRetrainEvent(
            declaration(parent=f"{MONITOR}-2"), timeout=TIMEOUT_S
        )
    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "MONITOR_NOT_FOUND")
    for trigger, field in (
        (Policy.Events(), "retrain_policy.events"),
        (Policy.Events(datasets=["flights"]), "retrain_policy.events.datasets[0]"),
    ):
        with refused() as refusal:
            await caller.create_policy(MONITOR, **only(events=trigger))
        assert refusal.fields() == [field]
    quality = Policy.Quality(metric="auc", max_drop=0.02)
    euros = Money(currency_code="EUR", units=1)
    for efficiency, more, field in (
        (Policy.Efficiency(), {}, "retrain_policy.efficiency"),
        (
            Policy.Efficiency(price_per_hour=euros),
            {"quality": quality},
            "retrain_policy.efficiency",
        ),
        (
            Policy.Efficiency(price_per_hour=euros, max_price_per_thousand=dollars(1)),
            {"quality": quality},
            "retrain_policy.efficiency.max_price_per_thousand",
        ),
    ):
        with refused() as refusal:
            await caller.create_policy(MONITOR, efficiency=efficiency, **more)
        assert refusal.fields() == [field]


async def test_slow_answers_of_a_good_version_call_for_a_student(caller, world):
    """The recommendation on a real monitor: the objective's alert is what makes it slow."""
    fast = slo_pb2.Slo(latency=slo_pb2.Slo.Latency(bound={"nanos": 1_000_000}), target=0.99)
    request = slo_service_pb2.CreateSloRequest(
        parent=MONITOR, slo_id="fast", slo=fast, request_id=request_id()
    )
    await caller.slos.CreateSlo(request, timeout=TIMEOUT_S)
    await caller.create_policy(
        MONITOR,
        **only(
            quality=Policy.Quality(metric="log_loss", max_drop=5.0),
            efficiency=Policy.Efficiency(),
        ),
    )
    took = pa.array([5_000] * ROWS, pa.int64())
    answered = pa.array([False] * ROWS)
    await send_weeks(caller, world, 0, 4, latency_us=took, failed=answered)
    await reports(caller, 3)
    asked = alert_service_pb2.ListAlertsRequest(parent=MONITOR)
    async with asyncio.timeout(60):
        while not (await caller.alerts.ListAlerts(asked, timeout=TIMEOUT_S)).alerts:
            await asyncio.sleep(0.05)
    await send_weeks(caller, world, 4, 6, latency_us=took, failed=answered)
    await reports(caller, 5)
    decision, *_ = await decisions(caller)
    assert (decision.kind, decision.reason) == (decision.KIND_DECLINED, "DISTIL")
    assert decision.numbers["latency_bound_ms"] == 1.0
    assert decision.numbers["burn_rate"] == pytest.approx(100.0)
    assert "slos/fast wants answers within 1 ms" in decision.explanation


async def test_a_policy_comes_back_with_its_events_and_columns(caller):
    triggers = {
        "events": Policy.Events(kinds=["a", "b"], datasets=[DATASET]),
        "new_features": Policy.NewFeatures(min_columns=2, ignored=["tail"]),
        "critical": True,
        "efficiency": Policy.Efficiency(
            price_per_hour=dollars(1), max_price_per_thousand=dollars(2)
        ),
    }
    quality = Policy.Quality(metric="auc", max_drop=0.02)
    made = await caller.create_policy(MONITOR, **only(quality=quality, **triggers))
    kept = (made.events, made.new_features, made.critical, made.efficiency)
    assert kept == tuple(triggers.values())


def sealed(event_id="e", **fields):
    return SealedSnapshot(
        **{
            "event_id": event_id,
            "name": f"{DATASET}/snapshots/{event_id}",
            "rows": 9,
            "columns": ("wind", "gust"),
            "seal_time": utc_now(),
            "episode": "",
            **fields,
        }
    )


async def test_a_seal_is_noted_once_for_those_who_asked_before_and_not_if_an_episode_built_it(
    database,
):
    def note(tx):
        episode = new_episode(tx)
        assert datasets_asked_about(tx) == set()
        note_sealed(tx, sealed("nobody-asks"))
        policy_of(tx, f"{MONITOR}/retrainPolicies/new", new_features=NewFeatureTrigger())
        assert datasets_asked_about(tx) == {DATASET}
        note_sealed(tx, sealed("before", seal_time=tx.now - timedelta(days=1)))
        note_sealed(tx, sealed("own", episode=episode.meta.uid))
        note_sealed(tx, sealed("other", name=f"{DATASET}-2/snapshots/s"))
        for _ in range(2):
            note_sealed(tx, sealed("new", seal_time=tx.now))
        return [
            (each.snapshot, each.source, each.columns) for each in tx.retrain_events.under(MONITOR)
        ]

    assert await written(database, note) == [
        (f"{DATASET}/snapshots/new", DATASET, ("wind", "gust"))
    ]


async def test_the_newest_event_of_each_source_before_a_moment_is_known(database):
    def declare(tx):
        watched(tx)
        policy_of(tx, min_drifted_features=None, events=EventTrigger(("a", "b")))
        for kind, day in (("a", 1), ("b", 5), ("a", 3), ("a", 2), ("b", 9)):
            declare_event(
                tx,
                MONITOR,
                kind=kind,
                description=str(day),
                event_time=MARCH + timedelta(days=day),
            )
        known = tx.newest_events(MONITOR, MARCH + timedelta(days=9))
        return [(each.source, each.description) for each in known]

    assert await written(database, declare) == [("a", "3"), ("b", "5")]
