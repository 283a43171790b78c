"""Stock callers run through a rollout that is under way, and which version answered them."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from roundhouse.inference.v1 import rollout_pb2
from scipy import stats

from tests.support import callers
from tests.support.inference_api import InferenceCaller
from tests.support.inference_process import InferenceProcess
from tests.system.switches import serving_world

SHARE: Final = 0.3
"""Of the requests that the new version is to answer."""

NEW: Final = "2"
_OLD: Final = "1"
_CONFIDENCE: Final = 1 - 1e-6
"""Of the interval around the share: a right one is missed once in a million calls of this."""

_LOADED_S: Final = 60.0
_LOOK_S: Final = 0.05
_PHASES: Final = (
    rollout_pb2.Phase(weight_basis_points=round(SHARE * 10_000), min_outcomes=1),
    rollout_pb2.Phase(weight_basis_points=10_000),
)


@dataclass(frozen=True, slots=True)
class Run:
    """What one caller was answered.

    Attributes:
        asked: Requests that it sent.
        heard: Answers that it counted as good.
        served: Requests that the service has answered meanwhile, by version, and
        failed: those that it refused or could not answer.
    """

    caller: str
    server: str
    asked: int
    heard: Mapping[str, int]
    served: Mapping[str, int]
    failed: int

    @property
    def interval(self) -> tuple[int, int]:
        """Fewest and most answers of the new version that the share allows (binomial)."""
        low, high = stats.binom.interval(_CONFIDENCE, self.asked, SHARE)
        return int(low), int(high)

    @property
    def violations(self) -> list[str]:
        """What was not as promised."""
        who = f"{self.caller} on {self.server}"
        low, high = self.interval
        found = []
        if self.failed or sum(self.heard.values()) != self.asked or self.heard != self.served:
            found.append(
                f"{who}: of {self.asked} requests the caller counted {dict(self.heard)} answered, "
                f"the service {dict(self.served)}, and {self.failed} failed"
            )
        if not low <= self.served.get(NEW, 0) <= high:
            found.append(f"{who}: version {NEW} answered {self.served}; {low} to {high} are due")
        return found


async def run_callers(folder: Path, server: str, requests: Mapping[str, int]) -> list[Run]:
    """Send each caller's number of requests through one canary of a real service.

    Args:
        folder: For the service's data.
        server: Which answers, `native` or `grpcio`.
        requests: How many, by the name of the caller.
    """
    runs = []
    async with serving_world(folder, server=server) as (process, inference, registry, _):
        await inference.create_rollout(await registry.approved(1.0), phases=_PHASES)
        async with asyncio.timeout(_LOADED_S):
            while not await _is_shared(inference):
                await asyncio.sleep(_LOOK_S)
        for caller, asked in requests.items():
            before, failed_before = await _counted(process)
            heard = await _CALLERS[caller](process.address, asked)
            after, failed = await _counted(process)
            served = {each: count - before.get(each, 0) for each, count in after.items()}
            runs.append(Run(caller, server, asked, heard or served, served, failed - failed_before))
        assert (await inference.rollout()).state == rollout_pb2.Rollout.STATE_RUNNING
    return runs


async def _k6(address: str, requests: int) -> Mapping[str, int]:
    return await callers.k6(address, requests, (_OLD, NEW))


async def _h2load(address: str, requests: int) -> Mapping[str, int]:
    """What was answered only: h2load knows of no version."""
    assert await callers.h2load(address, requests) == requests
    return {}


async def _is_shared(inference: InferenceCaller) -> bool:
    weights = [variant.weight_basis_points for variant in (await inference.endpoint()).variants]
    return sorted(weights) == sorted((round(SHARE * 10_000), round((1 - SHARE) * 10_000)))


async def _counted(process: InferenceProcess) -> tuple[dict[str, int], int]:
    """Requests answered so far by version, and all others, as Prometheus would scrape them."""
    scraped = await asyncio.to_thread(_scraped, process.metrics_url)
    answered: dict[str, int] = {}
    failed = 0
    for labels, count in re.findall(
        r"^roundhouse_inference_requests_total\{(.*)\} (\S+)$", scraped, re.MULTILINE
    ):
        told = dict(re.findall(r'(\w+)="(.*?)"', labels))
        if told["outcome"] == "ok":
            answered[told["variant"]] = int(float(count))
        else:
            failed += int(float(count))
    return answered, failed


def _scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_LOADED_S) as response:
        return response.read().decode()


_CALLERS: Final[Mapping[str, Callable[[str, int], Awaitable[Mapping[str, int]]]]] = {
    "tritonclient": callers.tritonclient_sync,
    "tritonclient.aio": callers.tritonclient_aio,
    "k6": _k6,
    "h2load": _h2load,
}
"""By name; each gives the answers by version, or none where it can't tell versions apart."""
