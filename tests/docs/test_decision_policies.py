"""The guide to decision policies, command by command, on a service that runs."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path

from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit

from tests.support.fake_monitor import fake_monitor
from tests.support.inference_api import registry_with_models, running_inference

GUIDE = (Path(__file__).parents[2] / "docs" / "decision-policies.md").read_text()
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
]


async def test_the_guide_s_files_and_commands_do_what_it_says(tmp_path, capsys, monkeypatch):
    files = re.findall(r"here `(\S+)`:\n\n```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert len(files) == 2
    for name, content in files:
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    async with (
        fake_monitor() as monitor,
        registry_with_models(tmp_path / "registry") as registry,
        running_inference(tmp_path / "inference", registry.address, monitor.address) as caller,
    ):
        await caller.create_endpoint(await registry.approved(), "flights")
        before = ["--data-dir", str(tmp_path), "--address", f"inference={caller.address}"]
        assert len(COMMANDS) == 8
        for command in COMMANDS:
            assert await asyncio.to_thread(run, [*before, *command]) == Exit.OK, command
        assert "review" in capsys.readouterr().out
        assert await asyncio.to_thread(run, [*before, *COMMANDS[-1], "--json"]) == Exit.OK
        printed = capsys.readouterr().out  # the services log to the same place
    moves, _ = json.JSONDecoder().raw_decode(printed[printed.index("[\n") :])
    assert [each["purpose"] for each in moves] == [
        "back to what it began with",
        "too many reviews",
        "costs were agreed on",
        "the endpoint was created",
    ]
