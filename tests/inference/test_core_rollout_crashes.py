"""A rollout goes on or goes back wherever its controller dies; it never halves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from services.common.criteria import Verdict
from services.common.resources import Meta
from services.inference.core.controller import RolloutController
from services.inference.core.ports import InferenceTx
from services.inference.core.rollouts import TERMINAL, Judgement, Phase, Rollout, State
from services.inference.core.routing import WHOLE_BP, Variant
from services.inference.core.use_cases import endpoints as endpoint_cases
from services.inference.core.use_cases import rollouts as cases
from tests.support.inference_memory import FakePeers, MemoryInferenceTx, MemoryStore
from tests.support.serving import ENDPOINT, T0, endpoint, version_name

OLD = Variant(version_name(1), "sha256:" + "1" * 64, WHOLE_BP)
NEW_DIGEST = "sha256:" + "2" * 64
ALIAS = "projects/default/models/delays/aliases/champion"
NAME = f"{ENDPOINT}/rollouts/r"


class Died(BaseException):
    """The process is gone: nothing of it catches this."""


@dataclass
class Fuse:
    """Kills at the line that it was set for; lines are counted over all controllers."""

    lines: frozenset[int] = frozenset()
    passed: int = 0

    def line(self) -> None:
        self.passed += 1
        if self.passed in self.lines:
            raise Died


class FusedStore(MemoryStore):
    """Dies before a transaction, or after it: a transaction itself is whole."""

    def __init__(self, tx: MemoryInferenceTx, fuse: Fuse) -> None:
        super().__init__(tx)
        self._fuse = fuse

    async def read(self, work: Callable[[InferenceTx], object]):
        self._fuse.line()
        return work(self.tx)

    async def write(self, work: Callable[[InferenceTx], object]):
        self._fuse.line()
        result = work(self.tx)
        self._fuse.line()
        return result


class FusedPeers(FakePeers):
    """Dies before a call of a peer, or after the peer has done it."""

    fuse = Fuse()

    async def move_alias(self, *args, **fields) -> None:
        self.fuse.line()
        await super().move_alias(*args, **fields)
        self.fuse.line()

    async def judge(self, rollout: Rollout, *args, **fields) -> Judgement:
        self.fuse.line()
        judgement = await super().judge(rollout, *args, **fields)
        self.fuse.line()
        return judgement


class World:
    """An endpoint, a rollout, and controllers that die and are replaced."""

    def __init__(self, lines: frozenset[int]) -> None:
        self.tx = MemoryInferenceTx()
        self.peers = FusedPeers(aliases={ALIAS: OLD.version}, verdict=Verdict.PASS)
        self.peers.fuse = Fuse(lines)
        endpoint_cases.create_endpoint(self.tx, endpoint([OLD], alias="champion"))
        cases.create_rollout(
            self.tx,
            cases.NewRollout(
                Meta(NAME, "r" * 8, 1, T0, T0),
                ENDPOINT,
                version_name(2),
                NEW_DIGEST,
                f"{version_name(2)}/approvals/a",
                (Phase(500, 10), Phase(WHOLE_BP)),
                "episode",
                "",
            ),
        )

    async def run(self, until: Callable[[], bool]) -> None:
        """Controllers, one after the other, each until it dies."""
        store = FusedStore(self.tx, self.peers.fuse)
        for _ in range(50):
            peers = self.peers
            controller = RolloutController(store, peers, peers, peers, peers.clock)
            try:
                await controller.pass_once()
            except Died:
                continue
            finally:
                self.check_whole()
            if until():
                return
        raise AssertionError("the rollout does not end")

    def check_whole(self) -> None:
        """The shares are those of the rollout's state, whoever is dead."""
        rollout, weights = self.rollout, self.weights
        assert sum(weights.values()) == WHOLE_BP
        match rollout.state:
            case State.PENDING:
                assert weights == {"1": WHOLE_BP}
            case State.PREPARING:
                assert weights == {"2": 0, "1": WHOLE_BP}
            case State.RUNNING:
                assert weights["2"] == rollout.phases[rollout.current_phase].weight_bp
            case State.SUCCEEDED if not rollout.rolled_back_by:
                assert weights == {"1": 0, "2": WHOLE_BP}
            case _:
                assert weights == {"1": WHOLE_BP}

    @property
    def rollout(self) -> Rollout:
        return cases.get_rollout(self.tx, NAME)

    @property
    def weights(self) -> dict[str, int]:
        held = endpoint_cases.get_endpoint(self.tx, ENDPOINT)
        return {v.version.rpartition("/")[2]: v.weight_bp for v in held.variants}

    def is_over(self) -> bool:
        return self.rollout.state in TERMINAL

    @property
    def ends(self) -> list[str]:
        ended = {"rollout.succeeded", "rollout.rolled_back", "rollout.failed"}
        return [kind for kind in self.tx.kinds if kind in ended]


def one_and_two_deaths(lines: int) -> list[frozenset[int]]:
    single = [frozenset({line}) for line in range(1, lines + 1)]
    return single + [frozenset(pair) for pair in itertools.combinations(range(1, lines + 1), 2)]


def lines_of(scenario: Callable[[frozenset[int]], World]) -> int:
    """How many lines a scenario passes when nobody dies."""
    passed = scenario(frozenset()).peers.fuse.passed
    assert passed > 5
    return passed


def passing(lines: frozenset[int]) -> World:
    world = World(lines)
    asyncio.run(world.run(world.is_over))
    return world


def failing(lines: frozenset[int]) -> World:
    world = World(lines)
    world.peers.verdict = Verdict.FAIL
    asyncio.run(world.run(world.is_over))
    return world


def undone_by_hand(lines: frozenset[int]) -> World:
    """Rolled back while the promotion waits for the registry."""
    world = World(lines)

    async def scenario() -> None:
        await world.run(lambda: world.rollout.has_passed)
        back = Meta(f"{ENDPOINT}/rollouts/back", "b" * 8, 1, T0, T0)
        undoing = cases.rollback_endpoint(world.tx, back, ENDPOINT, "on call")
        assert world.weights == {"1": WHOLE_BP}
        await world.run(lambda: cases.get_rollout(world.tx, undoing.name).is_over)

    asyncio.run(scenario())
    return world


def test_a_passing_rollout_ends_in_service_wherever_the_controller_dies():
    for lines in one_and_two_deaths(lines_of(passing)):
        world = passing(lines)
        assert world.weights == {"1": 0, "2": WHOLE_BP}
        assert world.peers.aliases[ALIAS] == version_name(2)
        assert world.ends == ["rollout.succeeded"]


def test_a_failing_rollout_ends_where_it_began_wherever_the_controller_dies():
    for lines in one_and_two_deaths(lines_of(failing)):
        world = failing(lines)
        assert world.weights == {"1": WHOLE_BP}
        assert world.peers.aliases[ALIAS] == OLD.version
        assert world.ends == ["rollout.rolled_back"]


def test_a_roll_back_amid_the_promotion_holds_wherever_the_controller_dies():
    for lines in one_and_two_deaths(lines_of(undone_by_hand)):
        world = undone_by_hand(lines)
        assert world.weights == {"1": WHOLE_BP}
        assert world.peers.aliases[ALIAS] == OLD.version
        assert world.rollout.rolled_back_by == f"{ENDPOINT}/rollouts/back"


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_rolling_back_in_the_middle_of_a_rollout_cancels_it(turns):
    world = World(frozenset())
    world.peers.verdict = Verdict.INCONCLUSIVE
    for _ in range(turns):
        await world.run(lambda: True)
    back = Meta(f"{ENDPOINT}/rollouts/back", "b" * 8, 1, T0, T0)
    cancelled = cases.rollback_endpoint(world.tx, back, ENDPOINT, "on call")
    assert (cancelled.name, cancelled.state, cancelled.message) == (
        NAME,
        State.CANCELLED,
        "on call",
    )
    assert world.weights == {"1": WHOLE_BP}


async def test_rolling_back_a_paused_promotion_brings_the_old_version():
    world = World(frozenset())
    await world.run(lambda: world.rollout.has_passed)
    cases.pause_rollout(world.tx, NAME, "", T0)
    back = Meta(f"{ENDPOINT}/rollouts/back", "b" * 8, 1, T0, T0)
    undoing = cases.rollback_endpoint(world.tx, back, ENDPOINT, "on call")
    assert undoing.version == OLD.version
    assert world.weights == {"1": WHOLE_BP}
