"""One child process that is kept alive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 10.0
STEADY_AFTER_S = 20.0
"""A child that lived this long starts the backoff over when it dies."""
DRAIN_S = 15.0
"""How long a child may take to finish its calls after SIGTERM before it is killed."""

_CHILD = Path(__file__).with_name("child.py")


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """A child that ended although nobody had asked it to."""

    service: str
    exit_code: int
    """Negative: the number of the signal that ended it."""
    restart_in_s: float
    restarts: int


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run, and where its output goes."""

    service: str
    module: str
    env: Mapping[str, str]
    log_file: Path


class SupervisedProcess:
    """Runs a module in a process group of its own and starts it again whenever it dies."""

    def __init__(self, spec: ProcessSpec, *, on_exit: Callable[[ProcessExit], None]) -> None:
        self.spec = spec
        self.restarts = 0
        self._on_exit = on_exit
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the running child; None while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def run(self) -> None:
        """Keeps the child alive until cancelled, then drains it and leaves no process behind."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            started = time.monotonic()
            exit_code = await self._run_once()
            if time.monotonic() - started > STEADY_AFTER_S:
                backoff_s = FIRST_BACKOFF_S
            self.restarts += 1
            self._on_exit(ProcessExit(self.spec.service, exit_code, backoff_s, self.restarts))
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)

    async def _run_once(self) -> int:
        with self.spec.log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-S",
                str(_CHILD),
                str(os.getpid()),
                self.spec.module,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.spec.env),
                process_group=0,
            )
        self._process = process
        try:
            return await process.wait()
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends what is left of the child's process group, politely first."""
    if process.returncode is None:
        _signal_process(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_process(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
