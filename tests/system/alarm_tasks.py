"""The pieces that the proof of false alarms is made of: one simulated world each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

from services.monitor.core.resources import ChangeKind, Severity
from tests.support.drift_worlds import INDEPENDENT, QUIET, SEASONAL, Change
from tests.system.drift_runs import (
    CASES,
    WARM_UP_WEEKS,
    Outcome,
    QuietWorld,
    met_change,
    quiet_world,
)
from tests.system.peer_runs import Said, said_of_weeks

NATURES: Final = {"independent": INDEPENDENT, "seasons and memory": SEASONAL}
FEW: Final = 50
MANY: Final = 1000
"""Columns."""

WEEKS_PER_WORLD: Final = 20
PEER_WEEKS: Final = 5
"""Quiet ones of each world that peers are shown, after its warm-up."""

PEER_WEEKS_AFTER: Final = 4
"""Changed ones that peers are shown: they judge each week alone."""

_CHANGED_SEEDS: Final = 10_000
_CASES: Final = {case.words: case for case in CASES}

Result: TypeAlias = QuietWorld | Outcome | Said


@dataclass(frozen=True, slots=True)
class Task:
    """One world, judged by the monitor or by its peers.

    Attributes:
        who: `monitor` or `peers`.
        world: A key of `NATURES`.
        columns: Features.
        case: The words of a case; empty if nothing changes.
        seed: Of the world.
    """

    who: str
    world: str
    columns: int
    case: str
    seed: int

    @property
    def key(self) -> str:
        """Names it in a journal."""
        return f"{self.who}; {self.columns} columns, {self.world}; {self.case}; {self.seed}"

    def run(self) -> Result:
        """Simulate and judge it."""
        nature = NATURES[self.world]
        if self.who == "peers":
            return said_of_weeks(self.seed, self._shown, nature=nature, columns=self.columns)
        if self.case:
            return met_change(self.seed, _CASES[self.case], nature, self.columns)
        return quiet_world(self.seed, nature, self.columns, WEEKS_PER_WORLD)

    @property
    def _shown(self) -> list[Change]:
        """The weeks that peers judge."""
        if not self.case:
            return [QUIET] * (WARM_UP_WEEKS + PEER_WEEKS)
        case = _CASES[self.case]
        return case.weeks[: case.quiet_weeks + PEER_WEEKS_AFTER]

    def read(self, kept: Any) -> Result:  # Any: parsed JSON
        """The inverse of `kept`."""
        if self.who == "peers":
            said: Said = kept
            return said
        if not self.case:
            return QuietWorld(**kept)
        return Outcome(
            kept["delay_weeks"],
            ChangeKind(kept["name"]),
            ChangeKind(kept["settled"]),
            Severity(kept["severity"]),
            kept["early"],
        )


def kept(result: Result) -> object:
    """The result as JSON."""
    return result if isinstance(result, dict) else asdict(result)


def tasks(*, weeks: int, wide_weeks: int, worlds: int, peer_worlds: int) -> list[Task]:
    """All pieces, in an order in which each kind is about as far as the others at any time.

    Args:
        weeks: Quiet ones of `FEW` columns, in each kind of world.
        wide_weeks: The same of `MANY` columns.
        worlds: For each change and kind of world.
        peer_worlds: Of these, and of the quiet ones, that the peers are shown too.
    """
    groups = [
        [Task(who, world, columns, case, first + place) for place in range(count)]
        for who, columns, case, first, count in _groups(weeks, wide_weeks, worlds, peer_worlds)
        for world in NATURES
    ]
    ranked = [
        ((place + 0.5) / len(group), task) for group in groups for place, task in enumerate(group)
    ]
    return [task for _, task in sorted(ranked, key=lambda each: each[0])]


def _groups(
    weeks: int, wide_weeks: int, worlds: int, peer_worlds: int
) -> Iterator[tuple[str, int, str, int, int]]:
    for columns, wanted in ((FEW, weeks), (MANY, wide_weeks)):
        yield "monitor", columns, "", 0, -(-wanted // WEEKS_PER_WORLD)
    yield "peers", FEW, "", 0, peer_worlds
    for case in CASES:
        yield "monitor", FEW, case.words, _CHANGED_SEEDS, worlds
        yield "peers", FEW, case.words, _CHANGED_SEEDS, min(peer_worlds, worlds)
