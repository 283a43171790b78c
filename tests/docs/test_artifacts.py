"""docs/artifacts.md shows programs that run."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.support.bundles import tiny_files
from tests.support.registry_api import running_registry
from tests.support.seaweedfs import S3Server

DOCUMENT = Path(__file__).parents[2] / "docs" / "artifacts.md"


async def test_the_programs_run(
    tmp_path: Path, s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundle").mkdir()
    for path, data in tiny_files().items():
        (tmp_path / "bundle" / path).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(programs) == 2
    connection = s3_server.connection
    async with running_registry(
        tmp_path / "registry",
        blob_url=s3_url,
        s3_endpoint=connection.endpoint,
        s3_access_key=connection.access_key,
        s3_secret_key=connection.secret_key,
        s3_secure=False,
    ) as caller:
        await caller.create_model()
        reached = f"Client(Addresses(registry={caller.address!r}))"
        text = "from roundhouse.client import Addresses\n" + "\n".join(programs)
        await asyncio.to_thread(exec, text.replace("Client()", reached), {})

    for path, data in tiny_files().items():
        assert (tmp_path / "copy" / path).read_bytes() == data
