"""One worker on a Ray cluster, with the helpers that it is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import ray
import ray.exceptions
import structlog
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from services.trainer.adapters.ray import node
from services.trainer.adapters.worker.config import HelperConfig, WorkerConfig

log = structlog.get_logger()

HELPER_PAUSE_S: Final = 1.0
"""Between the end of a helper and the request for the one that takes its place."""


class Placed:
    """A worker that the cluster has been asked for.

    One that does not train without helpers gets its place and theirs at once, or none: two of them
    that each held half of a cluster would wait for each other.

    Args:
        config: How it is started.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._group = _group(config)
        worker = ray.remote(node.run).options(
            num_returns="streaming", **self._options(config.worker, 0)
        )
        # Ray's types know no tasks that tell things one after the other.
        self._task: ray.ObjectRefGenerator[Any] = worker.remote(config)

    async def wait(self) -> str:
        """How it ended, once it has; until then its helpers are replaced as they end."""
        try:
            address = await (await anext(self._task))
            async with self._helped(address):
                return f"its process ended with status {await (await anext(self._task))}"
        except StopAsyncIteration:
            return "Ray lost it: it was ended before it could tell how"
        except ray.exceptions.RayTaskError as error:
            return f"it could not be started on its node: {error.cause!r}"
        except ray.exceptions.RayError as error:
            return f"Ray lost it: {type(error).__name__}: {_first_sentence(str(error))}"
        finally:
            if self._group is not None:
                remove_placement_group(self._group)

    def kill(self) -> None:
        """End it, or take it off the queue."""
        ray.cancel(self._task, force=True)

    @asynccontextmanager
    async def _helped(self, address: str) -> AsyncIterator[None]:
        """Keeps its helpers while the block lasts."""
        config = self._config.helper(address)
        keeping = [
            asyncio.ensure_future(self._keep_one(config, number))
            for number in range(1, self._config.helpers + 1)
        ]
        try:
            yield
        finally:
            for each in keeping:
                each.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)

    async def _keep_one(self, config: HelperConfig, number: int) -> None:
        name = f"{config.worker}-helper-{number}"
        while True:
            helper = ray.remote(node.run_helping).options(**self._options(name, number))
            placed: ray.ObjectRef[int] = helper.remote(config)
            try:
                log.info("helper.ended", helper=name, status=await placed)
            except ray.exceptions.RayError as error:
                log.warning("helper.lost", helper=name, cause=_first_sentence(str(error)))
            except asyncio.CancelledError:
                ray.cancel(placed, force=True)
                raise
            await asyncio.sleep(HELPER_PAUSE_S)

    def _options(self, name: str, number: int) -> dict[str, Any]:
        """Of the task of the worker, whose number is 0, or of a helper."""
        options: dict[str, Any] = {
            "name": name,
            "num_cpus": self._config.cores,
            "memory": self._config.reserved_memory_mib * 2**20 or None,
            "num_gpus": _gpus(self._config),
            # The trainer tries again, once the lease of this attempt is over.
            "max_retries": 0,
        }
        if self._group is not None and number < self._config.min_workers:
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self._group, number)
        return options


def _group(config: WorkerConfig) -> Any:  # Ray leaves it untyped
    """Places for as many workers as must be there; None where one is enough."""
    if config.min_workers == 1:
        return None
    memory = config.reserved_memory_mib * 2**20
    needs = {"CPU": config.cores, "memory": memory, "GPU": _gpus(config)}
    bundle = {name: amount for name, amount in needs.items() if amount}
    return placement_group([bundle] * config.min_workers)


def _gpus(config: WorkerConfig) -> int:
    """Of each worker; Ray has it see its own alone."""
    return 0 if config.gpus is None else 1


def _first_sentence(text: str) -> str:
    """What happened; Ray says at length what else could be looked at."""
    return text.strip().partition("\n")[0].partition(". ")[0]
