"""Queues and freezes by the guide's commands, on the trainer's own servicer and database."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from roundhouse.cli.app import run
from roundhouse.cli.failures import Exit
from roundhouse.trainer.v1 import queue_service_pb2_grpc as queue_grpc

from services.common.clock import utc_now
from services.common.rpc.server import serving
from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.trainer.adapters.store.reads import SqlTrainerReads
from services.trainer.adapters.store.transaction import SqlTrainerTx
from services.trainer.api.queue_servicer import QueueServicer
from services.trainer.api.transactions import Transactions
from services.trainer.core.queues import Amounts
from services.trainer.wiring import MIGRATIONS

GUIDE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()


@pytest.fixture
async def address(sqlite_url):
    database = Database(sqlite_url)
    await migrate(database, MIGRATIONS)
    transactions = Transactions(database, utc_now, open_tx=SqlTrainerTx, open_reads=SqlTrainerReads)
    servicer = QueueServicer(transactions, Amounts(1, 2, 8192))
    apis = [
        (
            "roundhouse.trainer.v1.QueueService",
            lambda server: queue_grpc.add_QueueServiceServicer_to_server(servicer, server),
        )
    ]
    async with serving("trainer", "127.0.0.1:0", apis) as server:
        server.set_serving()
        yield f"127.0.0.1:{server.port}"
    database.close()


def printer(address, folder, capsys):
    """Runs one command line after another and gives what each prints."""
    before = ["--data-dir", str(folder), "--address", f"trainer={address}"]

    async def printed(command: str, *more: str) -> str:
        capsys.readouterr()
        words = [quoted or word for quoted, word in re.findall(r'"([^"]+)"|(\S+)', command)]
        assert await asyncio.to_thread(run, [*before, *words, *more]) == Exit.OK
        return capsys.readouterr().out

    return printed


async def test_the_guide_s_commands_keep_queues(address, tmp_path, capsys):
    create, update, listed = re.findall(r"^\$ roundhouse (queues .*)$", GUIDE, re.MULTILINE)
    printed = printer(address, tmp_path, capsys)
    made = json.loads(await printed(create, "--json"))
    assert (made["weight"], made["quota"]["threads"], made["protected"]) == (1, 2, False)
    changed = json.loads(await printed(update, "--json"))
    assert (changed["weight"], changed["quota"]) == (3, made["quota"])
    names = [
        each["name"].rpartition("/")[2] for each in json.loads(await printed(listed, "--json"))
    ]
    assert names == ["bulk", "default"]
    assert "2 threads" in await printed(listed)
    assert "weight 3" in await printed("queues show bulk")
    assert "Forgot bulk." in await printed("queues delete bulk")
    assert "protected" in await printed("queues update default --protected")
    told = await printed("queues update default --gpus 2 --owner-gpus 1 --jobs 0")
    assert "at most 2 GPUs, of one owner 1 GPUs, protected" in told


async def test_the_guide_s_commands_freeze_list_and_thaw(address, tmp_path, capsys):
    freeze, listed, thaw = re.findall(
        r"^\$ roundhouse (jobs (?:freeze|thaw).*)$", GUIDE, re.MULTILINE
    )
    printed = printer(address, tmp_path, capsys)
    made = json.loads(await printed(freeze, "--json"))
    assert made["reason"] == "The disks are swapped."
    assert made["expire_time"]
    assert json.loads(await printed(listed, "--json")) == [made]
    assert "The disks are swapped." in await printed(listed)
    assert "Ended maintenance." in await printed(thaw)
    assert json.loads(await printed(listed, "--json")) == []
