"""The monitor's records on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.common.clock import utc_now
from services.common.resources import ConcurrentChange, PageQuery
from services.common.store import leases
from services.common.store.leases import LeaseLost
from services.common.store.outbox import EventFilter, read_after
from services.common.store.tables import METADATA as COMMON
from services.monitor.adapters.database.episodes import SqlEpisodeStore
from services.monitor.adapters.database.lists import SqlMonitorLists
from services.monitor.adapters.database.tables import METADATA
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.core.detecting import Findings
from services.monitor.core.errors import EpisodeActive, MonitorExists
from services.monitor.core.heat import summary_of
from services.monitor.core.loop.episodes import EpisodeState
from services.monitor.core.naming import Change
from services.monitor.core.resources import (
    AttributionDrift,
    AttributionPoint,
    ChangeKind,
    HistogramBin,
    Severity,
    SliceDrift,
    SlicePoint,
    SliceQuality,
)
from services.monitor.core.use_cases.monitors import delete_monitor
from services.monitor.core.use_cases.reports import (
    record_drift_report,
    record_performance_report,
)
from services.monitor.core.use_cases.retraining import history_of
from services.monitor.core.windows import window_at
from tests.support.monitor_database import monitor_database, written
from tests.support.monitor_values import (
    CHAMPION,
    MARCH,
    MONITOR,
    POLICY,
    new_episode,
    policy_of,
    triggered,
    watched,
)

WEEK = window_at(MARCH, timedelta(days=7))
TTL = timedelta(seconds=6)
SLICE = SliceQuality(
    feature="carrier",
    value="HA",
    predictions=4,
    outcomes=3,
    metrics={"log_loss": 0.5},
    auc_half_width=0.0,
    log_loss_half_width=0.2,
)
IN_SLICE = SlicePoint(
    slice_feature="carrier",
    slice_value="HA",
    feature="wind",
    effect_size=0.4,
    threshold=0.1,
    q_value=1e-9,
    baseline_rows=90,
    window_rows=60,
    stands_out=True,
    hits=3,
    lasts=True,
    bins=(HistogramBin("[0, 1)", 90, 60),),
)
SLICES = SliceDrift(measured=7, standing_out=1, lasting=1, points=(IN_SLICE,), unsliced=("origin",))
FOLLOWED = AttributionPoint(
    feature="wind", baseline=0.6, window=0.1, half_width=0.2, moved=True, hits=3, lasts=True
)
ATTRIBUTIONS = AttributionDrift(
    baseline_rows=900, window_rows=1000, measured=2, moved=1, lasting=1, points=(FOLLOWED,)
)
COMMON_TABLES = {*COMMON.tables, "alembic_version"}


@pytest.fixture
async def database(database_url):
    async with monitor_database(database_url) as database:
        yield database


def drift(tx, window=WEEK):
    change = Change(ChangeKind.NONE, Severity.NONE, "")
    found = Findings((), (), None, change, None, SLICES, ATTRIBUTIONS)
    return record_drift_report(tx, MONITOR, window, baseline_version=CHAMPION, rows=9, found=found)


def performance(tx, window=WEEK, version=""):
    return record_performance_report(
        tx,
        MONITOR,
        window,
        version=version,
        predictions=9,
        outcomes=8,
        metrics={"auc": 0.7},
        half_widths={"auc": 0.1},
        slices=(SLICE,),
    )


async def test_the_migration_makes_the_tables_that_the_code_declares(database):
    def differences(connection):
        context = MigrationContext.configure(connection)
        found = compare_metadata(context, METADATA)
        return [
            each
            for each in found
            if not (each[0] == "remove_table" and each[1].name in COMMON_TABLES)
            and not (each[0] == "remove_index" and each[1].table.name in COMMON_TABLES)
        ]

    assert await database.read(differences) == []


async def test_an_endpoint_has_one_monitor(database):
    await written(database, watched)
    with pytest.raises(MonitorExists):
        await written(database, lambda tx: watched(tx, f"{MONITOR}-2"))


async def test_a_report_that_is_recorded_twice_stays_as_it_was(database):
    await written(database, watched)
    first = await written(database, drift)
    assert await written(database, drift) == first
    both = [await written(database, lambda tx: performance(tx, version=CHAMPION)) for _ in "12"]
    assert both[0] == both[1] != await written(database, performance)
    told = await database.read(lambda tx: read_after(tx, "", 100)[0])
    assert [event.type for event in told].count("roundhouse.monitor.drift.reported") == 1


async def test_an_episode_is_caused_by_its_decision_and_that_by_its_report(database):
    def decide(tx):
        watched(tx)
        return triggered(tx, policy_of(tx), report=drift(tx).meta.name)

    decision = await written(database, decide)
    uid = decision.episode.rpartition("/")[2]
    events = await database.read(
        lambda tx: read_after(tx, "", 100, EventFilter(correlation_id=uid))[0]
    )
    report = await database.read(
        lambda tx: read_after(tx, "", 9, EventFilter(("roundhouse.monitor.drift.",)))[0]
    )
    kinds = [event.type.removeprefix("roundhouse.monitor.") for event in events]
    assert kinds == ["decision.made", "episode.detected"]
    assert [event.causation_id for event in events] == [report[0].id, events[0].id]


async def test_a_monitor_has_one_episode_at_a_time(database):
    def start(tx):
        watched(tx)
        return policy_of(tx)

    policy = await written(database, start)
    decision = await written(database, lambda tx: triggered(tx, policy))
    with pytest.raises(EpisodeActive) as refusal:
        await written(database, lambda tx: triggered(tx, policy, MARCH + timedelta(days=7)))
    assert refusal.value.metadata["episode"] == decision.episode
    with pytest.raises(EpisodeActive):
        await written(database, lambda tx: delete_monitor(tx, MONITOR, etag=""))


async def test_an_episode_moves_under_the_lease_alone_and_one_revision_at_a_time(database):
    episode = await written(database, new_episode)
    first = await database.write(lambda tx: leases.claim(tx, "episodes", "a", TTL, utc_now()))
    store = SqlEpisodeStore(database, first, utc_now)
    assert await store.unfinished() == [episode]
    moved = episode.moved_to(EpisodeState.SNAPSHOT_BUILT, utc_now(), snapshot="s")
    saved = await store.save(moved, {"snapshot": "s"})
    assert saved.last_event not in ("", episode.last_event)
    assert await store.unfinished() == [saved]
    with pytest.raises(ConcurrentChange):
        await store.save(moved, {})
    later = utc_now() + TTL
    await database.write(lambda tx: leases.claim(tx, "episodes", "b", TTL, later))
    with pytest.raises(LeaseLost):
        await store.save(saved.moved_to(EpisodeState.FAILED, utc_now()), {})


async def test_the_cool_down_counts_from_the_window_that_was_judged_at_the_end(database):
    episode = await written(database, new_episode)
    await written(database, performance)
    lease = await database.write(lambda tx: leases.claim(tx, "episodes", "a", TTL, utc_now()))
    store = SqlEpisodeStore(database, lease, utc_now)
    await store.save(episode.moved_to(EpisodeState.FAILED, utc_now(), message="m"), {})
    history = await written(database, lambda tx: history_of(tx, MONITOR))
    assert history.active_episode == ""
    assert history.last_end == WEEK.end
    assert await store.unfinished() == []


async def test_a_deleted_monitor_leaves_nothing_behind(database):
    def fill(tx):
        watched(tx)
        policy_of(tx)
        drift(tx)
        performance(tx)
        delete_monitor(tx, MONITOR, etag="")
        watched(tx)
        return (
            tx.policies.get(POLICY),
            tx.drift_reports.count(MONITOR),
            tx.performance_reports.count(MONITOR),
        )

    assert await written(database, fill) == (None, 0, 0)


async def test_newest_windows_come_whole_in_the_order_of_their_windows(database):
    windows = [window_at(MARCH + timedelta(weeks=weeks), timedelta(days=7)) for weeks in (1, 0, 2)]

    def fill(tx):
        watched(tx)
        return [(drift(tx, window), performance(tx, window)) for window in windows]

    middle, _, newest = await written(database, fill)

    def read(connection):
        tx, lists = SqlMonitorTx(connection, utc_now()), SqlMonitorLists(connection)
        query = PageQuery(MONITOR, 2, "", order_by="window_start_time desc")
        return [
            (tuple(tx.newest_drift(MONITOR, CHAMPION, 2)), lists.drift_reports(query).items),
            (tuple(tx.newest_performance(MONITOR, "", 2)), lists.performance_reports(query).items),
            (tuple(lists.drift_summaries(MONITOR, 2)),),
        ]

    drifts, performances, (summaries,) = await database.read(read)
    assert drifts == ((newest[0], middle[0]),) * 2
    assert performances == ((newest[1], middle[1]),) * 2
    assert summaries == (summary_of(newest[0]), summary_of(middle[0]))


async def test_lists_are_filtered_and_paged(database):
    def fill(tx):
        watched(tx)
        policy = policy_of(tx)
        for weeks in range(3):
            window = window_at(MARCH + timedelta(weeks=weeks), timedelta(days=7))
            drift(tx, window)
            performance(tx, window)
        triggered(tx, policy)

    await written(database, fill)

    def pages(connection):
        lists = SqlMonitorLists(connection)
        first = lists.drift_reports(PageQuery(MONITOR, 2, ""))
        rest = lists.drift_reports(PageQuery(MONITOR, 2, first.next_page_token))
        starts = [report.window_start for report in (*first.items, *rest.items)]
        assert starts == sorted(starts)
        assert len(starts) == 3
        late = f'window_start_time > "{WEEK.start.isoformat()}"'
        assert len(lists.performance_reports(PageQuery(MONITOR, 0, "", late)).items) == 2
        assert len(lists.episodes(PageQuery(MONITOR, 0, "", "state = DETECTED")).items) == 1
        assert len(lists.decisions(PageQuery(MONITOR, 0, "", "kind = DECLINED")).items) == 0
        assert len(lists.policies(PageQuery(MONITOR, 0, "")).items) == 1
        parent = "projects/default"
        assert len(lists.monitors(PageQuery(parent, 0, "", 'owner = ""')).items) == 1

    await database.read(pages)
