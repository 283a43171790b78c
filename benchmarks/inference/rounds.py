"""Rounds over servers, some of which may fail meanwhile."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.callers import CallFailed, calling
from benchmarks.harness import Row, Sample
from benchmarks.inference.models import BenchmarkModel
from benchmarks.inference.peers import Peer, PeerFailed
from benchmarks.inference.targets import Target
from benchmarks.inference.world import DIRECT, World


def row_name(model: str, server: str, callers: int) -> str:
    """What a row is called."""
    return f"{model}: {server}, {callers} callers"


@dataclass
class Rounds:
    """Measures every server in turn, so that all meet the same machine.

    The servers of `world` run all the time. Each peer is started for its turn alone: what it does
    while nobody calls it would be everybody's load.

    Attributes:
        levels: Numbers of callers.
        seconds: Of one measurement.
        samples: What was measured so far, by model, server and callers.
        failures: What could not be, and why.
    """

    folder: Path
    world: World
    models: Sequence[BenchmarkModel]
    peers: Sequence[Peer]
    levels: Sequence[int]
    seconds: float
    samples: dict[tuple[str, str, int], list[Sample]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def run(self, number: int) -> None:
        """One round; `number` tells it from others."""
        for model in self.models:
            for callers in self.levels:
                for target in self.world.targets[model.name]:
                    self._measure(model, target, callers, self.world.revive)
        for peer in self.peers:
            try:
                with peer.running(self.folder / f"{peer.environment}-{number}", self.models) as on:
                    for model in self.models:
                        for callers in self.levels:
                            self._measure(model, on[model.name], callers, None)
            except PeerFailed as error:
                self.failures.append(f"{peer.name}, round {number}: {error}")

    def rows(self) -> list[Row]:
        """The medians of what was measured so far, and their ratios to Triton called directly."""
        return [
            self._row(model, server, callers, taken)
            for (model, server, callers), taken in self.samples.items()
        ]

    def _row(self, model: str, server: str, callers: int, taken: Sequence[Sample]) -> Row:
        facts = {
            fact: statistics.median(sample.facts[fact] for sample in taken)
            for fact in taken[0].facts
        }
        calls_per_s = _median(taken)
        if direct := self.samples.get((model, DIRECT, callers)):
            facts["of_direct"] = calls_per_s / _median(direct)
        return Row(
            row_name(model, server, callers),
            "calls/s",
            calls_per_s,
            tuple(sample.value for sample in taken),
            facts,
        )

    def _measure(
        self,
        model: BenchmarkModel,
        target: Target,
        callers: int,
        revive: Callable[[Target], None] | None,
    ) -> None:
        """One sample; where it fails, another after `revive`."""
        measure = calling(
            target.address, target.request, callers, self.seconds, target.pid, target.callers
        )
        try:
            try:
                sample = measure()
            except CallFailed:
                if revive is None:
                    raise
                revive(target)
                sample = measure()
        except (CallFailed, TimeoutError) as error:
            name = row_name(model.name, target.server, callers)
            self.failures.append(f"{name}: {error}")
        else:
            key = (model.name, target.server, callers)
            self.samples.setdefault(key, []).append(sample)


def _median(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.value for sample in samples)
