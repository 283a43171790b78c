"""Objectives over gRPC, counted on what a real monitor took in."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from roundhouse.monitor.v1 import slo_pb2, slo_service_pb2

from services.common.rpc.convert import to_duration, to_timestamp
from services.monitor.core.stream.batches import OBSERVATION_COLUMNS, REQUEST_COLUMNS
from tests.support.calls import TIMEOUT_S, refused, request_id
from tests.support.monitor_api import arrow, running_monitor
from tests.support.monitor_values import CHAMPION, ENDPOINT, MARCH, MONITOR

SLO = f"{MONITOR}/slos/answers"
AVAILABILITY = {"availability": slo_pb2.Slo.Availability(), "target": 0.9}


@pytest.fixture
async def caller(tmp_path):
    async with running_monitor(tmp_path / "monitor") as caller:
        await caller.create_monitor()
        yield caller


async def create(caller, slo_id="answers", **fields):
    request = slo_service_pb2.CreateSloRequest(
        parent=MONITOR,
        slo_id=slo_id,
        slo=slo_pb2.Slo(**(fields or AVAILABILITY)),
        request_id=request_id(),
    )
    created = await caller.slos.CreateSlo(request, timeout=TIMEOUT_S)
    assert await caller.slos.CreateSlo(request, timeout=TIMEOUT_S) == created
    return created


async def budget(caller, name=SLO, end=None):
    end_time = None if end is None else to_timestamp(end)
    request = slo_service_pb2.GetErrorBudgetRequest(name=name, end_time=end_time)
    return await caller.slos.GetErrorBudget(request, timeout=TIMEOUT_S)


def requests(first, latencies):
    """One request a minute, which failed where its latency is None; of two predictions each."""
    rows = [
        (f"{first}-{minute}-{part}", MARCH + timedelta(minutes=minute), latency, part)
        for minute, latency in enumerate(latencies)
        for part in range(1 if latency is None else 2)
    ]
    values = {
        "prediction_id": [name for name, *_ in rows],
        "event_time": [time for _, time, *_ in rows],
        "endpoint": [ENDPOINT] * len(rows),
        "variant": [CHAMPION] * len(rows),
        "score": [0.5] * len(rows),
        "label": [1] * len(rows),
        "latency_us": [latency if part == 0 else None for *_, latency, part in rows],
        "failed": [latency is None for *_, latency, _ in rows],
    }
    schema = pa.schema([*OBSERVATION_COLUMNS.items(), *REQUEST_COLUMNS.items()])
    return arrow(pa.table(values, schema=schema))


async def test_an_objective_is_created_once_read_changed_listed_and_deleted(caller):
    created = await create(caller)
    assert (created.name, created.min_bad_events) == (SLO, 10)
    assert created.window == to_duration(30 * 86_400)
    changed = await caller.slos.UpdateSlo(
        slo_service_pb2.UpdateSloRequest(
            slo=slo_pb2.Slo(name=SLO, owner="ops", etag=created.etag, **AVAILABILITY),
            update_mask=FieldMask(paths=["owner"]),
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )
    assert (changed.owner, changed.target) == ("ops", created.target)
    listed = slo_service_pb2.ListSlosRequest(parent=MONITOR)
    assert list((await caller.slos.ListSlos(listed, timeout=TIMEOUT_S)).slos) == [changed]
    with refused() as refusal:
        await caller.slos.UpdateSlo(
            slo_service_pb2.UpdateSloRequest(
                slo=slo_pb2.Slo(name=SLO, jobs=slo_pb2.Slo.Jobs(), target=0.9),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )
    assert (refusal.reason, refusal.metadata["field"]) == ("FIELD_IMMUTABLE", "slo.availability")
    with refused() as refusal:
        await create(caller)
    assert (refusal.code, refusal.reason) == (StatusCode.ALREADY_EXISTS, "SLO_EXISTS")
    await caller.slos.DeleteSlo(
        slo_service_pb2.DeleteSloRequest(name=SLO, request_id=request_id()), timeout=TIMEOUT_S
    )
    with refused() as refusal:
        await budget(caller)
    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "SLO_NOT_FOUND")


async def test_an_objective_needs_something_to_count_and_a_share_between_none_and_all(caller):
    for fields in (
        {"target": 0.9},
        {**AVAILABILITY, "target": 1.0},
        {**AVAILABILITY, "window": to_duration(86_400)},
        {"latency": slo_pb2.Slo.Latency(), "target": 0.9},
        {**AVAILABILITY, "uid": "mine"},
    ):
        with refused() as refusal:
            await create(caller, **fields)
        assert refusal.code is StatusCode.INVALID_ARGUMENT
        assert refusal.fields()


async def test_budgets_count_requests_and_are_the_same_after_a_restart(tmp_path):
    bound = slo_pb2.Slo.Latency(bound=to_duration(0.1))
    async with running_monitor(tmp_path / "monitor") as caller:
        await caller.create_monitor()
        await create(caller)
        assert not (await budget(caller)).HasField("time")
        await create(caller, "fast", latency=bound, target=0.5)
        first = [50_000] * 6 + [100_000, 100_001] + [None] * 2
        await caller.observe(("a", requests("a", first)), ("b", requests("b", [1] * 10)))
        found = await budget(caller)
        assert found.time == to_timestamp(MARCH + timedelta(minutes=10))
        assert (found.good_events, found.total_events, found.allowed_events) == (18, 20, 2.0)
        assert (found.sli, found.consumed, found.remaining) == (0.9, 1.0, 0.0)
        assert not any(rate.firing for rate in found.burn_rates)
        fast = await budget(caller, f"{MONITOR}/slos/fast")
        assert (fast.good_events, fast.total_events) == (17, 18)
        earlier = await budget(caller, end=MARCH + timedelta(minutes=9, seconds=30))
        assert earlier.time == to_timestamp(MARCH + timedelta(minutes=9))
        assert (earlier.good_events, earlier.total_events) == (17, 18)
        with refused() as refusal:
            await budget(caller, end=MARCH - timedelta(days=61))
        assert (refusal.code, refusal.reason) == (
            StatusCode.FAILED_PRECONDITION,
            "BUDGET_NOT_KEPT",
        )
    async with running_monitor(tmp_path / "monitor") as caller:
        assert await budget(caller) == found
        assert await budget(caller, f"{MONITOR}/slos/fast") == fast


async def test_a_quality_objective_without_reports_has_all_its_budget(caller):
    quality = slo_pb2.Slo.Quality(metric="auc", bar=0.7)
    created = await create(caller, quality=quality, target=0.9)
    assert (created.quality.min_outcomes, created.min_bad_events) == (500, 1)
    found = await budget(caller)
    assert (found.total_events, found.remaining) == (0, 1.0)


async def test_jobs_are_not_guessed_while_the_trainer_is_away(caller):
    await create(caller, jobs=slo_pb2.Slo.Jobs(), target=0.9)
    with refused() as refusal:
        await budget(caller)
    assert refusal.code is StatusCode.UNAVAILABLE
