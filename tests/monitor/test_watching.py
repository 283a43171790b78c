"""A whole monitor beside a real registry: from batches on the wire to reports and decisions."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pyarrow as pa
import pytest
from roundhouse.monitor.v1 import monitor_pb2, monitor_service_pb2, retrain_service_pb2
from structlog.testing import capture_logs

from services.common.profiles import Profile
from services.common.rpc.client import connect
from services.common.rpc.convert import from_timestamp
from services.common.store.database import Database
from services.monitor.adapters.baselines import RegistryBaselines
from services.monitor.core.stream.ports import Baseline
from services.monitor.core.use_cases.dry_run import DryRunOrder, dry_run
from tests.support.calls import TIMEOUT_S
from tests.support.monitor_api import arrow, running_monitor
from tests.support.monitor_database import written
from tests.support.monitor_values import CHAMPION, MONITOR, POLICY
from tests.support.predictions import DAY, MONDAY, ORIGINS, World
from tests.support.registry_api import BUNDLE, running_registry

WEEK = 7 * DAY
TRAINING_CSV = b"day,late\n2013-02-01T00:00:00Z,0\n2013-02-28T00:00:00Z,1\n"


@pytest.fixture
def world():
    return World(5)


@asynccontextmanager
async def champion_registry(folder, world):
    """Has the champion, with a profile, a test evaluation and its snapshot."""
    async with running_registry(folder) as registry:
        dataset = await registry.create_dataset()
        winter = await registry.create_snapshot(dataset, "winter", time_column="day")
        await registry.upload_csv(winter, TRAINING_CSV)
        await registry.seal(winter)
        model = await registry.create_model()
        # With sorted keys, as the trainer writes it.
        profile = json.dumps(world.profile().to_json(), sort_keys=True).encode()
        version = await registry.ready_version(
            model, {**BUNDLE, "profile.json": profile}, snapshots=[winter]
        )
        assert version == CHAMPION
        await registry.evaluate(version, winter, auc=0.8, log_loss=0.4)
        registry.model = model
        yield registry


@pytest.fixture
async def registry(tmp_path, world):
    async with champion_registry(tmp_path / "registry", world) as registry:
        yield registry


@asynccontextmanager
async def baselines(registry):
    async with connect(registry.address) as channel:
        yield RegistryBaselines(channel)


async def test_a_baseline_is_the_profile_the_test_scores_and_the_end_of_the_training_data(
    registry, world
):
    async with baselines(registry) as known:
        found = await known.baseline(CHAMPION)
    assert isinstance(found.profile, Profile)
    assert set(found.profile.features) == {"wind", "origin"}
    assert found.test_metrics == {"auc": 0.8, "log_loss": 0.4}
    assert found.trained_until is not None
    assert found.trained_until.isoformat() == "2013-02-28T00:00:00+00:00"
    assert found.columns == {"wind", "origin", "day", "late"}


async def test_a_version_without_profile_or_one_that_is_unknown_has_an_empty_baseline(registry):
    bare = await registry.ready_version(registry.model)
    async with baselines(registry) as known:
        assert await known.baseline(bare) == Baseline()
        assert await known.baseline(f"{registry.model}/versions/99") == Baseline()
        assert await known.baseline("no name at all") == Baseline()


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"features": {"wind": 3}}'])
async def test_a_profile_that_can_t_be_used_is_as_good_as_none(registry, content):
    version = await registry.ready_version(registry.model, {**BUNDLE, "profile.json": content})
    async with baselines(registry) as known:
        with capture_logs() as logs:
            assert (await known.baseline(version)).profile is None
    (told,) = (each for each in logs if each["event"] == "baseline.unusable_profile")
    assert told["version"] == version
    assert told["reason"].startswith("profile.json ")


async def send_weeks(
    caller, world, first: int, last: int, shift: float = 0.0, **columns: pa.Array
) -> None:
    """The predictions of each week and then their outcomes."""
    for week in range(first, last):
        start = MONDAY + week * WEEK
        rows = world.observations(1050, start, start + WEEK, shift=shift)
        for name, values in columns.items():
            rows = rows.append_column(name, values)
        await caller.observe((f"o{week}", arrow(rows)))
        await caller.learn((f"y{week}", arrow(world.outcomes(rows))))


async def reports(caller, count: int):
    """The drift reports, once there are `count`."""
    request = monitor_service_pb2.ListDriftReportsRequest(parent=MONITOR)
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            found = await caller.monitors.ListDriftReports(request, timeout=TIMEOUT_S)
            if len(found.drift_reports) >= count:
                return list(found.drift_reports)
            await asyncio.sleep(0.05)


async def decisions(caller):
    request = retrain_service_pb2.ListRetrainDecisionsRequest(parent=MONITOR)
    found = await caller.retraining.ListRetrainDecisions(request, timeout=TIMEOUT_S)
    return list(found.retrain_decisions)


async def tried_again(data_dir):
    """What the monitor's policies would decide on all that was judged."""
    database = Database(f"sqlite:///{data_dir}/metadata.db")
    order = DryRunOrder(MONITOR, None, MONDAY, MONDAY + 52 * WEEK, None)
    try:
        return (await written(database, lambda tx: dry_run(tx, order))).decisions
    finally:
        database.close()


async def test_traffic_that_changes_is_reported_and_decided_once_across_restarts(
    tmp_path, registry, world
):
    data_dir, address = tmp_path / "monitor", registry.address
    async with running_monitor(data_dir, registry=address) as caller:
        await caller.create_monitor(
            drift_test=monitor_pb2.DriftTest(persistence_hits=2, persistence_windows=3),
            slices=["origin", "wind"],
        )
        await caller.create_policy(MONITOR)
        await send_weeks(caller, world, 0, 2)
        assert [report.rows for report in await reports(caller, 1)] == [1050]
    async with running_monitor(data_dir, registry=address) as caller:
        await send_weeks(caller, world, 2, 4, shift=2.0)
        found = await reports(caller, 3)
    async with running_monitor(data_dir, registry=address) as caller:
        await send_weeks(caller, world, 4, 5, shift=2.0)
        found = await reports(caller, 4)
        assert [list(report.drifted_features) for report in found] == [[], [], [], ["wind"]]
        assert {report.baseline_version for report in found} == {CHAMPION}
        assert [from_timestamp(report.window_start_time) for report in found] == [
            MONDAY + week * WEEK for week in range(4)
        ]
        newest, oldest = await decisions(caller)
        assert (oldest.reason, newest.reason) == ("MARGINAL", "DATA_DRIFT")
        assert newest.kind == monitor_pb2.RetrainDecision.KIND_TRIGGERED
        assert newest.policy == POLICY
        again = [
            (each.choice.reason, dict(each.choice.numbers), each.choice.report)
            for each in await tried_again(data_dir)
        ]
        assert again == [
            (each.reason, dict(each.numbers), each.report) for each in (oldest, newest)
        ]
        assert newest.report == found[-1].name
        whole = await caller.monitors.GetDriftReport(
            monitor_service_pb2.GetDriftReportRequest(name=found[-1].name), timeout=TIMEOUT_S
        )
        wind = next(point for point in whole.points if point.feature == "wind")
        assert sum(each.window_count for each in wind.bins) == wind.window_rows == 1050
        assert wind.effect_size > wind.threshold
        assert not any(report.HasField("slices") for report in found)
        where = {(each.slice_value, each.feature): each for each in whole.slices.points}
        assert {key for key, each in where.items() if each.lasts} == {
            (origin, "wind") for origin in ORIGINS
        }
        assert (whole.slices.measured, list(whole.slices.unsliced_features)) == (9, ["wind"])
        at_ewr = where["EWR", "wind"]
        assert (at_ewr.hits, at_ewr.threshold) == (2, wind.threshold)
        assert sum(each.window_count for each in at_ewr.bins) == at_ewr.window_rows
        assert sum(where[each, "wind"].window_rows for each in ORIGINS) == 1050
        assert not any(report.HasField("attributions") for report in found)
        followed = whole.attributions
        assert (followed.baseline_rows, followed.window_rows) == (1000, 1000)
        # The scores of this world follow nothing.
        assert (followed.measured, followed.moved, followed.lasting) == (2, 0, 0)
        assert {point.feature for point in followed.points} == {"wind", "origin"}
        assert all(
            max(point.baseline, point.window) < point.half_width and point.hits == 0
            for point in followed.points
        )
        performance = await caller.monitors.ListPerformanceReports(
            monitor_service_pb2.ListPerformanceReportsRequest(
                parent=MONITOR, filter=f'version = "{CHAMPION}"'
            ),
            timeout=TIMEOUT_S,
        )
        assert [report.outcomes for report in performance.performance_reports] == [1050] * 4
        assert all(
            set(report.metrics)
            == {"auc", "log_loss", "calibration_error", "calibration_bias", "positive_rate"}
            and 0 < report.auc_half_width < 0.1
            and 0 < report.log_loss_half_width < 0.1
            for report in performance.performance_reports
        )


async def test_a_monitor_that_comes_late_sees_the_past(tmp_path, registry, world):
    async with running_monitor(tmp_path / "monitor", registry=registry.address) as caller:
        await send_weeks(caller, world, 0, 3)
        await caller.create_monitor()
        assert len(await reports(caller, 2)) == 2


async def test_batches_of_one_stream_are_all_acknowledged(tmp_path, world):
    rows = world.observations(40, MONDAY, MONDAY + DAY)
    batches = [(f"b{index}", arrow(rows.slice(index * 10, 10))) for index in range(4)]
    async with running_monitor(tmp_path / "monitor") as caller:
        assert await caller.observe(*batches) == {name: 10 for name, _ in batches}
        assert await caller.observe(("empty", arrow(rows.slice(0, 0)))) == {"empty": 0}
