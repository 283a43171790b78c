"""Alerts by commands, on a real monitor in this process."""

from __future__ import annotations

import asyncio
import json
import time

from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit

from services.monitor.core.slos.budgets import Severity
from tests.monitor.test_api_alerts import promise
from tests.monitor.test_api_slos import requests
from tests.monitor.test_escalation import policy, prepared
from tests.support.monitor_api import running_monitor
from tests.support.receiver import receiving


async def test_an_alert_is_listed_acknowledged_silenced_and_resolved(tmp_path, capsys):
    async with running_monitor(tmp_path / "monitor", alert_interval_s=0.2) as caller:
        await caller.create_monitor()
        before = ["--data-dir", str(tmp_path), "--address", f"monitor={caller.address}", "alerts"]

        async def command(*arguments: str) -> str:
            capsys.readouterr()
            assert await asyncio.to_thread(run, [*before, *arguments]) == Exit.OK
            return capsys.readouterr().out

        await promise(caller, "answers")
        await caller.observe(("bad", requests("bad", [None] * 20)))
        deadline = time.monotonic() + 30
        while not (alerts := json.loads(await command("list", "delays", "--json"))):
            assert time.monotonic() < deadline
        alert = f"delays/{alerts[0]['name'].rpartition('/')[2]}"
        assert "delays/" in await command("list", "delays")
        assert "ann" in await command("acknowledge", alert, "--actor", "ann")
        assert "Silent" in await command("silence", alert, "--reason", "known", "--hours", "2")
        assert "ann" in await command("resolve", alert, "--reason", "mended", "--actor", "ann")
        all_of_them = json.loads(await command("list", "delays", "--resolved", "--json"))
        (ended,) = [each for each in all_of_them if each["name"] == alerts[0]["name"]]
        steps = [step["action"] for step in ended["steps"]]
        assert steps == ["OPENED", "ACKNOWLEDGED", "SILENCED", "RESOLVED"]


async def test_an_alert_and_its_incident_go_up_by_hand(tmp_path, capsys):
    with receiving() as receiver:
        folder = tmp_path / "monitor"
        await prepared(folder, Severity.TICKET)
        file = policy(tmp_path, receiver, (3600, "managers"))
        settings = {"alert_interval_s": 0.2, "alert_escalation_file": file}
        async with running_monitor(folder, **settings) as caller:
            before = ["--data-dir", str(tmp_path), "--address", f"monitor={caller.address}"]

            async def command(*arguments: str, code: Exit = Exit.OK) -> str:
                capsys.readouterr()
                assert await asyncio.to_thread(run, [*before, *arguments]) == code
                return capsys.readouterr().out

            (alert,) = json.loads(await command("alerts", "list", "--json"))
            name, why = alert["name"], ("--reason", "I am alone.", "--actor", "ann")
            assert "page now" in await command("alerts", "escalate", name, *why)
            incident = alert["incident"][:8]
            assert "to managers" in await command("incidents", "escalate", incident, *why)
            told = await command("incidents", "escalate", incident, *why, "--to", "directors")
            assert "to directors" in told
            nobody = ("alerts", "escalate", name, *why, "--to", "nobody")
            await command(*nobody, code=Exit.USAGE)
            assert "escalated to managers by ann: I am alone." in await command(
                "alerts", "show", name
            )
            await command("incidents", "resolve", incident, *why)
            await command("incidents", "escalate", incident, *why, code=Exit.USAGE)
        paths = {each.path for each in receiver.received}
    assert paths == {"/hook", "/hook/chat"}
