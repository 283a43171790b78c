"""Copies of requests on a version that answers nobody."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest

from services.common.errors import Unavailable
from services.inference.core.decisions import DecisionPolicy
from services.inference.core.errors import ModelFailed, QueueDeadlineExceeded, QueueFull
from services.inference.core.mirroring import (
    Copy,
    Mirror,
    Mirrored,
    MirrorLimits,
    ServedShadow,
    ShadowRecorder,
)
from services.inference.core.observing import ObservationRules, Observer, Redaction, Treatment
from services.inference.core.ports import SHADOW_SUFFIX, Outcome
from services.inference.core.predictions import Query
from services.inference.core.routing import WHOLE_BP
from services.inference.core.rows import Rows
from services.inference.core.shadows import Shadow, Tally
from services.inference.core.signature import parse_signature
from tests.support.bundles import signature
from tests.support.eventually import eventually
from tests.support.serving import ENDPOINT, T0, MemoryLog, version_name

REPORT = f"{ENDPOINT}/rollouts/r/shadows/0"
SIGNATURE = parse_signature(json.dumps(signature()).encode())


class Candidate:
    """Answers with a fixed score, or fails, and can be held up."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.going = asyncio.Event()
        self.going.set()

    async def infer(self, rows, deadline):
        await self.going.wait()
        if self.failure is not None:
            raise self.failure
        return {"probabilities": np.tile(np.float32([0.2, 0.8]), (rows.count, 1))}


class Given:
    """Rows that fit whatever they are asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def rows(self, signature, *, max_rows):
        return Rows(self._count, np.zeros((2, self._count), np.float32), (["AA"] * self._count,))


def shadow(candidate: Candidate, sample_bp: int = WHOLE_BP) -> ServedShadow:
    policy = DecisionPolicy(positive_action="rebook", negative_action="none").decider(ENDPOINT)
    return ServedShadow(
        ENDPOINT, version_name(2), REPORT, sample_bp, SIGNATURE, candidate, policy, True
    )


def copy_of(count: int = 1, score: float = 0.8) -> Copy:
    return Copy("p", 7, Given(count), np.full(count, score, np.float32), 0.01)


class Running:
    """A mirror at work."""

    def __init__(self, **limits) -> None:
        self.log = MemoryLog()
        self.outcomes: list[Mirrored] = []
        self.draws = 0.0
        self.mirror = Mirror(
            self.log, lambda: self.draws, MirrorLimits(**limits), self.outcomes.append
        )
        self.candidate = Candidate()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self):
        self._task = asyncio.ensure_future(self.mirror.run())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def tally(self) -> Tally:
        return self.mirror.take_tallies()[REPORT]


async def test_equal_decisions_agree_and_differences_are_counted():
    async with Running() as running:
        running.mirror.offer(shadow(running.candidate), copy_of(2, score=0.9))
        running.mirror.offer(shadow(running.candidate), copy_of(1, score=0.1))
        await eventually(lambda: len(running.outcomes) == 2)
        tally = running.tally()
    assert (tally.compared, tally.agreed, tally.rows) == (2, 1, 3)
    assert tally.shift_sum == pytest.approx(-0.1 + 0.7, abs=1e-6)
    assert tally.candidate_scores[16] == 3
    assert tally.champion_scores[2] == 1
    assert sum(tally.champion_latencies) == sum(tally.candidate_latencies) == 2


async def test_what_nobody_was_told_is_marked():
    async with Running() as running:
        running.mirror.offer(shadow(running.candidate), copy_of())
        running.mirror.offer(replace(shadow(running.candidate), logs_observations=False), copy_of())
        await eventually(lambda: len(running.outcomes) == 2)
    (observation,) = running.log.observations
    assert observation.endpoint == f"{ENDPOINT}{SHADOW_SUFFIX}"
    assert observation.variant == version_name(2)


async def test_what_may_not_be_told_is_not_told_of_a_shadow_either():
    rules = ObservationRules(redactions=(Redaction("carrier", Treatment.DROP),))
    observer = Observer(ENDPOINT, rules, SIGNATURE, b"")
    async with Running() as running:
        running.mirror.offer(replace(shadow(running.candidate), observer=observer), copy_of())
        await eventually(lambda: running.outcomes == [Mirrored.COMPARED])
    (observation,) = running.log.observations
    assert observation.rows.text == ()
    assert "carrier" not in [spec.name for spec in observation.signature.inputs]


async def test_only_the_sample_is_mirrored():
    async with Running() as running:
        running.draws = 0.1
        running.mirror.offer(shadow(running.candidate, sample_bp=1_000), copy_of())
        assert running.mirror.take_tallies() == {}
        running.draws = 0.0999
        running.mirror.offer(shadow(running.candidate, sample_bp=1_000), copy_of())
        await eventually(lambda: running.outcomes == [Mirrored.COMPARED])


async def test_a_full_queue_drops_and_counts():
    async with Running(max_waiting_rows=10) as running:
        running.candidate.going.clear()
        for _ in range(40):
            running.mirror.offer(shadow(running.candidate), copy_of())
            await asyncio.sleep(0)
        running.candidate.going.set()
        await eventually(lambda: len(running.outcomes) == 40)
        tally = running.tally()
    # The workers hold a few, ten wait, and the rest is dropped at once.
    assert tally.dropped == running.outcomes.count(Mirrored.DROPPED) >= 20
    assert tally.compared + tally.dropped == tally.mirrored == 40


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (QueueFull("rows", 9, 8, 0.1), Mirrored.DROPPED),
        (QueueDeadlineExceeded(), Mirrored.EXPIRED),
        (ModelFailed("m", "no"), Mirrored.FAILED),
        (ZeroDivisionError(), Mirrored.FAILED),
    ],
    ids=["full", "late", "refused", "broken"],
)
async def test_a_candidate_that_fails_is_counted_and_ends_nothing(failure, outcome):
    async with Running() as running:
        running.candidate.failure = failure
        running.mirror.offer(shadow(running.candidate), copy_of())
        await eventually(lambda: running.outcomes == [outcome])
        running.candidate.failure = None
        running.mirror.offer(shadow(running.candidate), copy_of())
        await eventually(lambda: running.outcomes == [outcome, Mirrored.COMPARED])
        assert running.tally().mirrored == 2


async def test_a_copy_that_waited_too_long_is_not_run():
    async with Running(deadline_s=0.0) as running:
        running.candidate.failure = ZeroDivisionError()
        running.mirror.offer(shadow(running.candidate), copy_of())
        await eventually(lambda: running.outcomes == [Mirrored.EXPIRED])


class Away(Unavailable):
    reason = "DEPENDENCY_UNAVAILABLE"


class AwayStore:
    async def write(self, work):
        raise Away("away")


async def test_what_could_not_be_written_is_counted_further():
    running = Running()
    running.mirror.put_back(REPORT, Tally(compared=2))
    await ShadowRecorder(AwayStore(), running.mirror, lambda: T0).flush()
    running.mirror.put_back(REPORT, Tally(compared=1))
    assert running.tally().compared == 3


async def test_answers_come_from_the_champion_alone_and_its_meter_counts_them_once(plane, publish):
    old, new = publish(1), publish(2, bias=-5.0, weight_bp=0)
    mirrored = Shadow(new.version, WHOLE_BP, REPORT)
    await plane.serve(new, old, shadow=mirrored)
    await eventually(lambda: plane.predictor.endpoint(ENDPOINT).shadow is not None)
    for number in range(20):
        answer = await plane.predictor.predict(Query(ENDPOINT, "", f"p{number}", Given(1)))
        assert answer.served.variant.version == old.version
    await eventually(lambda: plane.mirrored[Mirrored.COMPARED] == 20)
    assert plane.meters.counts == {Outcome.OK: 20}
    tally = plane.mirror.take_tallies()[REPORT]
    assert (tally.compared, tally.agreed) == (20, 0)
    served = [each for each in plane.log.observations if each.endpoint == ENDPOINT]
    assert len(served) == 20
    assert len(plane.log.observations) == 40


async def test_pinned_requests_are_answered_by_whom_they_pin_and_mirror_nothing(plane, publish):
    old, new = publish(1), publish(2, bias=-5.0, weight_bp=0)
    await plane.serve(new, old, shadow=Shadow(new.version, WHOLE_BP, REPORT))
    await eventually(lambda: plane.predictor.endpoint(ENDPOINT).shadow is not None)
    answer = await plane.predictor.predict(Query(ENDPOINT, "2", "p", Given(1)))
    assert answer.served.variant.version == new.version
    assert plane.mirror.take_tallies() == {}
