"""Following the log: each window is judged once, and alike whatever dies in between."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from services.common.clock import utc_now
from services.common.criteria import Criteria, Measure, Verdict
from services.common.errors import Unavailable
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.core.judging import judge_window, judged_until
from services.monitor.core.ports import RolloutCase
from services.monitor.core.resources import (
    ChangeKind,
    DecisionKind,
    DriftTest,
    QualityTrigger,
    Severity,
)
from services.monitor.core.stream.batches import ObservationBatch, OutcomeBatch
from services.monitor.core.stream.follower import Follower
from services.monitor.core.stream.judge import FollowedJudge
from services.monitor.core.stream.ports import Baseline
from services.monitor.core.stream.trials import Trial, TrialSpec
from services.monitor.core.windows import to_us
from tests.support.monitor_database import monitor_database, written
from tests.support.monitor_values import CHAMPION, ENDPOINT, MONITOR, policy_of, watched
from tests.support.predictions import DAY, MONDAY, World

WEEK = 7 * DAY
CANDIDATE = "projects/default/models/delays/versions/2"
TRIAL = TrialSpec(ENDPOINT, CANDIDATE, CHAMPION, 0, ("origin",), None, Measure.LOG_LOSS)
TEST = DriftTest(min_rows=200, persistence_hits=2, persistence_windows=3)


class Away(Unavailable):
    reason = "DEPENDENCY_UNAVAILABLE"


@dataclass
class MemoryLog:
    """Batches in the order of their positions."""

    batches: list = field(default_factory=list)

    async def replay(self, endpoint, *, since, until_position, arrived_since=None):
        found = []
        for batch in self.batches:
            if arrived_since is not None and batch.arrival_us < to_us(arrived_since):
                continue
            rows = batch.rows
            if since is not None:
                rows = rows.filter([time >= since for time in rows["event_time"].to_pylist()])
            if rows.num_rows and batch.position <= until_position:
                found.append(replace(batch, rows=rows))
        return found

    @property
    def position(self):
        return self.batches[-1].position if self.batches else 0


@dataclass
class KnownBaselines:
    """Every version was trained on the same rows."""

    known: Baseline
    failures: int = 0

    async def baseline(self, version):
        if self.failures:
            self.failures -= 1
            raise Away("away", retry_after_s=0.0)
        return self.known


def traffic(world: World, weeks: int, *, shift_from: int = 99, parts: int = 8):
    """Batches of whole weeks and of two days more, each with its outcomes after the next one."""
    spans = [
        (
            MONDAY + week * WEEK + part * WEEK / parts,
            MONDAY + week * WEEK + (part + 1) * WEEK / parts,
        )
        for week in range(weeks)
        for part in range(parts)
    ]
    after = MONDAY + weeks * WEEK
    spans += [(after, after + DAY / 2), (after + DAY, after + 2 * DAY)]
    batches, waiting = [], []
    for start, end in spans:
        shift = 2.0 if start >= MONDAY + shift_from * WEEK else 0.0
        rows = world.observations(400 // parts, start, end, shift=shift)
        batches.append(ObservationBatch(len(batches) + 1, _arrival(len(batches)), rows))
        waiting.append(world.outcomes(rows))
        if len(waiting) > 1:
            batches.append(OutcomeBatch(len(batches) + 1, _arrival(len(batches)), waiting.pop(0)))
    return batches


def _arrival(index: int) -> int:
    return 1_400_000_000_000_000 + index


@pytest.fixture
async def database(sqlite_url):
    async with monitor_database(sqlite_url) as database:
        await written(database, lambda tx: watched(tx, drift_test=TEST))
        await written(database, lambda tx: policy_of(tx, min_new_outcomes=100))
        yield database


@pytest.fixture
def world():
    return World(5)


@pytest.fixture
def baselines(world):
    return KnownBaselines(Baseline(world.profile(), {"auc": 0.8, "log_loss": 0.4}))


@asynccontextmanager
async def follower(database, log, baselines, position=None):
    """A follower of the database's monitors, from where they were judged to."""

    async def judge(complete):
        await written(database, lambda tx: judge_window(tx, complete))

    following = Follower(log, baselines, judge, log.position if position is None else position)
    for monitor, done in await written(
        database,
        lambda tx: [(each, judged_until(tx, each.meta.name)) for each in tx.every_monitor()],
    ):
        following.follow(monitor, done)
    running = asyncio.ensure_future(following.run())
    try:
        yield following
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        following.close()


async def followed(database, log, baselines):
    """Everything in the log, counted and judged."""
    async with follower(database, log, baselines) as following:
        await following.settled()


async def told(database):
    """What the database holds of a monitor, without identities and times of making."""

    def read(connection):
        tx = SqlMonitorTx(connection, utc_now())
        return (
            [replace(report, meta=None) for report in tx.drift_reports.under(MONITOR)],
            [replace(report, meta=None) for report in tx.performance_reports.under(MONITOR)],
            [
                replace(each, meta=None, episode="", explanation="")
                for each in tx.decisions.under(MONITOR)
            ],
            [(each.state, each.event_time, each.champion) for each in tx.episodes.under(MONITOR)],
        )

    return await database.read(read)


async def test_calm_weeks_are_reported_and_decide_nothing(database, world, baselines):
    await followed(database, MemoryLog(traffic(world, 4)), baselines)
    drift, performance, decisions, episodes = await told(database)
    assert [report.window_start for report in drift] == [MONDAY + i * WEEK for i in range(4)]
    assert not any(report.drifted_features for report in drift)
    overall = [report for report in performance if not report.version]
    assert [report.predictions for report in overall] == [400] * 4
    assert [report.outcomes for report in overall] == [400] * 4
    assert not decisions
    assert not episodes


async def test_lasting_drift_starts_one_episode_and_is_then_declined(database, world, baselines):
    await followed(database, MemoryLog(traffic(world, 6, shift_from=2)), baselines)
    drift, _, decisions, episodes = await told(database)
    assert [report.drifted_features for report in drift] == [
        (),
        (),
        (),
        ("wind",),
        ("wind",),
        ("wind",),
    ]
    assert [(each.kind, each.reason) for each in decisions] == [
        (DecisionKind.DECLINED, "MARGINAL"),
        (DecisionKind.TRIGGERED, "DATA_DRIFT"),
        (DecisionKind.DECLINED, "EPISODE_ACTIVE"),
        (DecisionKind.DECLINED, "EPISODE_ACTIVE"),
    ]
    assert {report.change for report in drift[3:]} == {ChangeKind.DATA_DRIFT}
    assert episodes == [("DETECTED", MONDAY + 4 * WEEK, CHAMPION)]
    assert decisions[1].report.endswith("driftReports/20130325t000000z")


async def test_what_goes_in_otherwise_than_in_training_is_skew_from_the_first_week_on(
    database, world, baselines
):
    await followed(database, MemoryLog(traffic(world, 4, shift_from=0)), baselines)
    drift, _, decisions, _ = await told(database)
    assert {report.change for report in drift} == {ChangeKind.SERVING_SKEW}
    assert {report.severity for report in drift} == {Severity.TICKET}
    assert [report.drifted_features for report in drift] == [(), ("wind",), ("wind",), ("wind",)]
    assert decisions[0].reason == "MARGINAL", "one week alone starts no retraining"


async def test_a_process_that_dies_again_and_again_ends_where_one_that_lives_does(
    tmp_path, database, world, baselines
):
    batches = traffic(world, 5, shift_from=1)
    await followed(database, MemoryLog(batches), baselines)
    expected = await told(database)
    async with monitor_database(f"sqlite:///{tmp_path}/dying.db") as dying:
        await written(dying, lambda tx: watched(tx, drift_test=TEST))
        await written(dying, lambda tx: policy_of(tx, min_new_outcomes=100))
        for start in range(0, len(batches), 3):
            log = MemoryLog(batches[: start + 3])
            async with follower(dying, log, baselines, position=start) as following:
                following.take(batches[start : start + 3])
                await following.settled()
        assert await told(dying) == expected


async def test_a_restart_holds_the_same_bits(database, world, baselines):
    batches = traffic(world, 4)
    log = MemoryLog()
    async with follower(database, log, baselines, position=0) as living:
        living.take(batches)
        await living.settled()
        log.batches = batches
        async with follower(database, log, baselines) as restarted:
            await restarted.settled()
            books = [each._ledger.books[ENDPOINT] for each in (living, restarted)]
            assert books[0].watermark == books[1].watermark
            counts = [
                [
                    sketch.counts.tolist()
                    for window in sorted(book.windows)
                    for tally in book.windows[window].values()
                    for sketch in tally.features.values()
                ]
                for book in books
            ]
            assert counts[0] == counts[1]


async def test_following_waits_while_a_baseline_is_away(database, world, baselines):
    baselines.failures = 3
    await followed(database, MemoryLog(traffic(world, 2)), baselines)
    drift, *_ = await told(database)
    assert len(drift) == 2


async def test_a_version_without_profile_is_scored_but_not_compared(database, world):
    await followed(database, MemoryLog(traffic(world, 2)), KnownBaselines(Baseline()))
    drift, performance, _, _ = await told(database)
    assert not drift
    assert len(performance) == 4


async def test_a_deleted_monitor_is_judged_no_more(database, world, baselines):
    batches = traffic(world, 3)
    async with follower(database, MemoryLog(), baselines, position=0) as following:
        following.unfollow(ENDPOINT)
        following.take(batches)
        await following.settled()
        assert await following.compared(TRIAL, vars) is None
    assert not (await told(database))[1]


async def test_falling_quality_starts_an_episode_by_the_mean_of_the_last_windows(
    sqlite_url, world, baselines
):
    baselines.known = replace(baselines.known, test_metrics={"auc": 0.99})
    async with monitor_database(sqlite_url) as database:
        await written(database, lambda tx: watched(tx, drift_test=TEST))
        await written(
            database,
            lambda tx: policy_of(
                tx, min_drifted_features=None, quality=QualityTrigger("auc", 0.02, 300)
            ),
        )
        await followed(database, MemoryLog(traffic(world, 3)), baselines)
        _, performance, (decision,), episodes = await told(database)
    values = [report.metrics["auc"] for report in performance if report.version == CHAMPION]
    assert (decision.kind, decision.reason) == (DecisionKind.TRIGGERED, "QUALITY")
    assert decision.event_time == MONDAY + 3 * WEEK
    assert decision.numbers["auc"] == pytest.approx(sum(values) / 3)
    assert decision.numbers["test_value"] == 0.99
    assert len(episodes) == 1


async def test_new_outcomes_are_those_since_the_training_data_ended(database, world, baselines):
    baselines.known = replace(baselines.known, trained_until=MONDAY + 2 * WEEK)
    await written(
        database,
        lambda tx: policy_of(
            tx,
            f"{MONITOR}/retrainPolicies/volume",
            min_drifted_features=None,
            volume_min_new_outcomes=700,
            min_new_outcomes=1,
        ),
    )
    await followed(database, MemoryLog(traffic(world, 4)), baselines)
    _, _, (decision,), _ = await told(database)
    assert decision.numbers["new_outcomes"] == 800
    assert decision.event_time == MONDAY + 4 * WEEK


async def test_a_rollout_is_judged_on_what_arrived_since_its_phase_began(
    database, world, baselines
):
    early = world.observations(200, MONDAY, MONDAY + DAY)
    new = world.observations(150, MONDAY + DAY, MONDAY + 2 * DAY, version=CANDIDATE)
    old = world.observations(150, MONDAY + DAY, MONDAY + 2 * DAY)
    start = utc_now()
    now_us = int(start.timestamp() * 1_000_000)
    batches = [
        ObservationBatch(1, now_us - 60_000_000, early),
        ObservationBatch(2, now_us + 1_000_000, new),
        ObservationBatch(3, now_us + 1_000_000, old),
        *(
            OutcomeBatch(position, now_us + 2_000_000, world.outcomes(rows))
            for position, rows in ((4, early), (5, new), (6, old))
        ),
    ]
    async with follower(database, MemoryLog(batches), baselines) as following:
        case = RolloutCase(
            endpoint=ENDPOINT,
            candidate=CANDIDATE,
            champion=CHAMPION,
            since=start,
            criteria=Criteria(),
            min_outcomes=100,
            alone=False,
        )
        verdict = await FollowedJudge(following).judge(case)
        unknown = await FollowedJudge(following).judge(
            replace(case, endpoint="projects/default/endpoints/x")
        )
    assert verdict.numbers["champion_predictions"] == 150
    assert verdict.numbers["candidate_outcomes"] == 150
    assert verdict.verdict is not Verdict.FAIL
    assert unknown.verdict is Verdict.INCONCLUSIVE


async def test_a_comparison_that_is_made_again_from_the_log_holds_the_same_bits(
    database, world, baselines
):
    batches = compared_traffic(world)
    log = MemoryLog(batches[:3])
    async with follower(database, log, baselines) as living:
        await living.compared(TRIAL, vars)
        for batch in batches[3:]:
            log.batches.append(batch)
            living.take([batch])
        await living.settled()
        expected = await living.compared(TRIAL, state_of)
    async with follower(database, log, baselines) as restarted:
        assert await restarted.compared(TRIAL, state_of) == expected
        assert await restarted.compared(replace(TRIAL, slices=()), state_of) != expected


def compared_traffic(world):
    """Predictions of both versions by turns, each batch's outcomes two batches later."""
    batches, waiting = [], []
    for part in range(8):
        version = (CHAMPION, CANDIDATE)[part % 2]
        rows = world.observations(60, MONDAY, MONDAY + WEEK, version=version)
        batches.append(ObservationBatch(len(batches) + 1, _arrival(len(batches)), rows))
        waiting.append(world.outcomes(rows))
        if len(waiting) > 2:
            batches.append(OutcomeBatch(len(batches) + 1, _arrival(len(batches)), waiting.pop(0)))
    return batches


def state_of(trial: Trial) -> str:
    """Everything that a comparison holds."""
    return repr([trial.candidate, trial.champion, sorted(trial._awaited), trial.slow_after_us])
