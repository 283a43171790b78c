"""Many simulated rollouts: the traffic is drawn, everything that decides is the real thing.

The real controller drives real rows in a real database, splits the traffic by the weights in
them, and asks the real judging core, which counts every request. Only the requests are made up.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
from scipy import stats

from services.common.criteria import DEFAULT_ALPHA, Criteria, Finding, Measure, Verdict
from services.common.resources import Meta
from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.inference.adapters.database.store import SqlStore
from services.inference.core.controller import RolloutController
from services.inference.core.endpoints import Endpoint
from services.inference.core.ports import InferenceTx
from services.inference.core.rollouts import Judgement, Phase, Rollout, State
from services.inference.core.routing import WHOLE_BP, Split, Variant
from services.inference.core.use_cases import endpoints as endpoint_cases
from services.inference.core.use_cases import rollouts as rollout_cases
from services.inference.wiring import MIGRATIONS
from services.monitor.core.stream.batches import OutcomeBatch
from services.monitor.core.stream.trials import Trial
from services.monitor.core.verdicts import judge_rollout, verdict_on
from tests.support.inference_memory import FakePeers
from tests.support.serving import endpoint, version_name
from tests.support.trials import CANDIDATE, Requests, trial_of

ALPHA: Final = DEFAULT_ALPHA
SLICE: Final = "HA"
"""Carrier of one request in twenty."""

REQUESTS_A_LOOK: Final = 500
CRITERIA: Final = Criteria(slices=("carrier",))
PHASES: Final = tuple(
    Phase(weight, min_outcomes, timedelta(hours=96), CRITERIA)
    for weight, min_outcomes in ((3_000, 1_500), (5_000, 1_500), (WHOLE_BP, 250))
)
_LOOK: Final = timedelta(hours=1)
_OLD: Final = Variant(version_name(1), "sha256:" + "1" * 64, WHOLE_BP)


@dataclass(frozen=True, slots=True)
class Harm:
    """What a candidate does worse, everywhere or in the slice alone.

    Attributes:
        measure: That must find it; None for no harm.
        traits: What differs, as `Requests.batch` takes it.
        in_slice: Whether only requests of `SLICE` are harmed.
    """

    measure: Measure | None
    traits: Mapping[str, float] = field(default_factory=dict)
    in_slice: bool = False


NO_HARM: Final = Harm(None)
HARMS: Final = {
    "everywhere": (
        Harm(Measure.FAILED_SHARE, {"failing": 0.04}),
        Harm(Measure.SLOW_SHARE, {"slower": 1.3}),
        Harm(Measure.LOG_LOSS, {"skill": -0.3}),
    ),
    "slice": (
        Harm(Measure.FAILED_SHARE, {"failing": 0.2}, in_slice=True),
        Harm(Measure.SLOW_SHARE, {"slower": 1.8}, in_slice=True),
        Harm(Measure.LOG_LOSS, {"skill": -1.0}, in_slice=True),
    ),
    "edge": (Harm(Measure.FAILED_SHARE, {"failing": 0.002 + CRITERIA.max_failed_rise}),),
}
"""By where; `edge` is harm exactly as large as is tolerated, everywhere."""

_SOUND: Final = {"failing": 0.002, "slower": 1.0, "skill": 1.0}


@dataclass(frozen=True, slots=True)
class Ending:
    """How one rollout ended.

    Attributes:
        harm: What was planted.
        state: Terminal.
        failed: The findings that proved harm.
        verdict: Of the last phase.
        routed: By basis points of the phase, requests of the candidate and of both.
        looks: That were taken before the end.
    """

    harm: Harm
    state: State
    failed: tuple[Finding, ...]
    verdict: Verdict | None
    routed: Mapping[int, tuple[int, int]]
    looks: int

    @property
    def is_rolled_back(self) -> bool:
        """Whether the old version has all the traffic again."""
        return self.state is State.ROLLED_BACK

    @property
    def names_its_culprit(self) -> bool:
        """Whether the planted harm is among what was proven."""
        where = SLICE if self.harm.in_slice else ""
        return any(
            (each.measure, each.slice_value) == (self.harm.measure, where) for each in self.failed
        )


class _Simulated:
    """One endpoint's traffic, and what its judge counted."""

    def __init__(self, seed: int, harm: Harm) -> None:
        self.harm = harm
        self.requests = Requests(seed)
        self.trials: dict[int, Trial] = {}
        self.routed: dict[int, tuple[int, int]] = {}
        self.looks = 0
        self._late: list[tuple[Trial, OutcomeBatch]] = []

    def look(self, rollout: Rollout, held: Endpoint) -> None:
        """Answer the requests of an hour by the weights in the row; outcomes come an hour late."""
        self.looks += 1
        late, self._late = self._late, []
        split = Split([variant.weight_bp for variant in held.variants])
        candidate = [variant.version for variant in held.variants].index(rollout.version)
        places = self.requests.random.integers(0, WHOLE_BP, REQUESTS_A_LOOK).tolist()
        n = sum(split.position(place) == candidate for place in places)
        weight = held.variants[candidate].weight_bp
        before = self.routed.get(weight, (0, 0))
        self.routed[weight] = (before[0] + n, before[1] + REQUESTS_A_LOOK)
        trial = self.trial(rollout.current_phase)
        carriers = self.requests.carriers(n)
        harmed = np.array([not self.harm.in_slice or carrier == SLICE for carrier in carriers])
        traits = {
            trait: np.where(harmed, worse, _SOUND[trait])
            for trait, worse in self.harm.traits.items()
        }
        made = []
        if n:
            made.append(self.requests.batch(n, CANDIDATE, carriers=carriers, **traits))
        if n < REQUESTS_A_LOOK:
            made.append(self.requests.batch(REQUESTS_A_LOOK - n))
        for seen, learned in made:
            trial.observe(seen)
            self._late.append((trial, learned))
        for counted, learned in late:
            counted.learn(learned)

    def trial(self, phase: int) -> Trial:
        """What was counted in a phase."""
        return self.trials.setdefault(phase, trial_of(CRITERIA))


class Fleet:
    """Rollouts of as many endpoints, all under way at once; also the controller's judge.

    Args:
        folder: For the database.
        harms: What each candidate does worse.
        seed: Of everything.
    """

    def __init__(self, folder: Path, harms: list[Harm], seed: int) -> None:
        self._database = Database(f"sqlite:///{folder}/fleet-{seed}.db")
        self._store = SqlStore(self._database)
        self._peers = FakePeers()
        self._simulated = {
            f"projects/default/endpoints/e{seed}-{number}": _Simulated(seed + number, harm)
            for number, harm in enumerate(harms)
        }
        self._controller = RolloutController(
            self._store, self._peers, self._peers, self, self._peers.clock
        )

    async def judge(self, rollout: Rollout, since: object) -> Judgement:
        """See `Judge`: the real core over what was counted."""
        phase = rollout.current_phase
        trial = self._simulated[rollout.endpoint].trial(phase)
        criteria, planned = rollout.criteria(phase), rollout.phases[phase]
        sample, alone = planned.min_outcomes, planned.weight_bp == WHOLE_BP
        decided = verdict_on(trial, criteria, min_outcomes=sample, alone=alone)
        is_last = rollout.deadline is not None and self._peers.now >= rollout.deadline
        if decided is Verdict.INCONCLUSIVE and not is_last:
            return Judgement(decided, "not yet")
        found = judge_rollout(trial, criteria, min_outcomes=sample, alone=alone)
        return Judgement(found.verdict, found.reason, found.numbers, found.findings)

    async def hold(self, endpoint: str) -> str:
        """See `Judge`: nothing is held."""
        return ""

    async def run(self) -> list[Ending]:
        """Carry every rollout to its end."""
        await migrate(self._database, MIGRATIONS)
        await self._store.write(self._create)
        while True:
            await self._controller.pass_once()
            under_way = await self._store.read(_running)
            if not under_way:
                break
            for rollout, held in under_way:
                if rollout.state is State.RUNNING and not rollout.has_passed:
                    self._simulated[held.name].look(rollout, held)
            self._peers.now += _LOOK
        endings = await self._store.read(self._endings)
        self._database.close()
        return endings

    def _create(self, tx: InferenceTx) -> None:
        now = self._peers.now
        for name in self._simulated:
            made = replace(endpoint([_OLD]), meta=Meta(name, _uid(name), 1, now, now))
            endpoint_cases.create_endpoint(tx, made)
            new = rollout_cases.NewRollout(
                Meta(f"{name}/rollouts/r", _uid(f"{name}/rollouts/r"), 1, now, now),
                name,
                version_name(2),
                "sha256:" + "2" * 64,
                f"{version_name(2)}/approvals/a",
                PHASES,
                "",
                "",
            )
            rollout_cases.create_rollout(tx, new)

    def _endings(self, tx: InferenceTx) -> list[Ending]:
        return [
            _ending(rollout_cases.get_rollout(tx, f"{name}/rollouts/r"), simulated)
            for name, simulated in self._simulated.items()
        ]


def run_fleet(folder: Path, harms: list[Harm], seed: int) -> list[Ending]:
    """How rollouts with these harms end."""
    return asyncio.run(Fleet(folder, harms, seed).run())


def proportion_interval(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Of a share (Clopper and Pearson, Biometrika 1934)."""
    found = stats.binomtest(hits, n).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)


def _uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def _running(tx: InferenceTx) -> list[tuple[Rollout, Endpoint]]:
    return [(each, endpoint_cases.get_endpoint(tx, each.endpoint)) for each in tx.active_rollouts()]


def _ending(rollout: Rollout, simulated: _Simulated) -> Ending:
    last = rollout.outcomes[-1]
    return Ending(
        simulated.harm,
        rollout.state,
        tuple(each for each in last.findings if each.verdict is Verdict.FAIL),
        last.verdict,
        simulated.routed,
        simulated.looks,
    )
