"""`roundhouse slices` on a real monitor."""

from __future__ import annotations

import asyncio
import json

import pytest
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit

from tests.support.dashboard_scene import WEEKS, dashboard_scene
from tests.support.monitor_api import running_monitor


@pytest.fixture
def command(tmp_path, capsys):
    """Runs a command line against the monitor at an address; gives its exit code and output."""

    async def run_at(address: str, *arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        line = ["--data-dir", str(tmp_path), "--address", f"monitor={address}", *arguments]
        code = await asyncio.to_thread(run, line)
        told = capsys.readouterr()
        return code, told.out or told.err.splitlines()[-1]

    return run_at


def rows_of(text: str) -> list[str]:
    """Table rows that tell of a slice."""
    return [line for line in text.splitlines() if "carrier = " in line]


async def test_the_slices_of_the_newest_window_stand_with_the_most_surely_worse_first(
    tmp_path, command
):
    async with dashboard_scene(tmp_path / "scene") as scene:
        code, text = await command(scene.monitor, "slices", "delays")
        assert code == Exit.OK
        assert "2013-06-17 to 2013-06-24, all versions: auc of all rows 0.6" in text
        worst, fine, rare = rows_of(text)
        assert "carrier = HA" in worst
        assert "worse" in worst
        assert "0.0674 ±" in worst
        assert "carrier = UA" in fine
        assert "worse" not in fine
        assert "carrier = OO" in rare
        assert "too few" in rare

        by_loss = rows_of((await command(scene.monitor, "slices", "delays", "--by", "log_loss"))[1])
        assert "carrier = OO" in by_loss[-1]
        assert [len(rows_of(line)) for line in by_loss] == [1] * 3


async def test_a_report_that_is_named_is_shown_and_told_to_programs_with_its_standings(
    tmp_path, command
):
    async with dashboard_scene(tmp_path / "scene") as scene:
        listed = json.loads((await command(scene.monitor, "drift", "delays", "--json"))[1])
        of_version = [each for each in listed["performance_reports"] if each["version"]]
        assert len(of_version) == WEEKS
        report = of_version[0]["name"].rpartition("/")[2]
        assert report in (await command(scene.monitor, "drift", "delays"))[1]

        chosen = ("slices", "delays", "--report", report)
        assert "delays/1" in (await command(scene.monitor, *chosen))[1].splitlines()[0]
        told = json.loads((await command(scene.monitor, *chosen, "--json"))[1])
        standings = {each["value"]: each["standings"] for each in told["slices"]}
        assert standings["HA"]["auc"]["worse"]
        assert not standings["UA"]["auc"]["worse"]
        assert standings["OO"] == {}


async def test_without_a_judged_window_or_such_a_report_the_command_says_so(tmp_path, command):
    async with running_monitor(tmp_path / "monitor") as caller:
        await caller.create_monitor()
        code, text = await command(caller.address, "slices", "delays")
        assert (code, text) == (Exit.FAILED, "No window of delays has been judged yet.")
        code, _ = await command(caller.address, "slices", "delays", "--report", "gone")
        assert code not in (Exit.OK, Exit.FAILED)
