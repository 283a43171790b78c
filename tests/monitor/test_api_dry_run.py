"""A dry run over gRPC and by the command, on judgements in the database."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from google.type.money_pb2 import Money as WireMoney
from grpc import StatusCode
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit
from roundhouse.monitor.v1 import monitor_pb2, retrain_service_pb2

from services.common.money import Money
from services.common.rpc.convert import to_duration, to_timestamp
from services.common.store.database import Database
from services.monitor.core.evidence import Evidence
from services.monitor.core.loop.episodes import EpisodeState
from services.monitor.core.use_cases import dry_run
from services.monitor.core.use_cases.reports import record_judgement, record_performance_report
from services.monitor.core.use_cases.retraining import save_episode
from services.monitor.core.windows import window_at
from tests.support.calls import TIMEOUT_S, refused
from tests.support.monitor_api import running_monitor, running_peers
from tests.support.monitor_database import written
from tests.support.monitor_values import CHAMPION, JOB, MARCH, MONITOR, POLICY, triggered

GUIDE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
WEEK = timedelta(days=7)
FIRST = window_at(MARCH, WEEK)
ENDS = [FIRST.end + week * WEEK for week in range(8)]


@pytest.fixture
async def caller(tmp_path):
    async with running_peers() as peers, running_monitor(tmp_path / "monitor", peers) as caller:
        await caller.create_monitor()
        yield caller


async def in_database(tmp_path, work):
    database = Database(f"sqlite:///{tmp_path / 'monitor'}/metadata.db")
    try:
        return await written(database, work)
    finally:
        database.close()


def judge(tx, kept_from: int = 0) -> None:
    """Eight weeks with 500 outcomes each, of which the third to the sixth show drift."""
    for week, end in enumerate(ENDS):
        window = window_at(end - WEEK, WEEK)
        record_performance_report(
            tx,
            MONITOR,
            window,
            version="",
            predictions=600,
            outcomes=500,
            metrics={},
            half_widths={},
        )
        if week >= kept_from:
            evidence = Evidence(
                event_time=end,
                drifted=("wind",) if 2 <= week < 6 else (),
                drift_report=f"{MONITOR}/driftReports/{window.key}",
                new_outcomes=500 * (week + 1),
                trained_until=FIRST.start,
            )
            record_judgement(tx, MONITOR, window, CHAMPION, 500, evidence)


async def tried(caller, **fields):
    request = retrain_service_pb2.DryRunRetrainingRequest(
        parent=MONITOR,
        start_time=to_timestamp(ENDS[0]),
        end_time=to_timestamp(ENDS[-1] + WEEK),
    )
    request.MergeFrom(retrain_service_pb2.DryRunRetrainingRequest(**fields))
    told = [each async for each in caller.retraining.DryRunRetraining(request, timeout=TIMEOUT_S)]
    assert all(each.HasField("decision") for each in told[:-1])
    return [each.decision for each in told[:-1]], told[-1].summary


def drift_policy(**fields) -> monitor_pb2.RetrainPolicy:
    return monitor_pb2.RetrainPolicy(
        template_job=JOB, data_drift=monitor_pb2.RetrainPolicy.DataDrift(), **fields
    )


async def test_a_policy_is_tried_before_it_is_kept(caller, tmp_path):
    await in_database(tmp_path, judge)
    decisions, summary = await tried(
        caller, retrain_policy=drift_policy(), episode_duration=to_duration(86_400)
    )
    assert [each.decision.reason for each in decisions] == [
        *("DATA_DRIFT", "COOL_DOWN", "COOL_DOWN", "DATA_DRIFT")
    ]
    first = decisions[0]
    assert first.decision.numbers["drifted_features"] == 1
    assert first.decision.report.startswith(f"{MONITOR}/driftReports/")
    assert first.decision.policy == ""
    assert first.episode.promoted
    assert first.episode.template_job == JOB
    assert first.episode.end_time == to_timestamp(ENDS[2] + timedelta(days=1))
    assert first.episode.cost == WireMoney(currency_code="USD", units=1, nanos=500_000_000)
    assert (summary.windows, summary.episodes, summary.real_episodes) == (8, 2, 0)
    assert summary.declined == {"COOL_DOWN": 2}
    assert list(summary.costs) == [WireMoney(currency_code="USD", units=3)]
    assert summary.episode_duration == to_duration(86_400)
    assert not (
        await caller.retraining.ListRetrainDecisions(
            retrain_service_pb2.ListRetrainDecisionsRequest(parent=MONITOR), timeout=TIMEOUT_S
        )
    ).retrain_decisions


async def test_a_template_that_is_gone_leaves_the_cost_unknown(caller, tmp_path):
    await in_database(tmp_path, judge)
    gone = drift_policy()
    gone.template_job += "-2"
    decisions, summary = await tried(caller, retrain_policy=gone)
    assert not decisions[0].episode.HasField("cost")
    assert not summary.costs
    assert summary.episodes_without_cost == summary.episodes


async def test_what_really_happened_is_said_with_its_job_and_its_cost(caller, tmp_path):
    await caller.create_policy(MONITOR)

    def live(tx):
        judge(tx, kept_from=1)
        decision = triggered(tx, tx.policies.get(POLICY), ENDS[2])
        episode = tx.episodes.get(decision.episode)
        cost = Money(2_250_000, "USD")
        for state, facts in (
            (EpisodeState.SNAPSHOT_BUILT, {}),
            (EpisodeState.TRAINING, {"training_job": f"{JOB}-2"}),
            (EpisodeState.FAILED, {"cost": cost}),
        ):
            episode = save_episode(tx, episode.moved_to(state, tx.now, **facts), {})
        return episode

    real = await in_database(tmp_path, live)
    decisions, summary = await tried(caller)
    first = decisions[0]
    assert first.decision.policy == POLICY
    assert (first.episode.episode, first.episode.promoted) == (real.meta.name, False)
    assert first.episode.training_job == f"{JOB}-2"
    assert first.episode.cost == WireMoney(currency_code="USD", units=2, nanos=250_000_000)
    assert (summary.windows, summary.windows_without_evidence) == (7, 1)
    assert (summary.episodes, summary.real_episodes) == (1, 1)


async def test_a_dry_run_must_make_sense(caller, tmp_path, monkeypatch):
    await in_database(tmp_path, judge)
    for fields, field in (
        ({"end_time": to_timestamp(ENDS[0])}, "end_time"),
        ({"retrain_policy": drift_policy(name=POLICY)}, "retrain_policy.name"),
        ({"retrain_policy": monitor_pb2.RetrainPolicy(template_job=JOB)}, "retrain_policy"),
    ):
        with refused() as refusal:
            await tried(caller, **fields)
        assert (refusal.code, refusal.fields()) == (StatusCode.INVALID_ARGUMENT, [field])
    monkeypatch.setattr(dry_run, "MAX_WINDOWS", 7)
    with refused() as refusal:
        await tried(caller)
    assert (refusal.reason, refusal.fields()) == ("DRY_RUN_TOO_LONG", ["end_time"])
    assert refusal.metadata == {"windows": "7"}
    with refused() as refusal:
        await tried(caller, parent=f"{MONITOR}-2")
    assert refusal.reason == "MONITOR_NOT_FOUND"


async def test_while_the_trainer_is_away_what_needs_no_cost_is_answered_without_it(tmp_path):
    weighed = drift_policy(
        budget=monitor_pb2.RetrainPolicy.Budget(
            limit=WireMoney(currency_code="USD", units=9), period=to_duration(86_400)
        )
    )
    async with running_monitor(tmp_path / "monitor") as caller:
        await caller.create_monitor()
        await in_database(tmp_path, judge)
        decisions, summary = await tried(caller, retrain_policy=drift_policy())
        assert decisions
        assert not any(each.episode.HasField("cost") for each in decisions)
        assert summary.episodes_without_cost == summary.episodes > 0
        (note,) = summary.notes
        assert "left out: trainer answered UNAVAILABLE" in note
        with refused() as refusal:
            await tried(caller, retrain_policy=weighed)
        assert refusal.code is StatusCode.UNAVAILABLE


async def test_the_guide_s_policy_is_tried_by_the_guide_s_command(caller, tmp_path, capsys):
    await in_database(tmp_path, judge)
    (policy,) = re.findall(r"```yaml\n(data_drift.+?)```", GUIDE, flags=re.DOTALL)
    (command,) = re.findall(r"^roundhouse (retrains dry-run .+)$", GUIDE, flags=re.MULTILINE)
    file = tmp_path / "policy.yaml"
    file.write_text(policy)
    before = ["--data-dir", str(tmp_path), "--address", f"monitor={caller.address}"]
    arguments = [str(file) if word == file.name else word for word in command.split()]

    async def printed(*more: str) -> str:
        capsys.readouterr()
        assert await asyncio.to_thread(run, [*before, *more]) == Exit.OK
        return capsys.readouterr().out

    told = json.loads(await printed(*arguments, "--json"))
    assert told["summary"]["windows"] == "8"
    reasons = {each["decision"]["reason"] for each in told["decisions"]}
    assert reasons == {"DATA_DRIFT", "EPISODE_ACTIVE", "COOL_DOWN"}
    table = await printed(*arguments)
    assert "assumed, until" in table
    assert "8 windows" in table
    await caller.create_policy(MONITOR)
    own = json.loads(await printed(*arguments[:-2], "--policy", "drift", "--json"))
    assert own["summary"]["windows"] == "8"
    code = await asyncio.to_thread(run, [*before, *arguments, "--policy", "drift"])
    assert code == Exit.USAGE
