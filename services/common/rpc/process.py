"""Runs a service's main coroutine as a well-behaved process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import structlog
import uvloop

log = structlog.get_logger()


def run_service(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` on uvloop until it returns, or SIGTERM or SIGINT cancels it.

    The first signal cancels `main`, whose `async with` blocks then drain and close in
    their order; a second one cuts even that short. Both end the process with 0.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signalled(main))


async def _until_signalled(main: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(main)
    signalled = False

    def stop(name: str) -> None:
        nonlocal signalled
        signalled = True
        log.info("process.signalled", signal=name)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    try:
        await task
    except asyncio.CancelledError:
        if not signalled:
            raise
