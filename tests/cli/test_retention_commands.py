"""Holds and garbage collections by commands, on a real registry in this process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit

from tests.support.registry_api import BUNDLE, RegistryCaller, running_registry


class Commands:
    """Runs command lines against one registry."""

    def __init__(self, folder: Path, caller: RegistryCaller, capsys: pytest.CaptureFixture[str]):
        self._before = ["--data-dir", str(folder), "--address", f"registry={caller.address}"]
        self._capsys = capsys

    async def __call__(self, *arguments: str) -> tuple[int, str]:
        """The exit code and what was printed."""
        code = await asyncio.to_thread(run, [*self._before, *arguments])
        return code, self._capsys.readouterr().out

    async def json(self, *arguments: str) -> Any:
        """What a command prints for programs."""
        code, text = await self(*arguments, "--json")
        assert code == Exit.OK
        return json.loads(text[text.index("[" if text.lstrip().startswith("[") else "{") :])


async def test_a_hold_keeps_a_version_until_it_is_released(tmp_path, capsys):
    from roundhouse.registry.v1.retention_pb2 import RetentionPolicy

    async with running_registry(tmp_path / "registry") as caller:
        commands = Commands(tmp_path, caller, capsys)
        model = await caller.create_model(retention_policy=RetentionPolicy(keep_last=1))
        await caller.ready_version(model, {**BUNDLE, "card.md": b"old"})
        await caller.ready_version(model, {**BUNDLE, "card.md": b"new"})
        capsys.readouterr()

        hold = await commands.json(
            *("holds", "place", "delays/1", "--kind", "legal", "--reason", "case 1")
        )
        assert [each["name"] for each in await commands.json("holds", "list")] == [hold["name"]]
        assert (await commands.json("registry", "gc", "plan"))["planned"]["versions"] == 0
        await commands.json("holds", "release", hold["name"], "--reason", "closed")
        assert await commands.json("holds", "list") == []

        plan = await commands.json("registry", "gc", "plan")
        assert plan["planned"]["versions"] == 1
        ended = await commands.json("registry", "gc", "run", plan["name"])
        assert ended["collected"] == plan["planned"]
        shown = await commands.json("registry", "gc", "show", plan["name"])
        states = {item["subject"]: item["state"] for item in shown["items"]}
        assert states[f"{model}/versions/1"] == "STATE_COLLECTED"
        assert states[f"{model}/versions/2"] == "STATE_KEPT"
        code, text = await commands("registry", "gc", "show", plan["name"].rpartition("/")[2])
        assert code == Exit.OK
        assert "delays/1" in text
