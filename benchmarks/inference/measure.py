"""Every server with both models and 1, 8, 32 and 64 callers, in interleaved rounds of one run."""

from __future__ import annotations

import asyncio
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.callers import calling
from benchmarks.harness import Bar, Report, Row, interleaved
from benchmarks.inference.models import BenchmarkModel, dense, flights
from benchmarks.inference.world import (
    DIRECT,
    FRONT,
    IN_PROCESS,
    MLSERVER,
    Target,
    targets,
)
from services.common.telemetry import configure_logs

CALLERS = (1, 8, 32, 64)

# A front that batches better than its callers do is ahead of them; one that forwards each call
# can't be. What a hop costs shows at one caller.
_SHARES_OF_DIRECT = {
    IN_PROCESS: {8: 2.0, 32: 3.0, 64: 3.0},
    FRONT: {1: 0.65, 32: 1.0, 64: 1.3},
}
_TIMES_A_PEER = 5.0
_FRONT_CPU_US = 100.0
_LOADED = (32, 64)

_LIMITS = (
    "Callers, front, Triton and the rest share the machine's cores over loopback, so only ratios "
    "within one run mean anything, and CPU time per call more than calls per second. Each caller "
    "waits for its answer; the callers' own cost per call is a fact of each row. Triton runs the "
    "models in its python backend, the only one in the wheel that the tests use: a full image "
    "with the onnxruntime backend is faster. The endpoints route, log every observation to a "
    "monitor that only acknowledges, and trace one call in a hundred; Triton and MLServer do "
    "none of it. CPU time per call of the front is that of its whole process, sending "
    "observations included, and in the process the model too."
)
_WITHOUT_PEER = " MLServer is measured in a full run only."


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    models: Sequence[BenchmarkModel]
    with_peer: bool
    rounds: int
    seconds: float


def measure(*, quick: bool) -> Report:
    """See the folder's README."""
    configure_logs("benchmark", "error")
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="roundhouse-bench-") as name:
        # The exporter's libraries announce changes of theirs.
        warnings.simplefilter("ignore")
        effort = (
            Effort([dense()], with_peer=False, rounds=1, seconds=0.5)
            if quick
            else Effort([dense(), flights()], with_peer=True, rounds=3, seconds=2.0)
        )
        rows = asyncio.run(_measured(Path(name), effort))
    return Report(rows, _bars(rows), _LIMITS if _has(rows, MLSERVER) else _LIMITS + _WITHOUT_PEER)


async def _measured(folder: Path, effort: Effort) -> list[Row]:
    async with targets(folder, effort.models, with_peer=effort.with_peer) as found:
        contenders = [
            (
                _row_name(model, target, callers),
                "calls/s",
                calling(target.address, target.request, callers, effort.seconds, target.pid),
            )
            for model, servers in found.items()
            for callers in CALLERS
            for target in servers
        ]
        # The registry and the monitor go on in this process meanwhile.
        return await asyncio.to_thread(interleaved, contenders, effort.rounds)


def _row_name(model: str, target: Target, callers: int) -> str:
    return _name(model, target.server, callers)


def _name(model: str, server: str, callers: int) -> str:
    return f"{model}: {server}, {callers} callers"


def _has(rows: Sequence[Row], server: str) -> bool:
    return any(f": {server}," in row.name for row in rows)


def _bars(rows: Sequence[Row]) -> list[Bar]:
    by_name = {row.name: row for row in rows}
    bars = []
    for model in dict.fromkeys(row.name.partition(":")[0] for row in rows):
        for server, goals in _SHARES_OF_DIRECT.items():
            for callers, goal in goals.items():
                bars += _ratio(by_name, model, (server, DIRECT), callers, goal)
        for callers in _LOADED:
            bars += _ratio(by_name, model, (IN_PROCESS, MLSERVER), callers, _TIMES_A_PEER)
            for server in (FRONT, IN_PROCESS):
                row = by_name.get(_name(model, server, callers))
                if row is not None:
                    bars.append(
                        Bar.at_most(
                            f"CPU per call of {row.name}", row.facts["cpu_us"], _FRONT_CPU_US, "us"
                        )
                    )
    return bars


def _ratio(
    rows: Mapping[str, Row], model: str, servers: tuple[str, str], callers: int, goal: float
) -> list[Bar]:
    """One server's calls as a multiple of another's, where both were measured."""
    over, under = (rows.get(_name(model, server, callers)) for server in servers)
    if over is None or under is None:
        return []
    name = f"{over.name} / {servers[1]}"
    return [Bar.at_least(name, over.value / under.value, goal)]
