"""From SIGKILL of a worker to training again, and from a submission to training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

from benchmarks.harness import Bar, Row
from benchmarks.trainer.quantiles import quantile
from benchmarks.trainer.world import World
from services.trainer.core.spec import Candidate
from tests.support.trainer_process import workers_of
from tests.support.trainer_values import spec

_STEPS_BEFORE: Final = 3
_SHARES: Final = {"p50_s": 0.5, "p95_s": 0.95}
_AGAIN: Final = "SIGKILL of a worker to its job's next step"
_START: Final = "submission to training, on a warm worker"
_AGAIN_GOAL_S: Final = 5.0
_START_GOAL_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Killed:
    """One job whose worker was killed.

    Attributes:
        claimed_s: From the call that submitted it to its worker's claim.
        training_s: From that call until the data was ready and training began.
        again_s: From the kill to the first step that was measured after it.
        queued_s: Of that, until the next worker's claim: the pause before a retry is in it.
    """

    claimed_s: float
    training_s: float
    again_s: float
    queued_s: float


def kill(world: World, kills: int) -> list[Killed]:
    """Run so many jobs, each killed once while it trains; a second kill would wait for longer."""
    # Short steps: what is waited for at the end is one of them.
    candidates = (Candidate("mlp", {"epochs": 1000, "hidden_units": 8}),)
    asked = spec(candidates=candidates, threads=1)
    found = []
    for number in range(kills):
        submitted_s = time.time()
        name = world.jobs.submit(f"killed-{number}", asked)
        while len(world.jobs.steps(name)) < _STEPS_BEFORE:
            time.sleep(0.1)
        killed_s = time.time()
        for worker in workers_of(world.trainer.pid):
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        again_s = world.jobs.next_step_s(name, killed_s)
        job = world.jobs.until(name, lambda job: len(job.attempts) == 2)
        entered = world.jobs.entered(name)
        found.append(
            Killed(
                claimed_s=entered["preparing"] - submitted_s,
                training_s=entered["running"] - submitted_s,
                again_s=again_s - killed_s,
                queued_s=job.attempts[1].start_time.ToMilliseconds() / 1000 - killed_s,
            )
        )
        world.jobs.cancel(name)
    return found


def rows(found: Sequence[Killed]) -> list[Row]:
    """Medians, and the p95 among the facts."""
    again = [each.again_s for each in found]
    start = [each.training_s for each in found]
    facts = {name: quantile(again, share) for name, share in _SHARES.items()}
    facts["to_the_next_claim_p50_s"] = quantile([each.queued_s for each in found], 0.5)
    started = {name: quantile(start, share) for name, share in _SHARES.items()}
    started["to_the_claim_p50_s"] = quantile([each.claimed_s for each in found], 0.5)
    return [
        Row(_AGAIN, "s", facts["p50_s"], tuple(again), facts),
        Row(_START, "s", started["p50_s"], tuple(start), started),
    ]


def bars(measured: Sequence[Row]) -> list[Bar]:
    """Training again within 5 s in 19 of 20 kills; training within 2 s as a rule."""
    named = {row.name: row for row in measured}
    return [
        Bar.at_most(f"{_AGAIN}, p95", named[_AGAIN].facts["p95_s"], _AGAIN_GOAL_S, "s"),
        Bar.at_most(f"{_START}, median", named[_START].value, _START_GOAL_S, "s"),
    ]
