"""The driver of a Ray cluster: `python -m services.trainer.adapters.ray.driver HOST:PORT`.

Reads what to place, and what to end, as lines of JSON; tells in the same way when it is connected
and how each worker has ended. Ends with its input, and with it all that it has placed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO, TypeAlias

import ray
import structlog

from services.common.telemetry import configure_logs
from services.trainer.adapters.ray.placed import Placed
from services.trainer.adapters.worker.config import WorkerConfig, config_from_json

log = structlog.get_logger()

NAME: Final = "trainer-ray"
MAX_LINE_BYTES: Final = 2**20

Tell: TypeAlias = Callable[[dict[str, Any]], None]


class Placements:
    """What this driver has asked the cluster for.

    Args:
        tasks: Get one for each worker.
        tell: Where the ends of workers are told.
    """

    def __init__(self, tasks: asyncio.TaskGroup, tell: Tell) -> None:
        self._tasks = tasks
        self._tell = tell
        self._placed: dict[str, Placed] = {}
        self._watches: set[asyncio.Task[None]] = set()

    def start(self, worker: str, config: WorkerConfig) -> None:
        """Have a worker run on a node that has what it needs."""
        placed = Placed(config)
        self._placed[worker] = placed
        watch = self._tasks.create_task(self._watch(worker, placed))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    def kill(self, worker: str) -> None:
        """End a worker, or take it off the queue."""
        placed = self._placed.get(worker)
        if placed is not None:
            placed.kill()

    def forget(self) -> None:
        """Wait for no worker any more."""
        for watch in self._watches:
            watch.cancel()

    async def _watch(self, worker: str, placed: Placed) -> None:
        cause = await placed.wait()
        del self._placed[worker]
        self._tell({"ended": worker, "cause": cause})


async def _serve(tell: Tell) -> None:
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    async with asyncio.TaskGroup() as tasks:
        placements = Placements(tasks, tell)
        async for line in reader:
            match json.loads(line):
                case {"start": worker, "config": config}:
                    placements.start(worker, config_from_json(config))
                case {"kill": worker}:
                    placements.kill(worker)
        placements.forget()


def _answers() -> TextIO:
    """Standard output, which nothing else in this process gets to write to."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def main(address: str) -> int:
    """Drive the cluster until the input ends; the exit status."""
    answers = _answers()
    configure_logs(NAME, "info")
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except ConnectionError as error:
        log.warning("ray.unreachable", address=address, cause=str(error))
        return 1

    def tell(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")

    tell({"connected": len(ray.nodes())})  # type: ignore[no-untyped-call]  # Ray leaves it so
    asyncio.run(_serve(tell))
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
