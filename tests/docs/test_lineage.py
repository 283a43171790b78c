"""The commands and the receiver in docs/lineage.md, run in their order over a real registry."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from roundhouse.cli.failures import Exit
from roundhouse.cli.supervisor.suite import ADDRESSES_FILE
from roundhouse.client import webhooks
from roundhouse.client.webhooks import InvalidSignature, new_secret, verify

from services.common.webhooks.signing import key_of, signed_headers
from tests.support.bundles import TinyModel
from tests.support.command_line import CommandLine
from tests.support.registry_api import running_registry

DOCUMENT = (Path(__file__).parents[2] / "docs" / "lineage.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", DOCUMENT, flags=re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
BODY = b'{"id": "1"}'


def first_imports_then_the_rest(line: str) -> bool:
    return "models import" not in line


def write_models() -> None:
    """What the commands import, in the working directory."""
    Path("late.onnx").write_bytes(TinyModel().onnx())
    Path("mlflow-model").mkdir()
    Path("mlflow-model/model.onnx").write_bytes(TinyModel(0.5).onnx())
    flavours = {"onnx": {"data": "model.onnx"}, "python_function": {"loader_module": "mlflow.onnx"}}
    Path("mlflow-model/MLmodel").write_text(yaml.safe_dump({"flavors": flavours}))


async def test_every_command_does_what_the_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_models()
    async with running_registry(tmp_path / "registry") as caller:
        (tmp_path / "suite").mkdir()
        addresses = json.dumps({"registry": caller.address})
        (tmp_path / "suite" / ADDRESSES_FILE).write_text(addresses)
        await caller.create_model("late")
        command = CommandLine(tmp_path / "suite")
        for line in sorted(COMMANDS, key=first_imports_then_the_rest):
            program, *arguments = shlex.split(line)
            assert program == "roundhouse"
            result = await asyncio.to_thread(command, *arguments)
            assert result.code == Exit.OK, (line, result.err)
            if "--json" in arguments:
                assert json.loads(result.out)
        listed = (await asyncio.to_thread(command, "webhooks", "list", "--json")).json
        assert [(each["format"], each["paused"], each["secret"]) for each in listed] == [
            ("FORMAT_CLOUDEVENTS", False, ""),
            ("FORMAT_OPENLINEAGE", False, ""),
        ]
        gone = await asyncio.to_thread(command, "webhooks", "redeliver", "audit", "nobody")
        assert gone.code == Exit.NOT_FOUND
        deleted = await asyncio.to_thread(command, "webhooks", "delete", "audit")
        assert deleted.code == Exit.OK, deleted.err


def receiver() -> Any:
    """`receive` of the document."""
    (block,) = (block for kind, block in BLOCKS if kind == "python")
    names: dict[str, Any] = {}
    exec(compile(block, "lineage.md", "exec"), names)
    return names["receive"]


def test_the_documents_receiver_takes_what_was_sent_and_nothing_else() -> None:
    secret, other = new_secret(), new_secret()
    headers = dict(signed_headers([other, secret], "m", datetime.now(UTC), BODY))
    receive = receiver()
    assert receive(secret, {key.title(): value for key, value in headers.items()}, BODY) == 204
    assert receive(other, headers, BODY) == 204
    assert receive(new_secret(), headers, BODY) == 401
    assert receive(secret, headers, BODY + b" ") == 401
    assert receive(secret, {**headers, "webhook-id": "n"}, BODY) == 401
    assert receive(secret, {}, BODY) == 401
    assert len(key_of(secret)) == 32


def test_a_message_that_is_played_back_later_is_refused() -> None:
    secret = new_secret()
    old = datetime.fromtimestamp(0, UTC)
    headers = dict(signed_headers([secret], "m", old, BODY))
    with pytest.raises(InvalidSignature, match="s old"):
        verify(secret, headers, BODY)
    verify(secret, headers, BODY, tolerance_s=float("inf"))
    assert webhooks.TOLERANCE_S == 300.0
