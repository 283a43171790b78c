"""Cycles of create, move and resolve: the registry beside MLflow on the same kind of database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Bar, Row, Sample, interleaved

CALLERS = (1, 8)
_GOAL = 10.0
_WARM_UP_S = 1.0
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Server:
    """One that is measured.

    Attributes:
        kind: `roundhouse` or `mlflow`.
        database: Kind of its database.
        address: `host:port`.
        pid: Whose CPU time is counted, with its children's.
    """

    kind: str
    database: str
    address: str
    pid: int


def cycles_per_second(
    servers: Sequence[Server], contents: Sequence[str], *, rounds: int, seconds: float
) -> list[Row]:
    """A row per server, content and number of callers.

    Args:
        servers: Each with a model of its own.
        contents: `metadata`, `files` or both: what versions are created with.
        rounds: How often each is measured.
        seconds: Of each measurement.
    """
    contenders = [
        (_row_name(server.kind, server.database, content, callers), "cycles/s", measure)
        for content in contents
        for callers in CALLERS
        for server in servers
        for measure in [_cycling(server, content, callers, seconds)]
    ]
    for server in servers:
        # MLflow's workers go on importing at their first calls.
        _cycling(server, "files", max(CALLERS), _WARM_UP_S)()
    return interleaved(contenders, rounds)


def bars(rows: Sequence[Row], databases: Sequence[str], contents: Sequence[str]) -> list[Bar]:
    """The registry's cycles as a multiple of MLflow's."""
    value = {row.name: row.value for row in rows}
    return [
        Bar.at_least(
            f"roundhouse / mlflow on {database}, {content}, {callers} callers",
            value[_row_name("roundhouse", database, content, callers)]
            / value[_row_name("mlflow", database, content, callers)],
            _GOAL,
        )
        for database in databases
        for content in contents
        for callers in CALLERS
    ]


def _row_name(kind: str, database: str, content: str, callers: int) -> str:
    return f"{kind} on {database}: create with {content}, move, resolve; {callers} callers"


def _cycling(server: Server, content: str, callers: int, seconds: float) -> Callable[[], Sample]:
    def measure() -> Sample:
        arguments = [server.kind, server.address, str(server.pid), content]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "benchmarks.registry.callers",
                *arguments,
                str(callers),
                str(seconds),
            ],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        facts: dict[str, float] = json.loads(done.stdout)
        return Sample(facts.pop("cycles_per_s"), facts)

    return measure
