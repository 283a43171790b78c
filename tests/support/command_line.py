"""The `roundhouse` command, run in this process, and a suite started by it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roundhouse.cli.app import run
from roundhouse.cli.supervisor.suite import ADDRESSES_FILE

START_S = 240.0
STOP_S = 30.0


@dataclass(frozen=True)
class Result:
    """How one command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on its standard output."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The documents on the lines of its standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class CommandLine:
    """The command with the options that find one suite."""

    data_dir: Path

    def __call__(self, *arguments: str) -> Result:
        """Runs one command."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(["--data-dir", str(self.data_dir), *arguments])
        return Result(code, out.getvalue(), err.getvalue())


def started_suite(data_dir: Path) -> subprocess.Popen[str]:
    """`roundhouse up` in a process of its own, once all four services serve."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "roundhouse.cli.app"),
            *("--data-dir", str(data_dir), "up", "--free-ports"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    deadline = time.monotonic() + START_S
    command = CommandLine(data_dir)
    while not (data_dir / ADDRESSES_FILE).exists() or command("status").code:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"roundhouse up did not start: {process.communicate()[0]}")
        time.sleep(0.1)
    return process


def stopped(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> str:
    """What it printed, after the signal has ended it."""
    process.send_signal(number)
    return process.communicate(timeout=STOP_S)[0]


@contextlib.contextmanager
def running_command_line(data_dir: Path) -> Iterator[CommandLine]:
    """A suite for the block, and the command line that finds it."""
    process = started_suite(data_dir)
    try:
        yield CommandLine(data_dir)
    finally:
        stopped(process)
