"""The monitor over gRPC, with every reason of its contract that a call can meet."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.type.money_pb2 import Money
from grpc import StatusCode
from roundhouse.common.v1 import events_pb2
from roundhouse.monitor.v1 import (
    judgement_service_pb2,
    monitor_pb2,
    monitor_service_pb2,
    retrain_service_pb2,
)

from services.common.rpc.convert import to_duration, to_timestamp
from services.common.store.database import Database
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.monitor_api import (
    arrow,
    learned,
    observed,
    running_monitor,
    running_peers,
)
from tests.support.monitor_database import written
from tests.support.monitor_values import (
    CHAMPION,
    DATASET,
    ENDPOINT,
    JOB,
    MARCH,
    MONITOR,
    POLICY,
    triggered,
)

DAY_S = 86_400


@pytest.fixture
async def caller(tmp_path):
    async with running_monitor(tmp_path / "monitor") as caller:
        yield caller


@pytest.fixture
async def with_peers(tmp_path):
    async with running_peers() as peers, running_monitor(tmp_path / "monitor", peers) as caller:
        yield caller


async def get(caller, name=MONITOR):
    request = monitor_service_pb2.GetMonitorRequest(name=name)
    return await caller.monitors.GetMonitor(request, timeout=TIMEOUT_S)


async def update(caller, *paths, **fields):
    request = monitor_service_pb2.UpdateMonitorRequest(
        monitor=monitor_pb2.Monitor(
            **{"name": MONITOR, "endpoint": ENDPOINT, "dataset": DATASET, **fields}
        ),
        update_mask=FieldMask(paths=paths),
        request_id=request_id(),
    )
    return await caller.monitors.UpdateMonitor(request, timeout=TIMEOUT_S)


async def delete(caller, name=MONITOR):
    request = monitor_service_pb2.DeleteMonitorRequest(name=name, request_id=request_id())
    await caller.monitors.DeleteMonitor(request, timeout=TIMEOUT_S)


async def test_a_monitor_gets_its_defaults_and_is_listed(caller):
    created = await caller.create_monitor(labels={"team": "ops"})
    assert created.name == MONITOR
    assert created.window == to_duration(7 * DAY_S)
    assert created.outcome_delay == to_duration(DAY_S)
    assert created.drift_test == monitor_pb2.DriftTest(
        false_discovery_rate=0.05,
        effect_floor=0.1,
        persistence_hits=3,
        persistence_windows=4,
        min_rows=500,
        false_alarm_budget=0.05,
    )
    assert await get(caller) == created
    for filter_, found in (("labels.team = ops", 1), ("owner = nobody", 0)):
        request = monitor_service_pb2.ListMonitorsRequest(parent=PROJECT, filter=filter_)
        page = await caller.monitors.ListMonitors(request, timeout=TIMEOUT_S)
        assert len(page.monitors) == found


async def test_an_outcome_delay_of_nothing_is_no_default(caller):
    created = await caller.create_monitor(outcome_delay=to_duration(0))
    assert created.outcome_delay == to_duration(0)


async def test_a_monitor_changes_where_it_may_and_nowhere_else(caller):
    created = await caller.create_monitor(owner="a")
    changed = await update(caller, "labels", labels={"k": "v"}, owner="ignored", etag=created.etag)
    assert (changed.owner, dict(changed.labels)) == ("a", {"k": "v"})
    with refused() as refusal:
        await update(caller, owner="b", etag=created.etag)
    assert (refusal.code, refusal.reason) == (StatusCode.ABORTED, "ETAG_MISMATCH")
    with refused() as refusal:
        await update(caller, "endpoint")
    assert refusal.reason == "FIELD_IMMUTABLE"
    with refused() as refusal:
        await update(caller, "owner", window=to_duration(3600))
    assert (refusal.reason, refusal.metadata["field"]) == ("FIELD_IMMUTABLE", "monitor.window")


async def test_the_features_that_slice_are_different_and_stay(caller):
    with refused() as refusal:
        await caller.create_monitor(slices=["carrier", "carrier"])
    assert refusal.fields() == ["monitor.slices"]
    created = await caller.create_monitor(slices=["carrier", "origin"])
    assert list(created.slices) == ["carrier", "origin"]
    with refused() as refusal:
        await update(caller, "owner", slices=["carrier"])
    assert (refusal.reason, refusal.metadata["field"]) == ("FIELD_IMMUTABLE", "monitor.slices")
    assert (await update(caller, "owner", owner="b")).slices == created.slices


async def test_an_endpoint_is_watched_by_one_monitor(caller):
    await caller.create_monitor()
    with refused() as refusal:
        await caller.create_monitor("other")
    assert (refusal.code, refusal.reason) == (StatusCode.ALREADY_EXISTS, "MONITOR_EXISTS")
    assert refusal.metadata["name"] == MONITOR


async def test_a_new_monitor_must_make_sense(caller):
    for fields, field in (
        ({"uid": "mine"}, "monitor.uid"),
        ({"endpoint": "delays"}, "monitor.endpoint"),
        ({"dataset": ENDPOINT}, "monitor.dataset"),
        (
            {"drift_test": monitor_pb2.DriftTest(persistence_hits=5)},
            "monitor.drift_test.persistence_hits",
        ),
    ):
        with refused() as refusal:
            await caller.create_monitor(**fields)
        assert refusal.code is StatusCode.INVALID_ARGUMENT
        assert refusal.fields() == [field]


async def test_what_is_not_there_is_named(caller):
    await caller.create_monitor()
    missing = f"{MONITOR}-2"
    report = monitor_service_pb2.GetDriftReportRequest(name=f"{MONITOR}/driftReports/r")
    episode = retrain_service_pb2.GetEpisodeRequest(name=f"{MONITOR}/episodes/e")
    policy = retrain_service_pb2.GetRetrainPolicyRequest(name=POLICY)
    for call, reason in (
        (lambda: get(caller, missing), "MONITOR_NOT_FOUND"),
        (lambda: delete(caller, missing), "MONITOR_NOT_FOUND"),
        (lambda: caller.create_policy(missing), "MONITOR_NOT_FOUND"),
        (lambda: caller.monitors.GetDriftReport(report, timeout=TIMEOUT_S), "REPORT_NOT_FOUND"),
        (lambda: caller.retraining.GetEpisode(episode, timeout=TIMEOUT_S), "EPISODE_NOT_FOUND"),
        (
            lambda: caller.retraining.GetRetrainPolicy(policy, timeout=TIMEOUT_S),
            "POLICY_NOT_FOUND",
        ),
    ):
        with refused() as refusal:
            await call()
        assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, reason)


async def test_a_policy_is_kept_changed_and_deleted(caller):
    await caller.create_monitor()
    created = await caller.create_policy(MONITOR)
    assert created.data_drift.min_drifted_features == 1
    assert created.cool_down == to_duration(14 * DAY_S)
    assert (created.min_new_outcomes, created.min_phase_outcomes) == (1000, 200)
    assert not created.HasField("quality")
    with refused() as refusal:
        await caller.create_policy(MONITOR)
    assert (refusal.code, refusal.reason) == (StatusCode.ALREADY_EXISTS, "POLICY_EXISTS")

    async def change(*paths, **fields):
        request = retrain_service_pb2.UpdateRetrainPolicyRequest(
            retrain_policy=monitor_pb2.RetrainPolicy(name=POLICY, template_job=JOB, **fields),
            update_mask=FieldMask(paths=paths),
            request_id=request_id(),
        )
        return await caller.retraining.UpdateRetrainPolicy(request, timeout=TIMEOUT_S)

    quality = monitor_pb2.RetrainPolicy.Quality(metric="auc", max_drop=0.02)
    changed = await change("quality", "lookback_days", quality=quality, lookback_days=90)
    assert changed.quality.min_outcomes == 500
    assert changed.data_drift.min_drifted_features == 1
    assert changed.lookback_days == 90
    with refused() as refusal:
        await change(lookback_days=1)
    assert (refusal.reason, refusal.fields()) == ("INVALID_REQUEST", ["retrain_policy"])
    with refused() as refusal:
        await change("schedule", schedule=monitor_pb2.RetrainPolicy.Schedule(period=to_duration(0)))
    assert refusal.fields() == ["retrain_policy.schedule.period"]
    for schedule, field in (
        ({"cron": "0 0 31 2 *"}, "cron"),
        ({"cron": "0 6 * * mon *"}, "cron"),
        ({"cron": "@daily", "time_zone": "Mars/Olympus"}, "cron"),
        ({"cron": "0 6 * * mon", "time_zone": "Mars/Olympus"}, "time_zone"),
        ({"period": to_duration(DAY_S), "time_zone": "UTC"}, "cron"),
        ({}, "cron"),
    ):
        with refused() as refusal:
            await change("schedule", schedule=monitor_pb2.RetrainPolicy.Schedule(**schedule))
        assert f"retrain_policy.schedule.{field}" in refusal.fields()
    usd = Money(currency_code="USD", units=20, nanos=500_000_000)
    wanted = {
        "schedule": monitor_pb2.RetrainPolicy.Schedule(
            cron="0 6 * * mon", time_zone="Europe/Berlin"
        ),
        "budget": monitor_pb2.RetrainPolicy.Budget(limit=usd, period=to_duration(30 * DAY_S)),
        "worth_of_hundredth": usd,
        "privacy_hold": "Consent is being asked for again.",
    }
    changed = await change(*wanted, **wanted)
    for name, value in wanted.items():
        assert getattr(changed, name) == value
    with refused() as refusal:
        await change("worth_of_hundredth", worth_of_hundredth=Money(units=1))
    assert refusal.fields() == ["retrain_policy.worth_of_hundredth.currency_code"]
    with refused() as refusal:
        await change("quality")
    assert refusal.fields() == ["retrain_policy.worth_of_hundredth"]
    request = retrain_service_pb2.DeleteRetrainPolicyRequest(name=POLICY, request_id=request_id())
    await caller.retraining.DeleteRetrainPolicy(request, timeout=TIMEOUT_S)
    listed = await caller.retraining.ListRetrainPolicies(
        retrain_service_pb2.ListRetrainPoliciesRequest(parent=MONITOR), timeout=TIMEOUT_S
    )
    assert not listed.retrain_policies


async def test_a_monitor_stays_while_its_episode_is_under_way(caller, tmp_path):
    await caller.create_monitor()
    await caller.create_policy(MONITOR)
    database = Database(f"sqlite:///{tmp_path / 'monitor'}/metadata.db")
    decision = await written(database, lambda tx: triggered(tx, tx.policies.get(POLICY)))
    database.close()
    with refused() as refusal:
        await delete(caller)
    assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "EPISODE_ACTIVE")
    assert refusal.metadata == {"name": MONITOR, "episode": decision.episode}
    decisions = await caller.retraining.ListRetrainDecisions(
        retrain_service_pb2.ListRetrainDecisionsRequest(parent=MONITOR), timeout=TIMEOUT_S
    )
    assert [each.episode for each in decisions.retrain_decisions] == [decision.episode]
    episodes = await caller.retraining.ListEpisodes(
        retrain_service_pb2.ListEpisodesRequest(parent=MONITOR, filter="state = DETECTED"),
        timeout=TIMEOUT_S,
    )
    assert [each.champion for each in episodes.episodes] == [CHAMPION]


async def test_a_deleted_monitor_makes_room(caller):
    await caller.create_monitor()
    await delete(caller)
    await caller.create_monitor("second")


async def test_batches_are_acknowledged_each_and_stored_once(caller):
    await caller.create_monitor()
    sent = {f"b{number}": observed([f"{number}:{row}" for row in range(3)]) for number in range(50)}
    acknowledged = await caller.observe(*sent.items(), *sent.items())
    assert acknowledged == dict.fromkeys(sent, 3)
    assert await caller.learn(("o", learned(["1:0", "1:1"]))) == {"o": 2}


@pytest.mark.parametrize("stream", ["observe", "learn"])
async def test_a_batch_that_cannot_be_read_is_refused(caller, stream):
    with refused() as refusal:
        await getattr(caller, stream)(("bad", b"nothing of Arrow"))
    assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_BATCH")
    assert refusal.metadata["batch_id"] == "bad"


async def test_a_batch_without_a_column_is_refused(caller):
    with refused() as refusal:
        await caller.learn(("bad", arrow(pa.table({"prediction_id": ["a"]}))))
    assert refusal.metadata == {"batch_id": "bad", "column": "outcome"}


async def test_a_rollout_without_evidence_is_undecided(caller):
    await caller.create_monitor()
    verdict = await caller.judgements.JudgeRollout(
        judgement_service_pb2.JudgeRolloutRequest(
            endpoint=ENDPOINT,
            candidate="projects/default/models/delays/versions/2",
            champion=CHAMPION,
            since_time=to_timestamp(MARCH),
            min_outcomes=10,
        ),
        timeout=TIMEOUT_S,
    )
    assert verdict.verdict == judgement_service_pb2.JudgeRolloutResponse.VERDICT_INCONCLUSIVE
    assert verdict.reason


async def test_an_endpoint_that_nobody_knows_has_no_explanation(with_peers):
    with refused() as refusal:
        await with_peers.judgements.ExplainServing(
            judgement_service_pb2.ExplainServingRequest(endpoint=ENDPOINT), timeout=TIMEOUT_S
        )
    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "ENDPOINT_NOT_FOUND")


async def test_an_explanation_waits_for_the_services_that_know(caller):
    with refused() as refusal:
        await caller.judgements.ExplainServing(
            judgement_service_pb2.ExplainServingRequest(endpoint=ENDPOINT), timeout=TIMEOUT_S
        )
    assert (refusal.code, refusal.reason) == (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")


async def build(caller, job=JOB, **times):
    request = retrain_service_pb2.BuildTrainingSnapshotRequest(
        monitor=MONITOR,
        snapshot_id="new",
        template_job=job,
        request_id=request_id(),
        **{"end_time": to_timestamp(MARCH), **times},
    )
    return await caller.retraining.BuildTrainingSnapshot(request, timeout=TIMEOUT_S)


async def test_a_snapshot_needs_rows_a_template_and_time(with_peers):
    await with_peers.create_monitor()
    with refused() as refusal:
        await build(with_peers)
    assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "NO_TRAINING_ROWS")
    assert refusal.metadata == {"monitor": MONITOR}
    with refused() as refusal:
        await build(with_peers, job=f"{JOB}-2")
    assert refusal.fields() == ["template_job"]
    with refused() as refusal:
        await build(with_peers, start_time=to_timestamp(MARCH + timedelta(days=1)))
    assert refusal.fields() == ["end_time"]


async def test_an_episode_without_rows_fails_with_its_reason(with_peers, tmp_path):
    await with_peers.create_monitor()
    await with_peers.create_policy(MONITOR)
    database = Database(f"sqlite:///{tmp_path / 'monitor'}/metadata.db")
    decision = await written(database, lambda tx: triggered(tx, tx.policies.get(POLICY)))
    database.close()
    uid = decision.episode.rpartition("/")[2]
    request = events_pb2.WatchEventsRequest(correlation_id=uid, follow=True)
    types = []
    async for answer in with_peers.events.WatchEvents(request, timeout=TIMEOUT_S):
        types.append(answer.event.type.removeprefix("roundhouse.monitor."))
        if types[-1] == "episode.failed":
            break
    assert [kind for kind in types if kind] == [
        "decision.made",
        "episode.detected",
        "episode.failed",
    ]
    episode = await with_peers.retraining.GetEpisode(
        retrain_service_pb2.GetEpisodeRequest(name=decision.episode), timeout=TIMEOUT_S
    )
    assert episode.state == monitor_pb2.Episode.STATE_FAILED
    assert MONITOR in episode.message
