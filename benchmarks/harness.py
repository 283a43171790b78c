"""What every benchmark shares: rows and bars, interleaved rounds, the machine, the report."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol

from rich.console import Console
from rich.table import Table

RESULTS: Final = Path(__file__).resolve().parent / "results"
_LIBRARIES = ("grpcio", "onnxruntime", "pyarrow", "deltalake", "pygrpc-native", "uvloop")


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured.

    Attributes:
        value: The median over the rounds.
        rounds: What each round measured, in order.
        facts: Further figures of the last round, such as `p99_ms`.
    """

    name: str
    unit: str
    value: float
    rounds: tuple[float, ...] = ()
    facts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise, and whether it was kept in this run."""

    name: str
    unit: str
    value: float
    goal: float
    met: bool

    @classmethod
    def at_least(cls, name: str, value: float, goal: float, unit: str = "ratio") -> Bar:
        """Met from `goal` up."""
        return cls(name, unit, value, goal, value >= goal)

    @classmethod
    def at_most(cls, name: str, value: float, goal: float, unit: str) -> Bar:
        """Met up to `goal`."""
        return cls(name, unit, value, goal, value <= goal)


@dataclass(frozen=True, slots=True)
class Report:
    """What one benchmark found.

    Attributes:
        limits: What bounds the figures, and what they can't say.
        tables: The rows for readers; without any, each row is a line.
        failures: What could not be measured, and why.
    """

    rows: Sequence[Row]
    bars: Sequence[Bar]
    limits: str
    tables: Sequence[Table] = ()
    failures: Sequence[str] = ()


class Benchmark(Protocol):
    """The `measure` of a benchmark's folder."""

    def __call__(self, *, quick: bool) -> Report:
        """Measure; `quick` keeps it under a minute."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round of one contender measured."""

    value: float
    facts: dict[str, float] = field(default_factory=dict)


def interleaved(
    contenders: Sequence[tuple[str, str, Callable[[], Sample]]], rounds: int
) -> list[Row]:
    """Measure the contenders in turn, round after round, so that all meet the same machine.

    Args:
        contenders: Name, unit, and what measures one round.
        rounds: How often each is measured.
    """
    samples: list[list[Sample]] = [[] for _ in contenders]
    for _ in range(rounds):
        for (_, _, measure), taken in zip(contenders, samples, strict=True):
            taken.append(measure())
    return [
        Row(
            name,
            unit,
            statistics.median(sample.value for sample in taken),
            tuple(sample.value for sample in taken),
            taken[-1].facts,
        )
        for (name, unit, _), taken in zip(contenders, samples, strict=True)
    ]


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_bytes / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def write(report: Report, path: Path) -> None:
    """Write the report as JSON, in place of an earlier one."""
    content = {
        "machine": machine(),
        "rows": [asdict(row) for row in report.rows],
        "bars": [asdict(bar) for bar in report.bars],
        "limits": report.limits,
        "failures": list(report.failures),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def publish(report: Report, path: Path) -> None:
    """Write the report and print it as tables."""
    write(report, path)
    console = Console()
    bars = Table("bar", "value", "goal", "unit", "met", title="Bars")
    for bar in report.bars:
        met = "[green]yes[/]" if bar.met else "[red]no[/]"
        bars.add_row(bar.name, f"{bar.value:,.4g}", f"{bar.goal:,.4g}", bar.unit, met)
    console.print(*(report.tables or [_lines(report.rows)]), bars)
    for failure in report.failures:
        console.print(f"Not measured: {failure}", style="yellow")
    console.print(report.limits, style="dim")


def _lines(rows: Sequence[Row]) -> Table:
    table = Table("row", "value", "unit", "facts", title="Measured")
    for row in rows:
        facts = ", ".join(f"{name} {value:,.4g}" for name, value in row.facts.items())
        table.add_row(row.name, f"{row.value:,.4g}", row.unit, facts)
    return table


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
