"""`roundhouse endpoints` against a running inference service."""

from __future__ import annotations

import asyncio
import json

from roundhouse.cli.supervisor.suite import ADDRESSES_FILE

from tests.support.command_line import CommandLine
from tests.support.fake_monitor import fake_monitor
from tests.support.inference_api import registry_with_models, running_inference


async def test_an_endpoint_shows_memory_and_whether_versions_may_be_pinned(tmp_path):
    async with (
        registry_with_models(tmp_path / "registry") as registry,
        fake_monitor() as monitor,
        running_inference(tmp_path / "inference", registry.address, monitor.address) as inference,
    ):
        await inference.create_endpoint(await registry.approved())
        suite = tmp_path / "suite"
        suite.mkdir()
        (suite / ADDRESSES_FILE).write_text(json.dumps({"inference": inference.address}))
        command = CommandLine(suite)

        def told() -> list[str]:
            pins = ("endpoints", "pins", "delays")
            return [
                command(*arguments).out
                for arguments in (
                    ("endpoints", "show", "delays"),
                    (*pins, "--forbid"),
                    ("endpoints", "show", "delays"),
                    (*pins, "--allow"),
                )
            ]

        before, forbidden, after, allowed = await asyncio.to_thread(told)
    assert "MiB" in before
    assert "may not pin" not in before
    assert "may not pin a version" in forbidden
    assert "may not pin versions" in " ".join(after.split())
    assert "may pin any loaded version" in allowed
