"""An episode's way round the loop, whatever dies on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.clock import utc_now
from services.common.resources import Meta
from services.common.rpc.remote import RemoteError
from services.common.store.leadership import lead
from services.common.store.outbox import EventFilter, read_after
from services.monitor.adapters.database.episodes import SqlEpisodeStore
from services.monitor.adapters.episode_controller import EpisodeController
from services.monitor.core.errors import IllegalTransition
from services.monitor.core.loop.episodes import Episode, EpisodeState
from services.monitor.core.loop.ports import Outcome
from services.monitor.core.use_cases.retraining import save_episode
from tests.support.loop_peers import ScriptedPeers
from tests.support.monitor_database import monitor_database, written
from tests.support.monitor_values import (
    CHAMPION,
    MARCH,
    MONITOR,
    PLAN,
    new_episode,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DETECTED = Episode(
    meta=Meta(f"{MONITOR}/episodes/e", "e", 1, NOW, NOW),
    state=EpisodeState.DETECTED,
    plan=PLAN,
    decision=f"{MONITOR}/retrainDecisions/d",
    event_time=MARCH,
    champion=CHAMPION,
)
SCRIPTS = st.fixed_dictionaries(
    {
        "rows": st.booleans(),
        "job": st.sampled_from([Outcome.SUCCEEDED, Outcome.FAILED]),
        "gate_passes": st.booleans(),
        "approval_": st.sampled_from([Outcome.SUCCEEDED, Outcome.REFUSED]),
        "rollout_": st.sampled_from([Outcome.SUCCEEDED, Outcome.ROLLED_BACK, Outcome.FAILED]),
        "polls": st.integers(0, 3),
    }
)


def end_of(peers: ScriptedPeers) -> EpisodeState:
    """Where the script leads."""
    if not peers.rows or peers.job is Outcome.FAILED:
        return EpisodeState.FAILED
    if not peers.gate_passes or peers.approval_ is Outcome.REFUSED:
        return EpisodeState.REJECTED
    return {
        Outcome.SUCCEEDED: EpisodeState.PROMOTED,
        Outcome.ROLLED_BACK: EpisodeState.ROLLED_BACK,
        Outcome.FAILED: EpisodeState.FAILED,
    }[peers.rollout_]


@given(
    script=SCRIPTS,
    lost=st.lists(st.booleans(), max_size=20),
    crashes=st.lists(st.booleans(), max_size=20),
)
async def test_crashes_and_lost_answers_change_neither_the_end_nor_what_is_made(
    script, lost, crashes
):
    peers = ScriptedPeers(**script, lost=iter(lost))
    loop = peers.loop()
    dies_before_the_save = iter(crashes)
    episode = DETECTED
    for _ in range(100):
        try:
            advanced = await loop.advanced(episode)
        except RemoteError:
            continue
        if not next(dies_before_the_save, False):
            episode = advanced
    assert episode.state is end_of(peers)
    assert {kind: len(made) for kind, made in peers.made.items()} == dict.fromkeys(peers.made, 1)
    assert episode.message or episode.state is EpisodeState.PROMOTED


@pytest.mark.parametrize("state", list(EpisodeState))
def test_no_state_skips_a_step(state):
    episode = replace(DETECTED, state=state)
    refused = []
    for wanted in EpisodeState:
        try:
            episode.moved_to(wanted, NOW)
        except IllegalTransition:
            refused.append(wanted)
    assert state in refused
    assert episode.is_over == (len(refused) == len(EpisodeState))


async def test_an_episode_says_what_its_training_waits_for_until_it_goes_on():
    peers = ScriptedPeers(polls=2, job_waits_for="The budget is spent.")
    training = replace(DETECTED, state=EpisodeState.TRAINING)
    waiting = await peers.loop().advanced(training)
    assert (waiting.state, waiting.message) == (EpisodeState.TRAINING, "The budget is spent.")
    assert await peers.loop().advanced(waiting) is waiting
    going_on = await peers.loop().advanced(waiting)
    assert (going_on.state, going_on.message) == (EpisodeState.EVALUATING, "")


async def test_waiting_and_going_on_are_told(sqlite_url):
    async with monitor_database(sqlite_url) as database:
        started = await written(database, new_episode)
        for message in ("The budget is spent.", ""):
            before = await written(database, lambda tx: tx.episodes.get(started.meta.name))
            waiting = before.waiting(message, NOW)
            await written(
                database,
                lambda tx, waiting=waiting: save_episode(tx, waiting, {"message": waiting.message}),
            )
        wanted = EventFilter(correlation_id=started.meta.uid)
        events = await database.read(lambda tx: read_after(tx, "", 99, wanted)[0])
        told = [(event.type.rpartition(".")[2], event.data.get("message")) for event in events[-2:]]
        assert told == [("waits", "The budget is spent."), ("goes_on", "")]


async def test_an_over_episode_stays_as_it_is():
    over = replace(DETECTED, state=EpisodeState.PROMOTED)
    assert await ScriptedPeers().loop().advanced(over) is over


async def test_the_controller_carries_an_episode_to_its_end_and_tells_each_step(database_url):
    async with monitor_database(database_url) as database:
        started = await written(database, new_episode)
        peers = ScriptedPeers(lost=iter([True, False, True]))
        controller = EpisodeController(
            peers.loop(),
            lambda lease: SqlEpisodeStore(database, lease, utc_now),
            poll_interval_s=0.01,
        )
        leading = asyncio.create_task(lead(database, "episodes", "test", utc_now, controller.run))
        wanted = EventFilter(correlation_id=started.meta.uid)
        try:
            async with asyncio.timeout(30):
                while True:
                    events = await database.read(lambda tx: read_after(tx, "", 99, wanted)[0])
                    if events[-1].type == "roundhouse.monitor.episode.promoted":
                        break
        finally:
            leading.cancel()
            await asyncio.gather(leading, return_exceptions=True)
        states = [event.type.rpartition(".")[2] for event in events[1:]]
        assert states == [
            *("detected", "snapshot_built", "training", "evaluating", "gated"),
            *("awaiting_approval", "rolling_out", "promoted"),
        ]
        assert [event.causation_id for event in events[1:]] == [event.id for event in events[:-1]]
        assert events[2].data == {"snapshot": "snapshot/1"}
        episode = await written(database, lambda tx: tx.episodes.get(started.meta.name))
        assert episode.is_over
        assert {len(made) for made in peers.made.values()} == {1}
