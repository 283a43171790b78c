"""Alerts as Alertmanager is told of them; a real one, where it is about what it makes of that."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from roundhouse.monitor.v1 import alert_service_pb2
from roundhouse.monitor.v1.slo_pb2 import ErrorBudget

from services.common.clock import utc_now
from services.common.resources import Meta
from services.common.settings import InvalidSettings
from services.monitor.adapters.alertmanager import TOLD_AFTER_THE_END, as_posted
from services.monitor.core.alerts.alerting import Alert, AlertState, Firing
from services.monitor.core.slos.budgets import Severity
from tests.monitor.test_api_alerts import listed, promise
from tests.monitor.test_api_slos import requests
from tests.support.calls import TIMEOUT_S, request_id
from tests.support.eventually import eventually
from tests.support.monitor_api import MonitorCaller, running_monitor
from tests.support.monitor_values import MARCH, MONITOR
from tests.support.prometheus import AlertmanagerServer

NOW = MARCH + timedelta(minutes=10)
UNTIL = NOW + timedelta(minutes=5)


def opened(severity: Severity, at: datetime = MARCH, owner: str = "ops") -> Alert:
    return Alert(
        meta=Meta(f"{MONITOR}/alerts/{at:%H%M}", "u", 1, at, at),
        resource=f"{MONITOR}/slos/answers",
        error_class="BURN_RATE",
        severity=severity,
        state=AlertState.OPEN,
        incident="u",
        summary="Much is bad.",
        event_time=at,
        owner=owner,
        runbook="https://runbooks.example.com",
        steps=(),
    )


def told(*alerts: Alert, now: datetime = NOW) -> dict[str, datetime]:
    """End of each alert by its severity."""
    posted = as_posted(alerts, now, UNTIL)
    ends = {each["labels"]["severity"]: datetime.fromisoformat(each["endsAt"]) for each in posted}
    assert len(ends) == len(posted)
    return ends


def test_labels_are_what_stays_and_annotations_what_changes():
    (posted,) = as_posted([opened(Severity.PAGE)], NOW, UNTIL)
    assert posted["labels"] == {
        "alertname": "RoundhouseBurnRate",
        "error_class": "BURN_RATE",
        "severity": "page",
        "slo": f"{MONITOR}/slos/answers",
        "owner": "ops",
    }
    acknowledged = opened(Severity.PAGE).acknowledged("ann", "I look.", NOW)
    (later,) = as_posted([acknowledged], NOW, UNTIL)
    assert later["labels"] == posted["labels"]
    assert later["annotations"] == {**posted["annotations"], "state": "ACKNOWLEDGED"}
    (nobodys,) = as_posted([opened(Severity.PAGE, owner="")], NOW, UNTIL)
    assert "owner" not in nobodys["labels"]


def test_an_alert_lasts_until_it_is_resolved():
    page = opened(Severity.PAGE)
    assert told(page) == {"page": UNTIL}
    assert told(page.resolved("ann", "Mended.", NOW)) == {"page": NOW}


def test_a_ticket_that_becomes_a_page_is_over_as_a_ticket():
    firing = Firing("BURN_RATE", Severity.PAGE, "Much more is bad.", NOW)
    page = opened(Severity.TICKET).escalated(firing, NOW)
    assert told(page) == {"page": UNTIL, "ticket": NOW}
    late = NOW + TOLD_AFTER_THE_END + timedelta(seconds=1)
    assert told(page, now=late) == {"page": UNTIL}


def test_what_fires_again_is_not_ended_by_the_end_before():
    before = opened(Severity.PAGE).resolved("ann", "Mended.", NOW)
    assert told(before, opened(Severity.PAGE, NOW)) == {"page": UNTIL}


@asynccontextmanager
async def trouble(
    data_dir: Path, alertmanager: AlertmanagerServer
) -> AsyncIterator[tuple[MonitorCaller, str]]:
    """A monitor with an alert that the Alertmanager knows, and the owner whom only it names."""
    owner = uuid.uuid4().hex
    settings = {
        "alert_interval_s": 0.1,
        "alertmanager_urls": alertmanager.url,
        "alertmanager_repeat_s": 1.0,
    }
    async with running_monitor(data_dir, **settings) as caller:
        await caller.create_monitor(owner=owner)
        await promise(caller, "answers")
        await caller.observe(("bad", requests("bad", [None] * 20)))
        await eventually(lambda: len(alertmanager.alerts(owner=owner)) == 1)
        yield caller, owner


async def test_a_wrong_url_stops_the_start_and_is_named(tmp_path):
    with pytest.raises(InvalidSettings, match="ALERTMANAGER_URLS must be"):
        async with running_monitor(tmp_path, alertmanager_urls="http://a:9093, alertmanager:9093"):
            pass


async def test_an_alertmanager_knows_what_is_wrong_also_after_it_crashed(
    tmp_path, alertmanager_server
):
    async with trouble(tmp_path, alertmanager_server) as (caller, owner):
        (alert,) = await listed(caller)
        assert alert.severity == ErrorBudget.SEVERITY_PAGE
        (known,) = alertmanager_server.alerts(owner=owner)
        assert (known["labels"]["slo"], known["labels"]["severity"]) == (alert.resource, "page")
        assert known["annotations"]["summary"] == alert.summary
        assert known["annotations"]["runbook"] == alert.runbook
        assert known["status"]["state"] == "active"

        now = utc_now()
        alertmanager_server.silence(
            {"owner": owner}, start=now.isoformat(), end=(now + timedelta(hours=1)).isoformat()
        )
        await eventually(
            lambda: (
                [each["status"]["state"] for each in alertmanager_server.alerts(owner=owner)]
                == ["suppressed"]
            )
        )
        alertmanager_server.kill()
        alertmanager_server.restart()
        await eventually(lambda: len(alertmanager_server.alerts(owner=owner)) == 1)

        for index in range(4):
            await caller.observe((f"good{index}", requests(f"good{index}", [1] * 5000)))
        await eventually(lambda: alertmanager_server.alerts(owner=owner) == [])
        assert await listed(caller, "state != RESOLVED") == []


async def test_alerts_of_a_monitor_that_is_gone_run_out(tmp_path, alertmanager_server):
    async with trouble(tmp_path, alertmanager_server) as (caller, owner):
        (alert,) = await listed(caller)
        acknowledge = alert_service_pb2.AcknowledgeAlertRequest(
            name=alert.name, actor="ann", reason="I look.", request_id=request_id()
        )
        await caller.alerts.AcknowledgeAlert(acknowledge, timeout=TIMEOUT_S)
        await eventually(
            lambda: (
                [each["annotations"]["state"] for each in alertmanager_server.alerts(owner=owner)]
                == ["ACKNOWLEDGED"]
            )
        )
    await eventually(lambda: alertmanager_server.alerts(owner=owner) == [])
