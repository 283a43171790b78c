"""Parts of the inference service put together for tests, without a database or peers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from services.common.resources import Meta
from services.common.rpc.server import ServerLimits, serving
from services.common.tasks import background_tasks
from services.inference.adapters.batching import BatchLimits
from services.inference.adapters.bundles import BundleFolder
from services.inference.adapters.onnx_runtime import OnnxRuntime
from services.inference.api.oip.servicer import INFER_PATH, SERVICE, OipServicer, register
from services.inference.core.admission import Admission
from services.inference.core.decisions import DecisionPolicy
from services.inference.core.endpoints import Endpoint, Runtime
from services.inference.core.fallbacks import FallbackReason
from services.inference.core.hosting import ModelHost
from services.inference.core.mirroring import Mirror, Mirrored, MirrorLimits
from services.inference.core.ports import Bundles, LoadedModel, ModelRuntime, Observation, Outcome
from services.inference.core.routing import Variant
from services.inference.core.serving import Predictor
from tests.support.directory_source import DirectoryBundleSource

T0 = datetime(2013, 3, 1, tzinfo=UTC)
ENDPOINT = "projects/default/endpoints/delays"


def version_name(number: int) -> str:
    """A version of the model that the tests serve."""
    return f"projects/default/models/delays/versions/{number}"


@dataclass
class MemoryLog:
    """Keeps observations in a list."""

    observations: list[Observation] = field(default_factory=list)

    def append(self, observation: Observation) -> None:
        self.observations.append(observation)


@dataclass
class MemoryMeters:
    """Counts by endpoint, variant and outcome; one object is every meter."""

    counts: dict[Outcome, int] = field(default_factory=dict)
    values_out_of_range: int = 0
    rows_not_sampled: int = 0
    fallbacks: dict[FallbackReason, int] = field(default_factory=dict)

    def meter(self, endpoint: str, variant: str, model: LoadedModel) -> MemoryMeters:
        return self

    def answered(self, outcome: Outcome, seconds: float, size_bytes: int) -> None:
        self.counts[outcome] = self.counts.get(outcome, 0) + 1

    def out_of_range(self, values: int) -> None:
        self.values_out_of_range += values

    def fallback_meter(self, endpoint: str) -> MemoryFallbackMeter:
        return MemoryFallbackMeter(self.fallbacks)

    def not_sampled(self, rows: int) -> None:
        self.rows_not_sampled += rows

    def retire(self) -> None:
        pass


def endpoint(variants: Sequence[Variant], **changes: object) -> Endpoint:
    """An endpoint as its row would be."""
    fields: dict[str, object] = {
        "meta": Meta(ENDPOINT, "11111111-0000-4000-8000-000000000000", 1, T0, T0),
        "initial_version": variants[-1].version,
        "initial_approval": f"{variants[-1].version}/approvals/a",
        "variants": tuple(variants),
        "policy": DecisionPolicy(positive_action="rebook", negative_action="none"),
    }
    return Endpoint(**{**fields, **changes})  # type: ignore[arg-type]


@dataclass
class MemoryFallbackMeter:
    """Counts by reason."""

    counts: dict[FallbackReason, int]

    def answered(self, reason: FallbackReason) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1

    def retire(self) -> None:
        pass


@dataclass
class DataPlane:
    """A host, a predictor and the folder whose bundles they can load."""

    root: Path
    host: ModelHost
    predictor: Predictor
    log: MemoryLog
    meters: MemoryMeters
    mirror: Mirror
    mirrored: Counter[Mirrored]

    async def serve(self, *variants: Variant, **changes: object) -> None:
        """Serve one endpoint with `variants` and wait until each is loaded or has failed."""
        self.host.apply([endpoint(variants, **changes)])
        async with asyncio.timeout(60):
            await self.host.settled()


@asynccontextmanager
async def data_plane(
    root: Path,
    runtimes: dict[Runtime, ModelRuntime] | None = None,
    max_rows: int = 1000,
    bundles: Bundles | None = None,
) -> AsyncIterator[DataPlane]:
    """Everything between the protocol and the model; bundles come from `root`/source, if unsaid."""
    ids = itertools.count()
    draws = itertools.count()
    log, meters = MemoryLog(), MemoryMeters()
    mirrored: Counter[Mirrored] = Counter()
    mirror = Mirror(log, lambda: 0.0, MirrorLimits(), lambda outcome: mirrored.update([outcome]))
    predictor = Predictor(
        log,
        mirror,
        max_rows=max_rows,
        new_id=lambda: f"generated-{next(ids)}",
        draw=lambda: (next(draws) % 100) / 100,
        now_us=lambda: time.time_ns() // 1000,
    )
    async with background_tasks() as tasks:
        own = OnnxRuntime(tasks, BatchLimits())
        host = ModelHost(
            bundles or BundleFolder(root / "cache", DirectoryBundleSource(root / "source")),
            {Runtime.ONNX_RUNTIME: own} if runtimes is None else runtimes,
            meters,
            predictor,
            tasks,
        )
        tasks.create_task(mirror.run())
        yield DataPlane(root, host, predictor, log, meters, mirror, mirrored)
    own.close()


@asynccontextmanager
async def oip_server(
    plane: DataPlane, native: bool = True, admission: Admission | None = None
) -> AsyncIterator[str]:
    """The data plane behind a real port; gives `host:port`."""
    admission = admission or Admission(max_calls_per_caller=1000, max_bytes=1 << 30)
    servicer = OipServicer(plane.predictor, lambda: plane.host.is_settled, admission)
    async with serving(
        "inference",
        "127.0.0.1:0",
        [
            (
                SERVICE,
                lambda server: register(servicer, server),
            )
        ],
        ServerLimits(deadline_exempt=(f"/{SERVICE}/",), drain_timeout_s=1.0),
        (INFER_PATH,) if native else (),
    ) as running:
        running.set_serving()
        yield f"127.0.0.1:{running.port}"
