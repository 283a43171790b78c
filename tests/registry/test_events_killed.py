"""A registry that is killed while it tells: nobody misses anything."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from roundhouse.client import Addresses, AsyncClient, Timeouts
from roundhouse.client.errors import CallFailed
from roundhouse.common.v1.events_pb2 import Event, WatchEventsRequest
from roundhouse.registry.v1.dataset_pb2 import Dataset
from roundhouse.registry.v1.dataset_service_pb2 import CreateDatasetRequest

from tests.registry.test_api_webhooks import create
from tests.support.calls import PROJECT
from tests.support.eventually import eventually
from tests.support.processes import free_ports
from tests.support.receiver import SECRET, Received, receiving
from tests.support.registry_api import RegistryCaller

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]


class Killable:
    """`python -m services.registry` with fixed ports and data, started again at will."""

    def __init__(self, folder: Path) -> None:
        grpc_port, metrics_port = free_ports(2)
        self.address = f"127.0.0.1:{grpc_port}"
        self._log = folder / "registry.log"
        settings = {
            "LISTEN": self.address,
            "METRICS_LISTEN": f"127.0.0.1:{metrics_port}",
            "DATA_DIR": str(folder / "data"),
            "WEBHOOK_FIRST_RETRY_S": "0.2",
        }
        self._environment = {
            **os.environ,
            **{f"ROUNDHOUSE_REGISTRY_{name}": value for name, value in settings.items()},
        }
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "services.registry"],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """Blocks until it is gone."""
        assert self._child is not None
        self._child.send_signal(signal.SIGKILL)
        self._child.wait(30)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Killable]:
    registry = Killable(tmp_path)
    registry.start()
    yield registry
    registry.kill()


async def create_dataset(client: AsyncClient, number: int, request_id: str) -> None:
    await client.datasets.CreateDataset(
        CreateDatasetRequest(
            parent=PROJECT,
            dataset_id=f"d{number}",
            dataset=Dataset(),
            request_id=request_id,
        )
    )


async def test_a_watcher_misses_nothing_through_a_kill(registry: Killable) -> None:
    seen: list[Event] = []
    async with AsyncClient(
        Addresses(registry=registry.address), timeouts=Timeouts(away_s=0.5)
    ) as client:

        async def watch() -> None:
            async for event in client.watch_events("registry", WatchEventsRequest(follow=True)):
                seen.append(event)

        watching = asyncio.ensure_future(watch())
        for number in range(12):
            if number == 6:
                await asyncio.to_thread(registry.kill)
                registry.start()
            request_id = str(uuid.uuid4())
            async with asyncio.timeout(60):
                while True:
                    try:
                        await create_dataset(client, number, request_id)
                        break
                    except CallFailed:
                        await asyncio.sleep(0.1)
        await eventually(lambda: len(seen) >= 12, within_s=60.0)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert [event.subject for event in seen] == [f"{PROJECT}/datasets/d{i}" for i in range(12)]
    assert [int(event.cursor) for event in seen] == list(range(1, 13))


async def test_a_kill_between_delivery_and_its_record_repeats_that_message_alone(
    registry: Killable,
) -> None:
    killed = threading.Event()
    with receiving() as receiver:

        def kill_at_the_third(request: Received) -> int:
            if len(receiver.received) == 3:
                registry.kill()  # the message is here; its answer never gets there
                killed.set()
            return 200

        async def start_again() -> None:
            assert await asyncio.to_thread(killed.wait, 60)
            registry.start()

        receiver.answer = kill_at_the_third
        options = [("grpc.max_reconnect_backoff_ms", 200)]
        async with grpc.aio.insecure_channel(registry.address, options=options) as channel:
            async with asyncio.timeout(60):
                await channel.channel_ready()
            await create(RegistryCaller(channel), receiver.url)
            starting = asyncio.ensure_future(start_again())
            async with AsyncClient(
                Addresses(registry=registry.address), timeouts=Timeouts(away_s=0.5)
            ) as client:
                for number in range(6):
                    async with asyncio.timeout(60):
                        request_id = str(uuid.uuid4())
                        while True:
                            try:
                                await create_dataset(client, number, request_id)
                                break
                            except CallFailed:
                                await asyncio.sleep(0.1)
            await starting
            await eventually(lambda: len(receiver.received) >= 7, within_s=60.0)
    subjects = [each.json["subject"] for each in receiver.received]
    assert subjects == [f"{PROJECT}/datasets/d{i}" for i in (0, 1, 2, 2, 3, 4, 5)]
    assert receiver.ids[2] == receiver.ids[3]
    assert receiver.received[2].json == receiver.received[3].json
    assert all(each.is_signed_by(SECRET) for each in receiver.received)
