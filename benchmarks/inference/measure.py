"""Every server with both models and 1, 8, 32 and 64 callers, in interleaved rounds of one run."""

from __future__ import annotations

import asyncio
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.table import Table

from benchmarks.harness import RESULTS, Bar, Report, Row, write
from benchmarks.inference.models import BenchmarkModel, dense, flights
from benchmarks.inference.peers import PEERS, Peer, PeerFailed
from benchmarks.inference.rounds import Rounds, row_name
from benchmarks.inference.world import DIRECT, ECHO, FRONT, IN_PROCESS, world
from services.common.telemetry import configure_logs

CALLERS: Final = (1, 8, 32, 64)

# A front that batches better than its callers do is ahead of them; one that forwards each call
# can't be. What a hop costs shows at one caller.
_SHARES_OF_DIRECT: Final = {
    IN_PROCESS: {8: 2.0, 32: 3.0, 64: 3.0},
    FRONT: {1: 0.65, 32: 1.0, 64: 1.3},
}
_TIMES_A_PEER: Final = 5.0
_FRONT_CPU_US: Final = 100.0
_LOADED: Final = (32, 64)
_SHOWN: Final = ("of_direct", "p50_ms", "p99_ms", "cpu_us")

_LIMITS: Final = (
    "Callers, front, Triton and the rest share the machine's cores over loopback, so only ratios "
    "within one run mean anything, and CPU time per call more than calls per second. Each caller "
    "waits for its answer; the callers' own cost per call is a fact of each row. Triton runs the "
    "models in its python backend, the only one in the wheel that the tests use: a full image "
    "with the onnxruntime backend is faster. The endpoints route, log every observation to a "
    "monitor that only acknowledges, and trace one call in a hundred; Triton and the peers do "
    "none of it. CPU time per call of the front is that of its whole process, sending "
    "observations included, and in the process the model too. MLServer and KServe answer the same "
    "gRPC; BentoML, LitServe and Ray Serve answer JSON over HTTP, their own protocol. All but "
    "KServe's, which has none in Python, batch across callers."
)
_WITHOUT_PEERS: Final = " Peers are measured in a full run only."


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    models: Sequence[BenchmarkModel]
    peers: Sequence[Peer]
    rounds: int
    seconds: float


def measure(*, quick: bool) -> Report:
    """See the folder's README. What is measured so far is written after each round."""
    configure_logs("benchmark", "error")
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="roundhouse-bench-") as name:
        # The exporter's libraries announce changes of theirs.
        warnings.simplefilter("ignore")
        effort = (
            Effort([dense()], (), rounds=1, seconds=0.5)
            if quick
            else Effort([dense(), flights()], PEERS, rounds=3, seconds=1.2)
        )
        return asyncio.run(_measured(Path(name), effort))


async def _measured(folder: Path, effort: Effort) -> Report:
    failures = []
    installed = []
    for peer in effort.peers:
        try:
            peer.install()
            installed.append(peer)
        except PeerFailed as error:
            failures.append(f"{peer.name}: {error}")
    async with world(folder, effort.models) as running:
        rounds = Rounds(
            folder, running, effort.models, installed, CALLERS, effort.seconds, failures=failures
        )
        for number in range(1, effort.rounds + 1):
            # The registry and the monitor go on in this process meanwhile.
            await asyncio.to_thread(rounds.run, number)
            write(_report(rounds), RESULTS / "inference.json")
            print(f"Round {number} of {effort.rounds} is written.", flush=True)
    return _report(rounds)


def _report(rounds: Rounds) -> Report:
    rows = rounds.rows()
    limits = _LIMITS if rounds.peers else _LIMITS + _WITHOUT_PEERS
    return Report(rows, _bars(rows, rounds), limits, _tables(rows, rounds), tuple(rounds.failures))


def _servers(rounds: Rounds) -> list[str]:
    return [DIRECT, IN_PROCESS, FRONT, *[peer.name for peer in rounds.peers], ECHO]


def _tables(rows: Sequence[Row], rounds: Rounds) -> list[Table]:
    by_name = {row.name: row for row in rows}
    tables = []
    for model in rounds.models:
        table = Table("server", "callers", title=model.name)
        for heading in ("calls/s", "of direct", "p50 ms", "p99 ms", "CPU us a call"):
            table.add_column(heading, justify="right")
        for server in _servers(rounds):
            for callers in rounds.levels:
                row = by_name.get(row_name(model.name, server, callers))
                if row is not None:
                    facts = (row.facts.get(name) for name in _SHOWN)
                    cells = ["" if fact is None else f"{fact:,.3g}" for fact in facts]
                    table.add_row(server, str(callers), f"{row.value:,.0f}", *cells)
            table.add_section()
        tables.append(table)
    return tables


def _bars(rows: Sequence[Row], rounds: Rounds) -> list[Bar]:
    by_name = {row.name: row for row in rows}
    bars = []
    for model in rounds.models:
        for server, goals in _SHARES_OF_DIRECT.items():
            for callers, goal in goals.items():
                bars += _ratio(by_name, model.name, (server, DIRECT), callers, goal)
        for peer in rounds.peers:
            for callers in rounds.levels:
                bars += _ratio(by_name, model.name, (IN_PROCESS, peer.name), callers, _TIMES_A_PEER)
        for callers in _LOADED:
            for server in (FRONT, IN_PROCESS):
                row = by_name.get(row_name(model.name, server, callers))
                if row is not None:
                    cpu_us = row.facts["cpu_us"]
                    bars.append(
                        Bar.at_most(f"CPU per call of {row.name}", cpu_us, _FRONT_CPU_US, "us")
                    )
    return bars


def _ratio(
    rows: Mapping[str, Row], model: str, servers: tuple[str, str], callers: int, goal: float
) -> list[Bar]:
    """One server's calls as a multiple of another's, where both were measured."""
    over, under = (rows.get(row_name(model, server, callers)) for server in servers)
    if over is None or under is None:
        return []
    name = f"{over.name} / {servers[1]}"
    return [Bar.at_least(name, over.value / under.value, goal)]
