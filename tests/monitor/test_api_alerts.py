"""Alerts: one for each thing that is wrong, told once, and seen to by people."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from grpc import StatusCode
from pydantic import ValidationError
from roundhouse.monitor.v1 import (
    alert_pb2,
    alert_service_pb2,
    judgement_service_pb2,
    slo_pb2,
    slo_service_pb2,
)

from services.common.clock import utc_now
from services.common.criteria import Criteria, Verdict
from services.common.rpc.convert import to_timestamp
from services.common.store.database import Database
from services.monitor.adapters.judging import BudgetJudge
from services.monitor.core.ports import RolloutCase
from services.monitor.core.use_cases.alerts import RUNBOOKS
from services.monitor.core.verdicts import RolloutVerdict
from services.monitor.settings import MonitorSettings
from tests.monitor.test_api_slos import requests
from tests.support.calls import TIMEOUT_S, refused, request_id
from tests.support.eventually import eventually
from tests.support.monitor_api import running_monitor
from tests.support.monitor_values import CHAMPION, ENDPOINT, MONITOR
from tests.support.receiver import SECRET, receiving

NEW = "projects/default/models/delays/versions/2"


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
async def caller(tmp_path, receiver):
    settings = {"alert_webhook_url": receiver.url, "alert_webhook_secret": SECRET}
    async with running_monitor(tmp_path / "monitor", alert_interval_s=0.1, **settings) as caller:
        await caller.create_monitor(owner="ops")
        yield caller


async def promise(caller, slo_id, target=0.999, **indicator):
    indicator = indicator or {"availability": slo_pb2.Slo.Availability()}
    slo = slo_pb2.Slo(target=target, **indicator)
    request = slo_service_pb2.CreateSloRequest(
        parent=MONITOR, slo_id=slo_id, slo=slo, request_id=request_id()
    )
    await caller.slos.CreateSlo(request, timeout=TIMEOUT_S)


async def listed(caller, filter_=""):
    request = alert_service_pb2.ListAlertsRequest(parent=MONITOR, filter=filter_)
    return list((await caller.alerts.ListAlerts(request, timeout=TIMEOUT_S)).alerts)


def kinds(receiver):
    return [
        each.json["type"].removeprefix("roundhouse.monitor.alert.") for each in receiver.received
    ]


async def test_an_objective_that_cannot_be_read_keeps_no_other_from_alerting(caller):
    await promise(caller, "a-jobs", jobs=slo_pb2.Slo.Jobs())  # nobody is where the trainer should
    await promise(caller, "answers")
    await caller.observe(("bad", requests("bad", [None] * 20)))
    async with asyncio.timeout(30):
        while not (alerts := await listed(caller)):
            await asyncio.sleep(0.05)
    assert {each.resource for each in alerts} == {f"{MONITOR}/slos/answers"}


async def test_ten_thousand_failures_are_one_incident_told_once(caller, receiver):
    await promise(caller, "answers")
    await promise(caller, "most-answers", target=0.9)
    for part in range(5):
        await caller.observe((str(part), requests(f"{part}", [None] * 2000)))
    await eventually(lambda: len(receiver.received) == 2)
    alerts = await listed(caller)
    assert {alert.resource.rpartition("/")[2] for alert in alerts} == {"answers", "most-answers"}
    assert len({alert.incident for alert in alerts}) == 1
    first = alerts[-1]
    assert (first.owner, first.runbook) == ("ops", RUNBOOKS["BURN_RATE"])
    assert await listed(caller, "severity = PAGE") == [
        alert for alert in alerts if alert.severity == slo_pb2.ErrorBudget.SEVERITY_PAGE
    ]
    message = receiver.received[0]
    assert message.is_signed_by(SECRET)
    assert message.json["data"]["incident"] == first.incident
    assert kinds(receiver) == ["opened", "opened"]


async def test_an_alert_is_acknowledged_silenced_and_ends_with_its_cause(caller, receiver):
    await promise(caller, "answers")
    await caller.observe(("bad", requests("bad", [None] * 20)))
    await eventually(lambda: kinds(receiver) == ["opened"])
    (alert,) = await listed(caller)
    who = {"name": alert.name, "actor": "ann", "reason": "I look."}
    request = alert_service_pb2.AcknowledgeAlertRequest(**who, request_id=request_id())
    acknowledged = await caller.alerts.AcknowledgeAlert(request, timeout=TIMEOUT_S)
    assert await caller.alerts.AcknowledgeAlert(request, timeout=TIMEOUT_S) == acknowledged
    assert acknowledged.state == alert_pb2.Alert.STATE_ACKNOWLEDGED
    await eventually(lambda: kinds(receiver) == ["opened", "acknowledged"])
    with refused() as refusal:
        await silence(caller, who, -1)
    assert refusal.fields() == ["until_time"]
    silenced = await silence(caller, who, 1)
    assert [step.action for step in silenced.steps] == ["OPENED", "ACKNOWLEDGED", "SILENCED"]
    assert (silenced.steps[-1].actor, silenced.steps[-1].reason) == ("ann", "I look.")
    resolve = alert_service_pb2.ResolveAlertRequest(**who, request_id=request_id())
    await caller.alerts.ResolveAlert(resolve, timeout=TIMEOUT_S)
    # The rule still fires, so that a new alert is opened, in a new incident, and it is not silent.
    await eventually(lambda: kinds(receiver) == ["opened", "acknowledged", "opened"])
    (again,) = await listed(caller, "state = OPEN")
    assert again.incident != alert.incident
    for index in range(4):
        await caller.observe((f"good{index}", requests(f"good{index}", [1] * 5000)))
    await eventually(lambda: kinds(receiver)[3:] == ["resolved"])
    assert await listed(caller, "state != RESOLVED") == []
    with refused() as refusal:
        await caller.alerts.ResolveAlert(
            alert_service_pb2.ResolveAlertRequest(
                name=again.name, actor="ann", reason="?", request_id=request_id()
            ),
            timeout=TIMEOUT_S,
        )
    assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "ALERT_RESOLVED")


class Undecided:
    """A judge without evidence."""

    async def judge(self, case):
        return RolloutVerdict(Verdict.INCONCLUSIVE, "", {})


async def test_a_rollout_fails_on_a_page_that_began_after_its_phase(caller, tmp_path):
    began = utc_now()
    await promise(caller, "answers")
    await caller.observe(("bad", requests("bad", [None] * 20)))
    async with asyncio.timeout(TIMEOUT_S):
        while not (pages := await listed(caller, "severity = PAGE")):
            await asyncio.sleep(0.02)
    request = judgement_service_pb2.JudgeRolloutRequest(
        endpoint=ENDPOINT, candidate=NEW, champion=CHAMPION, since_time=to_timestamp(began)
    )
    found = await caller.judgements.JudgeRollout(request, timeout=TIMEOUT_S)
    assert found.verdict == judgement_service_pb2.JudgeRolloutResponse.VERDICT_FAIL
    assert "objective answers pages" in found.reason
    assert pages[0].summary in found.reason

    database = Database(f"sqlite:///{tmp_path}/monitor/metadata.db")
    judge = BudgetJudge(Undecided(), database, utc_now)
    case = RolloutCase(
        endpoint=ENDPOINT,
        candidate=NEW,
        champion=CHAMPION,
        since=began,
        criteria=Criteria(),
        min_outcomes=0,
        alone=False,
    )
    assert (await judge.judge(case)).verdict is Verdict.FAIL
    assert (await judge.judge(replace(case, since=utc_now()))).verdict is Verdict.INCONCLUSIVE
    elsewhere = replace(case, endpoint=f"{ENDPOINT}-2")
    assert (await judge.judge(elsewhere)).verdict is Verdict.INCONCLUSIVE
    database.close()


async def silence(caller, who, hours):
    request = alert_service_pb2.SilenceAlertRequest(
        **who,
        until_time=to_timestamp(utc_now() + timedelta(hours=hours)),
        request_id=request_id(),
    )
    return await caller.alerts.SilenceAlert(request, timeout=TIMEOUT_S)


async def test_an_alert_that_is_not_there_is_named(caller):
    with refused() as refusal:
        await caller.alerts.GetAlert(
            alert_service_pb2.GetAlertRequest(name=f"{MONITOR}/alerts/{'0' * 32}"),
            timeout=TIMEOUT_S,
        )
    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "ALERT_NOT_FOUND")


@pytest.mark.parametrize(
    "settings",
    [
        {"alert_webhook_url": "https://example.com/hook"},
        {"alert_webhook_secret": SECRET},
        {"alert_webhook_url": "https://example.com/hook", "alert_webhook_secret": "short"},
    ],
)
def test_alerts_are_sent_with_a_secret_that_can_sign_or_not_at_all(settings):
    with pytest.raises(ValidationError):
        MonitorSettings(**settings)
