"""Ctrl-C and SIGTERM as the cancellation of one task."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

ResultT = TypeVar("ResultT")

EXIT_INTERRUPTED: Final = 130
"""What shells give a command that ended by Ctrl-C."""


class Interrupted(Exception):
    """The work was ended by a signal, and has cleaned up behind itself."""


def run_until_signal(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Runs `work` to its end, or to its cleaned-up cancellation by SIGINT or SIGTERM.

    A second signal ends this process at once; its children get SIGTERM from the kernel then.

    Raises:
        Interrupted: A signal came.
    """
    return asyncio.run(_watched(work))


async def _watched(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    task = asyncio.ensure_future(work)
    signalled = False

    def on_signal() -> None:
        nonlocal signalled
        if signalled:
            os._exit(EXIT_INTERRUPTED)
        signalled = True
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    try:
        return await task
    except asyncio.CancelledError:
        if signalled:
            raise Interrupted from None
        raise
