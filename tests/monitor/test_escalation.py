"""Pages that go up on a real monitor: by hand, by time, and through kills."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from grpc import StatusCode
from roundhouse.monitor.v1 import alert_pb2, alert_service_pb2, slo_pb2

from services.common.settings import InvalidSettings
from services.common.webhooks.targets import TargetPolicy
from services.monitor.adapters.escalation_file import read_escalation
from services.monitor.core.alerts.alerting import ErrorClass, Firing
from services.monitor.core.slos.budgets import Severity
from services.monitor.core.slos.objectives import Sli, SliKind, Slo
from services.monitor.core.use_cases.alerts import open_alert
from services.monitor.core.use_cases.slos import create_slo
from tests.support.calls import TIMEOUT_S, refused, request_id
from tests.support.eventually import eventually
from tests.support.monitor_api import NOBODY, running_monitor
from tests.support.monitor_database import monitor_database, written
from tests.support.monitor_values import MARCH, MONITOR, watched
from tests.support.receiver import OTHER_SECRET, SECRET, receiving

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = TargetPolicy(loopback=True, private=False)
LEVEL = '\n[[levels]]\nafter_s = {after_s}\nreceiver = "{receiver}"\n'


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


def policy(folder, receiver, *levels):
    """The file of a policy with a pager and a chat."""
    (folder / "pager.secret").write_text(f"{SECRET}\n")
    (folder / "chat.url").write_text(f"{receiver.url}/chat\n")
    path = folder / "escalation.toml"
    path.write_text(
        f'[receivers.managers]\nwebhook_url = "{receiver.url}"\nsecret_file = "pager.secret"\n'
        '[receivers.directors]\nchat_url_file = "chat.url"\n'
        + "".join(LEVEL.format(after_s=after_s, receiver=to) for after_s, to in levels)
    )
    return path


def burn(tx, severity=Severity.PAGE, slo_id="answers"):
    """An alert of a new objective."""
    watching = tx.monitors.get(MONITOR) or watched(tx)
    sli = Sli(SliKind.JOBS)  # read from a trainer that is away, so that nothing ends the alert
    slo = create_slo(
        tx,
        f"{MONITOR}/slos/{slo_id}",
        lambda meta: Slo(meta=meta, sli=sli, target=0.9, min_bad_events=1),
    )
    open_alert(tx, watching, slo, Firing(ErrorClass.BURN_RATE, severity, "It burns.", MARCH))


async def listed(caller):
    request = alert_service_pb2.ListAlertsRequest(parent=MONITOR)
    return list((await caller.alerts.ListAlerts(request, timeout=TIMEOUT_S)).alerts)


async def escalate(caller, name, receiver="", id_=None):
    request = alert_service_pb2.EscalateAlertRequest(
        name=name, actor="ann", reason="I am alone.", receiver=receiver, request_id=id_
    )
    request.request_id = id_ or request_id()
    return await caller.alerts.EscalateAlert(request, timeout=TIMEOUT_S)


def running(folder, **settings):
    return running_monitor(folder, alert_interval_s=0.1, **settings)


async def prepared(folder, *severities):
    """A database with an alert of each."""
    folder.mkdir(exist_ok=True)
    async with monitor_database(f"sqlite:///{folder / 'metadata.db'}") as database:
        for number, severity in enumerate(severities):
            await written(database, lambda tx, s=severity, n=number: burn(tx, s, f"answers-{n}"))


async def test_a_page_that_nobody_sees_to_goes_up_level_by_level_and_each_hears_the_rest(
    tmp_path, receiver
):
    await prepared(tmp_path / "m", Severity.PAGE, Severity.TICKET)
    file = policy(tmp_path, receiver, (0.2, "managers"), (0.4, "directors"))
    async with running(tmp_path / "m", alert_escalation_file=file) as caller:
        await eventually(lambda: len(receiver.received) >= 3)
        ticket, page = await listed(caller)
        assert [step.receiver for step in page.steps] == ["", "managers", "directors"]
        assert [step.actor for step in page.steps] == ["monitor"] * 3
        assert len(ticket.steps) == 1
        acknowledge = alert_service_pb2.AcknowledgeAlertRequest(
            name=page.name, actor="bob", reason="I look.", request_id=request_id()
        )
        await caller.alerts.AcknowledgeAlert(acknowledge, timeout=TIMEOUT_S)
        await eventually(lambda: len(receiver.received) >= 5)
    pages = [each for each in receiver.received if each.path == "/hook"]
    lines = [each.json["text"] for each in receiver.received if each.path == "/hook/chat"]
    kinds = [each.json["type"].rpartition(".")[2] for each in pages]
    assert kinds == ["escalated", "escalated", "acknowledged"]
    assert [each.json["data"]["receiver"] for each in pages] == ["managers", "directors", ""]
    assert all(each.is_signed_by(SECRET) for each in pages)
    assert lines[0].startswith("*PAGE escalated to directors*: BURN_RATE of answers-0.")
    assert lines[1].startswith("*PAGE acknowledged*")
    assert (len(pages), len(lines)) == (3, 2)


async def test_by_hand_a_ticket_becomes_a_page_and_a_page_goes_up(tmp_path, receiver):
    await prepared(tmp_path / "m", Severity.TICKET)
    file = policy(tmp_path, receiver, (3600, "managers"), (7200, "directors"))
    async with running(tmp_path / "m", alert_escalation_file=file) as caller:
        (alert,) = await listed(caller)
        raised = await escalate(caller, alert.name)
        assert raised.severity == slo_pb2.ErrorBudget.SEVERITY_PAGE
        assert [(step.action, step.receiver) for step in raised.steps[1:]] == [("ESCALATED", "")]
        assert receiver.received == []
        id_ = request_id()
        up = await escalate(caller, alert.name, id_=id_)
        assert await escalate(caller, alert.name, id_=id_) == up
        assert (up.steps[-1].receiver, up.steps[-1].reason) == ("managers", "I am alone.")
        assert up.state == alert_pb2.Alert.STATE_OPEN
        await eventually(lambda: len(receiver.received) == 1)
        assert (await escalate(caller, alert.name)).steps[-1].receiver == "directors"
        await eventually(lambda: len(receiver.received) == 3)
        with refused() as refusal:
            await escalate(caller, alert.name, "nobody")
        assert (refusal.code, refusal.fields()) == (StatusCode.INVALID_ARGUMENT, ["receiver"])


async def test_a_page_without_anybody_above_is_refused_and_a_ticket_is_raised(tmp_path):
    await prepared(tmp_path / "m", Severity.TICKET)
    async with running(tmp_path / "m") as caller:
        (alert,) = await listed(caller)
        with refused() as refusal:
            await escalate(caller, alert.name, "managers")
        assert refusal.fields() == ["receiver"]
        await escalate(caller, alert.name)
        with refused() as refusal:
            await escalate(caller, alert.name)
        assert refusal.code is StatusCode.FAILED_PRECONDITION
        assert refusal.reason == "NOBODY_TO_ESCALATE_TO"
        assert refusal.metadata["name"] == alert.name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "receivers"),
        ("not toml", "escalation.toml"),
        ("[receivers.a]\n", "needs either webhook_url"),
        ('[receivers.a]\nchat_url_file = "missing"\n', "missing"),
        ('[receivers.a]\nwebhook_url = "https://x.example/"\n', "set both or neither"),
        ('[receivers.A]\nchat_url_file = "chat.url"\n', "receivers"),
        ('[receivers.a]\nchat_url_file = "http.url"\n', "must be https"),
        ('[receivers.a]\nchat_url_file = "chat.url"\nsecret = "x"\n', "secret"),
        (
            '[receivers.a]\nchat_url_file = "chat.url"\n' + LEVEL.format(after_s=0, receiver="a"),
            "0",
        ),
        (
            '[receivers.a]\nchat_url_file = "chat.url"\n' + LEVEL.format(after_s=9, receiver="b"),
            "not: b",
        ),
        (
            '[receivers.a]\nchat_url_file = "chat.url"\n'
            + LEVEL.format(after_s=9, receiver="a")
            + LEVEL.format(after_s=10, receiver="a"),
            "two levels",
        ),
        (
            '[receivers.a]\nwebhook_url = "https://x.example/"\nsecret_file = "short"\n',
            "whsec_",
        ),
    ],
)
def test_a_policy_that_can_not_be_used_is_refused_in_words_without_its_secrets(
    tmp_path, text, said
):
    (tmp_path / "chat.url").write_text("https://chat.example/hook/abc123")
    (tmp_path / "http.url").write_text("http://chat.example/hook/abc123")
    (tmp_path / "short").write_text("whsec_abc123")
    path = tmp_path / "escalation.toml"
    path.write_text(text)
    with pytest.raises(InvalidSettings) as refusal:
        read_escalation(path, LOOPBACK)
    assert said in str(refusal.value)
    assert "abc123" not in str(refusal.value)


def test_a_policy_says_who_and_when_and_shows_no_secret(tmp_path, receiver):
    (tmp_path / "unused.secret").write_text(OTHER_SECRET)
    found = read_escalation(policy(tmp_path, receiver, (900, "managers")), LOOPBACK)
    assert found.escalation.receivers == ("managers", "directors")
    assert [level.after.total_seconds() for level in found.escalation.levels] == [900]
    assert SECRET not in repr(found)


def started(log_file, environment):
    """A monitor in a process of its own."""
    with log_file.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "services.monitor"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )


@pytest.mark.real
async def test_through_kills_each_level_is_told_of_each_page_once(tmp_path, receiver):
    pages = 6
    await prepared(tmp_path / "m", *[Severity.PAGE] * pages)
    file = policy(tmp_path, receiver, (0.5, "managers"))
    settings = {
        "LISTEN": "127.0.0.1:0",
        "METRICS_LISTEN": "127.0.0.1:0",
        "DASHBOARD_LISTEN": "",
        "DATA_DIR": str(tmp_path / "m"),
        "ALERT_INTERVAL_S": "0.05",
        "ALERT_ESCALATION_FILE": str(file),
        **{f"{peer}_ADDRESS": NOBODY for peer in ("REGISTRY", "TRAINER", "INFERENCE")},
    }
    environment = os.environ | {f"ROUNDHOUSE_MONITOR_{k}": v for k, v in settings.items()}

    async def run_until(condition):
        child = started(tmp_path / "monitor.log", environment)
        try:
            await eventually(condition, within_s=60.0)
        finally:
            child.send_signal(signal.SIGKILL)
            await asyncio.to_thread(child.wait, 30)

    await run_until(lambda: len(receiver.received) > 1)
    await run_until(lambda: len(set(receiver.ids)) == pages)

    async with monitor_database(f"sqlite:///{tmp_path / 'm' / 'metadata.db'}") as database:
        alerts = await written(database, lambda tx: tx.alerts.under(MONITOR))
    assert [alert.receivers for alert in alerts] == [("managers",)] * pages
    assert all(len(alert.steps) == 2 for alert in alerts)
    bodies = {(each.id, each.json["subject"]) for each in receiver.received}
    assert len(bodies) == len({subject for _, subject in bodies}) == pages
