"""Carries every unfinished episode round the loop, in one process at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from services.common.errors import DeadlineExceeded, Unavailable
from services.common.rpc.remote import RemoteError
from services.common.rpc.tracing import step_of
from services.common.store.leases import Lease
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.loop.ports import EpisodeStore
from services.monitor.core.loop.steps import Loop
from services.monitor.core.names import EPISODE

log = structlog.get_logger()

POLL_INTERVAL_S: Final = 0.2
"""How soon an answer of another service is noticed, and a new episode begun."""

_MAX_BACKOFF_S: Final = 5.0

_FACTS: Final = (
    *("snapshot", "training_job", "candidate", "evaluation"),
    *("gate_result", "approval", "rollout", "message"),
)


class EpisodeController:
    """Drives each episode in a task of its own, so that a slow one delays no other.

    Args:
        loop: The steps.
        open_store: The episodes under a lease.
        poll_interval_s: How often it looks.
    """

    def __init__(
        self,
        loop: Loop,
        open_store: Callable[[Lease], EpisodeStore],
        *,
        poll_interval_s: float = POLL_INTERVAL_S,
    ) -> None:
        self._loop = loop
        self._open_store = open_store
        self._poll_interval_s = poll_interval_s

    async def run(self, lease: Lease) -> None:
        """Work until cancelled.

        Raises:
            LeaseLost: Another process goes on.
        """
        store = self._open_store(lease)
        drivers: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for name in [name for name, task in drivers.items() if task.done()]:
                    drivers.pop(name).result()
                for episode in await store.unfinished():
                    if episode.meta.name not in drivers:
                        drivers[episode.meta.name] = asyncio.create_task(
                            self._drive(store, episode)
                        )
                await asyncio.sleep(self._poll_interval_s)
        finally:
            for task in drivers.values():
                task.cancel()
            await asyncio.gather(*drivers.values(), return_exceptions=True)

    async def _drive(self, store: EpisodeStore, episode: Episode) -> None:
        failures = 0
        looked_at = None
        while not episode.is_over:
            try:
                first_look, looked_at = looked_at is not episode.state, episode.state
                step = f"monitor.episode {episode.state.value}"
                with step_of(EPISODE.id_of(episode.meta.name), step, recorded=first_look):
                    advanced = await self._loop.advanced(episode)
                if advanced is not episode:
                    episode = await store.save(advanced, _new_facts(episode, advanced))
                    log.info("episode.moved", episode=episode.meta.name, state=episode.state)
                    pause_s = 0.0
                else:
                    pause_s = self._poll_interval_s
                failures = 0
            except (RemoteError, Unavailable, DeadlineExceeded) as error:
                if not failures:
                    log.warning("episode.waits", episode=episode.meta.name, error=str(error))
                failures += 1
                pause_s = min(_MAX_BACKOFF_S, self._poll_interval_s * 2**failures)
            await asyncio.sleep(pause_s)


def _new_facts(before: Episode, after: Episode) -> dict[str, str]:
    return {
        fact: getattr(after, fact)
        for fact in _FACTS
        if getattr(after, fact) != getattr(before, fact)
    }
