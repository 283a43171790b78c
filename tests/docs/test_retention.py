"""The commands in docs/retention.md, run in their order over a real registry, and its settings."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path

from roundhouse.cli.failures import Exit
from roundhouse.cli.supervisor.suite import ADDRESSES_FILE
from roundhouse.registry.v1.model_pb2 import ModelVersion
from roundhouse.registry.v1.model_service_pb2 import GetVersionRequest

from services.registry.settings import RegistrySettings
from tests.support.calls import TIMEOUT_S
from tests.support.command_line import CommandLine
from tests.support.registry_api import running_registry

DOCUMENT = (Path(__file__).parents[2] / "docs" / "retention.md").read_text()
PLANNING = re.findall(r"^roundhouse (.+)$", DOCUMENT, flags=re.MULTILINE)
(HOLD,) = re.findall(r"`roundhouse (holds place .+?)`", DOCUMENT)
SETTINGS = re.findall(r"`([a-z_]+_s)`", DOCUMENT)


async def test_every_command_does_what_the_document_says(tmp_path: Path) -> None:
    async with running_registry(tmp_path / "registry") as caller:
        (tmp_path / "suite").mkdir()
        addresses = json.dumps({"registry": caller.address})
        (tmp_path / "suite" / ADDRESSES_FILE).write_text(addresses)
        version = await caller.ready_version(await caller.create_model("delays"))
        command = CommandLine(tmp_path / "suite")
        held = await asyncio.to_thread(
            command, *shlex.split(HOLD.replace("MODEL/NUMBER", "delays/1"))
        )
        assert held.code == Exit.OK, held.err
        plan, *others = PLANNING
        planned = await asyncio.to_thread(command, *shlex.split(plan), "--json")
        name = planned.json["name"].rpartition("/")[2]
        assert others
        for line in others:
            arguments = shlex.split(line.replace("PLAN", name))
            result = await asyncio.to_thread(command, *arguments)
            assert result.code == Exit.OK, (line, result.err)
        kept = await caller.models.GetVersion(GetVersionRequest(name=version), timeout=TIMEOUT_S)
        assert kept.state == ModelVersion.STATE_READY


def test_the_settings_exist() -> None:
    assert SETTINGS
    assert set(SETTINGS) <= set(RegistrySettings.model_fields)
