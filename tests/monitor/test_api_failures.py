"""Failed jobs on the wire and by command: a whole monitor beside a trainer whose jobs fail."""

from __future__ import annotations

import asyncio
import json

import pytest
from grpc import StatusCode
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit
from roundhouse.monitor.v1 import alert_pb2, alert_service_pb2, slo_pb2

from services.common.clock import utc_now
from tests.support.calls import TIMEOUT_S, refused
from tests.support.eventually import eventually
from tests.support.monitor_api import running_monitor
from tests.support.receiver import SECRET, receiving
from tests.support.scripted_trainer import PROJECT, scripted_trainer


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def chat():
    with receiving() as chat:
        yield chat


@pytest.fixture
async def trainer():
    async with scripted_trainer() as trainer:
        yield trainer


@pytest.fixture
async def caller(tmp_path, receiver, chat, trainer):
    settings = {
        "alert_webhook_url": receiver.url,
        "alert_webhook_secret": SECRET,
        "alert_chat_url": chat.url,
    }
    async with running_monitor(tmp_path / "monitor", trainer.address, **settings) as caller:
        async with asyncio.timeout(30):
            await trainer.first_look.wait()
        yield caller


async def incidents(caller):
    request = alert_service_pb2.QueryIncidentsRequest(parent=PROJECT)
    return list((await caller.alerts.QueryIncidents(request, timeout=TIMEOUT_S)).incidents)


async def until_alerts(caller, wanted):
    """The project's incidents, once they have so many alerts."""
    async with asyncio.timeout(30):
        while True:
            found = await incidents(caller)
            if sum(each.alerts for each in found) >= wanted:
                return found
            await asyncio.sleep(0.1)


def lose_workers(trainer, jobs, node="n7"):
    for number in jobs:
        name = trainer.submit(f"job-{number}", utc_now())
        for _ in range(3):
            trainer.fail(name, "WORKER_LOST", utc_now(), node=node)


async def test_a_bad_node_is_one_incident_told_once_and_once_more_when_it_spreads(
    caller, trainer, receiver, chat
):
    lose_workers(trainer, range(8))
    (incident,) = await until_alerts(caller, 8)
    assert (incident.cause, incident.error_classes) == ("node n7", ["WORKER_LOST"])
    assert (incident.alerts, incident.unresolved, incident.failures) == (8, 8, 22)
    assert incident.severity == slo_pb2.ErrorBudget.SEVERITY_PAGE
    assert (incident.owners, incident.runbook) == (["ann"], "docs/runbooks/training/worker-lost.md")
    await eventually(lambda: len(receiver.received) == 2)
    told = [(each.json["type"].rpartition(".")[2], each.json["data"]) for each in receiver.received]
    assert [(kind, data["severity"]) for kind, data in told] == [
        ("opened", "TICKET"),
        ("opened", "PAGE"),
    ]
    assert {data["incident"] for _, data in told} == {incident.id}
    await eventually(lambda: len(chat.received) == 2)
    assert [each.json["text"] for each in chat.received] == [
        f"*{severity} opened*: WORKER_LOST of job-{job}. Attempt {attempt} failed with "
        "WORKER_LOST: WORKER_LOST it is, &lt;!here&gt;.\n"
        f"Ask ann. docs/runbooks/training/worker-lost.md, incident {incident.id[:8]}"
        for severity, job, attempt in (("TICKET", 0, 3), ("PAGE", 4, 1))
    ]

    request = alert_service_pb2.ListJobFailuresRequest(
        parent=PROJECT, filter='error_class = "WORKER_LOST" AND node = "n7"', page_size=5
    )
    page = await caller.alerts.ListJobFailures(request, timeout=TIMEOUT_S)
    assert len(page.job_failures) == 5
    assert page.next_page_token
    newest = page.job_failures[0]
    assert (newest.job, newest.attempt) == (f"{PROJECT}/trainingJobs/job-7", 3)
    listed = alert_service_pb2.ListAlertsRequest(parent=PROJECT, filter="severity = PAGE")
    paging = (await caller.alerts.ListAlerts(listed, timeout=TIMEOUT_S)).alerts
    # The fifth job makes it a page, and so it is for those after it.
    assert sorted(each.resource[-1] for each in paging) == ["4", "5", "6", "7"]
    first = min(paging, key=lambda each: each.resource)
    assert first.trouble.sent
    assert first.trouble.evidence.checkpoint == "mlp-1, step 3, sha256:ab"


async def test_who_sees_to_an_incident_sees_to_what_joins_it(
    caller, trainer, receiver, tmp_path, capsys
):
    before = ["--data-dir", str(tmp_path), "--address", f"monitor={caller.address}"]

    async def command(*arguments: str) -> str:
        capsys.readouterr()
        assert await asyncio.to_thread(run, [*before, *arguments]) == Exit.OK
        return capsys.readouterr().out

    lose_workers(trainer, range(2))
    (incident,) = await until_alerts(caller, 2)
    assert "node n7" in await command("incidents", "list")
    assert "2 alerts" in await command("incidents", "acknowledge", incident.id[:8], "--actor", "bo")
    silenced = await command("incidents", "silence", incident.id, "--reason", "it is off")
    assert "2 alerts silent" in silenced
    lose_workers(trainer, [2])
    (incident,) = await until_alerts(caller, 3)
    assert incident.state == alert_pb2.Alert.STATE_ACKNOWLEDGED
    alerts = json.loads(await command("alerts", "list", "--json"))
    assert {each["state"] for each in alerts} == {"STATE_ACKNOWLEDGED"}
    assert all(each["silenced_until"] for each in alerts)
    assert [step["actor"] for step in alerts[0]["steps"]] == ["monitor", "bo"]
    shown = await command("alerts", "show", alerts[0]["name"].rpartition("/")[2])
    for known in ("worker-lost.md", "node       n7", "train_loss 0.25 at 3", "| line 100", "0af7"):
        assert known in shown
    assert "job-2" in await command("incidents", "failures", "--node", "n7", "--limit", "1")
    assert shown.strip() in await command("incidents", "show", incident.id[:8])
    ended = await command("incidents", "resolve", incident.id, "--reason", "n7 is out")
    assert "3 alerts resolved" in ended
    assert await incidents(caller) == []
    assert incident.id[:8] in await command("incidents", "list", "--days", "1")
    assert await asyncio.to_thread(run, [*before, "incidents", "show", "f00"]) == Exit.USAGE


async def test_what_is_no_project_or_no_alert_is_refused(caller):
    for method, request in (
        (caller.alerts.QueryIncidents, alert_service_pb2.QueryIncidentsRequest(parent="x")),
        (caller.alerts.ListJobFailures, alert_service_pb2.ListJobFailuresRequest(parent="x")),
        (caller.alerts.GetAlert, alert_service_pb2.GetAlertRequest(name=f"{PROJECT}/alerts/-")),
    ):
        with refused() as refusal:
            await method(request, timeout=TIMEOUT_S)
        assert refusal.code is StatusCode.INVALID_ARGUMENT
    with refused() as refusal:
        missing = alert_service_pb2.GetAlertRequest(name=f"{PROJECT}/alerts/{'0' * 32}")
        await caller.alerts.GetAlert(missing, timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "ALERT_NOT_FOUND")
