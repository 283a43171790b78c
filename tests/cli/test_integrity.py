"""Verify, restore and rebuild by commands, beside a real registry."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from roundhouse.cli.failures import Exit

from services.common.blobs.content import content_key
from services.common.blobs.digests import digest_of
from services.common.blobs.opening import open_blob_store
from tests.support.command_line import CommandLine, Result
from tests.support.damage import Damage, damage
from tests.support.registry_api import BUNDLE, RegistryCaller, running_registry
from tests.support.registry_history import contents, live


async def command(caller: RegistryCaller, tmp_path: Path, *arguments: str) -> Result:
    cli = CommandLine(tmp_path / "cli")
    where = ("--address", f"registry={caller.address}")
    return await asyncio.to_thread(cli, *where, *arguments)


async def test_a_damaged_version_is_named_and_restored_from_a_folder(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for path, data in BUNDLE.items():
        (bundle / path).write_bytes(data)
    async with running_registry(tmp_path / "registry") as caller:
        await caller.ready_version(await caller.create_model())
        whole = await command(caller, tmp_path, "models", "verify", "delays/1")
        assert (whole.code, "is whole: 3 files" in whole.out) == (Exit.OK, True), whole.err
        refused = await command(caller, tmp_path, "models", "restore", "delays/1")
        assert refused.code == Exit.REFUSED
        key = content_key(digest_of(BUNDLE["model.onnx"]))
        async with open_blob_store(f"file://{tmp_path / 'registry' / 'blobs'}") as store:
            await damage(store, key, Damage.TRUNCATED, key)
        found = await command(caller, tmp_path, "models", "verify", "delays/1")
        assert found.code == Exit.FAILED
        assert "model.onnx" in found.out
        assert "truncated" in found.out
        assert "1 of 3 files" in found.err
        still = await command(caller, tmp_path, "models", "restore", "delays/1")
        assert still.code == Exit.FAULT
        empty = await command(
            caller, tmp_path, "models", "restore", "delays/1", "--from", str(tmp_path)
        )
        assert (empty.code, "model.onnx" in empty.err) == (Exit.USAGE, True)
        mended = await command(
            caller, tmp_path, "models", "restore", "delays/1", "--from", str(bundle), "--json"
        )
        assert mended.json["state"] == "STATE_READY"


@pytest.mark.real
async def test_a_lost_database_is_rebuilt_by_a_command(tmp_path: Path) -> None:
    async with running_registry(tmp_path / "registry") as caller:
        await live(caller)
    lost = tmp_path / "registry" / "metadata.db"
    before = contents(f"sqlite:///{lost}")
    url = f"sqlite:///{tmp_path / 'rebuilt.db'}"
    rebuild = [
        *(sys.executable, "-m", "roundhouse.cli.app", "registry", "rebuild"),
        *("--blobs", f"file://{tmp_path / 'registry' / 'blobs'}", "--database", url),
    ]
    done = await asyncio.to_thread(
        subprocess.run, rebuild, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "Open upload projects/default/models/delays/versions/5" in done.stdout
    assert contents(url) == before
    again = await asyncio.to_thread(
        subprocess.run, rebuild, capture_output=True, text=True, timeout=120
    )
    assert (again.returncode, "not empty" in again.stderr or "rows in" in again.stderr) == (2, True)
