"""A window of very many columns, judged by the monitor and reported on by Evidently."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.harness import Bar, Row
from benchmarks.monitor.columns import BLOCK_COLUMNS, BLOCK_ROWS, moved
from benchmarks.servers import commands_of

OURS: Final = "a window judged"
EVIDENTLY: Final = "the same reported on by Evidently"

_GOAL: Final = 50.0
_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Window:
    """How much is looked at, in blocks.

    Attributes:
        reference: Blocks of rows of the reference.
        rows: Blocks of rows of the window.
        columns: Blocks of columns.
    """

    reference: int
    rows: int
    columns: int

    @property
    def arguments(self) -> list[str]:
        """As either program takes them."""
        return [str(self.reference), str(self.rows), str(self.columns)]


class NotMeasured(RuntimeError):
    """A program did not end well; the message ends with what it said."""


def judged(window: Window) -> Row:
    """Values a second of one core, through the monitor's own code, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.monitor.ours", *window.arguments]
    return row_of(OURS, window, _said(command, dict(os.environ)))


def reported(window: Window, folder: Path) -> Row:
    """Values a second of one core, by Evidently.

    Raises:
        RuntimeError: It is not installed, or failed.
    """
    commands = commands_of("evidently")
    command = [str(commands / "python"), "-m", "benchmarks.monitor.evidently_report"]
    environment = {
        "HOME": str(folder),
        "PATH": f"{commands}:/usr/bin:/bin",
        # It would tell its makers of each run.
        "DO_NOT_TRACK": "1",
    }
    return row_of(EVIDENTLY, window, _said([*command, *window.arguments], environment))


def row_of(name: str, window: Window, said: Mapping[str, float]) -> Row:
    """The row of what a program printed.

    Raises:
        NotMeasured: It has not found the columns that moved, so it has not done the work.
    """
    rows, columns = window.rows * BLOCK_ROWS, window.columns * BLOCK_COLUMNS
    if said["found"] != moved(columns):
        raise NotMeasured(f"{name}: {said['found']} columns found, {moved(columns)} have moved")
    values_m = rows * columns / 1e6
    facts = {"rows": rows, "columns": columns, **said}
    return Row(name, "M values/s of CPU", values_m / said["cpu_s"], facts=facts)


def bars(rows: Sequence[Row]) -> list[Bar]:
    """How many times as fast as Evidently; none where that was not measured."""
    value = {row.name: row.value for row in rows}
    if EVIDENTLY not in value:
        return []
    return [Bar.at_least(f"{OURS} / {EVIDENTLY}", value[OURS] / value[EVIDENTLY], _GOAL)]


def _said(command: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    done = subprocess.run(
        command, cwd=_ROOT, env=dict(environment), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotMeasured(f"{command[2]} ended with {done.returncode}: {done.stderr[-300:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found
