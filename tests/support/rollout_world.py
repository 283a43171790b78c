"""One endpoint and its rollouts in memory, with a controller that a test turns by hand."""

from __future__ import annotations

from services.common.criteria import Verdict
from services.common.resources import Meta
from services.inference.core.controller import RolloutController
from services.inference.core.rollouts import Phase, State
from services.inference.core.routing import WHOLE_BP, Variant
from services.inference.core.use_cases import endpoints as endpoint_cases
from services.inference.core.use_cases import rollouts as cases
from tests.support.inference_memory import FakePeers, MemoryInferenceTx, MemoryStore
from tests.support.serving import ENDPOINT, T0, endpoint, version_name

OLD = Variant(version_name(1), "sha256:" + "1" * 64, WHOLE_BP)
PHASES = (Phase(500, 10), Phase(5000, 20), Phase(WHOLE_BP, 0))
ALIAS = "projects/default/models/delays/aliases/champion"


class World:
    """One endpoint, its rollouts, and a controller that a test turns by hand."""

    def __init__(self) -> None:
        self.tx = MemoryInferenceTx()
        self.peers = FakePeers(aliases={ALIAS: OLD.version})
        endpoint_cases.create_endpoint(self.tx, endpoint([OLD], alias="champion"))

    def create(self, number: int = 2, phases: tuple[Phase, ...] = PHASES, rollout_id: str = "r"):
        meta = Meta(f"{ENDPOINT}/rollouts/{rollout_id}", rollout_id * 8, 1, T0, T0)
        version = version_name(number)
        digest = f"sha256:{number}" + "0" * 63
        return cases.create_rollout(
            self.tx,
            cases.NewRollout(
                meta,
                ENDPOINT,
                version,
                digest,
                f"{version}/approvals/a",
                phases,
                "episode",
                "drift",
            ),
        )

    async def turn(self, times: int = 1) -> None:
        for _ in range(times):
            # A controller of its own each time: what it knows is in the rows.
            controller = RolloutController(
                MemoryStore(self.tx), self.peers, self.peers, self.peers, self.peers.clock
            )
            await controller.pass_once()

    def rollout(self, rollout_id: str = "r"):
        return cases.get_rollout(self.tx, f"{ENDPOINT}/rollouts/{rollout_id}")

    def weights(self) -> dict[str, int]:
        held = endpoint_cases.get_endpoint(self.tx, ENDPOINT)
        return {v.version.rpartition("/")[2]: v.weight_bp for v in held.variants}

    @property
    def name(self) -> str:
        return f"{ENDPOINT}/rollouts/r"


async def promoted(world: World, number: int = 2, rollout_id: str = "r") -> None:
    world.create(number, rollout_id=rollout_id)
    world.peers.verdict = Verdict.PASS
    await world.turn(6)
    assert world.rollout(rollout_id).state is State.SUCCEEDED
