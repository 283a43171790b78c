"""The guide to rollouts, command by command, on a service that runs."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path

import pytest
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit

from tests.support.fake_monitor import Response, fake_monitor
from tests.support.inference_api import registry_with_models, running_inference
from tests.system.steady_load import steady_load

pytestmark = pytest.mark.real

GUIDE = (Path(__file__).parents[2] / "docs" / "rollouts.md").read_text()
COMMANDS = [
    line.removeprefix("roundhouse ")
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
]
_START, _WATCH = (
    next(each for each in COMMANDS if each.startswith(f"rollouts {verb} "))
    for verb in ("start", "watch")
)
_PHASES = _START.count("--phase")
_ADVANCE = "rollouts advance flights"
_RATE_PER_S = 100.0
_UNTIL_S = 60.0


async def test_the_guide_s_commands_do_what_it_says(tmp_path, capsys):
    assert f"`{_ADVANCE.removesuffix(' flights')}`" in GUIDE
    async with (
        fake_monitor() as monitor,
        registry_with_models(tmp_path / "registry") as registry,
        running_inference(tmp_path / "inference", registry.address, monitor.address) as caller,
    ):
        monitor.verdict = Response.VERDICT_INCONCLUSIVE
        registry.model_id = "flights"
        first = await registry.approved()
        await registry.approved(0.01)
        await caller.create_endpoint(first, "flights")
        before = ["--data-dir", str(tmp_path)]
        for name, peer in (("inference", caller), ("registry", registry), ("monitor", monitor)):
            before += ["--address", f"{name}={peer.address}"]

        async def ended_as(command: str) -> int:
            return await asyncio.to_thread(run, [*before, *shlex.split(command)])

        async def go_through_its_phases() -> None:
            """By hand: the guide's numbers of requests and outcomes take longer than a test."""
            for _ in range(_PHASES):
                async with asyncio.timeout(_UNTIL_S):
                    while await ended_as(_ADVANCE) != Exit.OK:
                        await asyncio.sleep(0.1)

        async with steady_load(caller.address, "flights", _RATE_PER_S):
            for command in COMMANDS:
                if "drill " in command:  # The roll-back before it left nothing to go back to.
                    assert await ended_as(_START) == Exit.OK
                    await go_through_its_phases()
                    assert await ended_as(_WATCH) == Exit.OK
                assert await ended_as(command) == Exit.OK, (command, capsys.readouterr())
                if command == _START:
                    await go_through_its_phases()
        printed = capsys.readouterr().out
    for part in ("shadow of 10 % │", "flights/2 in the shadow of flights/1", "Drills of flights"):
        assert part in printed
