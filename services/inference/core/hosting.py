"""Keeps loaded what the endpoints hold, and serves exactly that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog

from services.common.errors import InvalidRequest, ServiceError
from services.inference.core.endpoints import Endpoint, Runtime
from services.inference.core.errors import ModelUnavailable
from services.inference.core.observing import ObservationRules
from services.inference.core.ports import Bundles, LoadedModel, Meters, ModelRuntime
from services.inference.core.rollouts import Phase
from services.inference.core.samples import check_answer, sample_rows
from services.inference.core.served import ServedVariant
from services.inference.core.serving import Predictor
from services.inference.core.serving_table import Hosted, HostKey, ServingTable, mismatch
from services.inference.core.signature import Signature
from services.inference.core.two_classes import check_endpoint, check_phases

log = structlog.get_logger()

_WARM_UP_ROWS: Final = (1, 1, 8)
_FIRST_RETRY_S: Final = 0.5
_LAST_RETRY_S: Final = 30.0
_MIN_FAILED_ROWS: Final = 10
_MAX_FAILED_SHARE: Final = 0.01


class ModelHost:
    """Loads versions beside the old ones, warms them up, then lets traffic in.

    A version that can't be loaded is tried again, with growing pauses, for as
    long as an endpoint holds it.

    Args:
        bundles: Verified bundles.
        runtimes: Those that this server is configured with.
        meters: One per variant of an endpoint.
        predictor: Gets the new table whenever something changed.
        tasks: Holds loads and unloads.
        redaction_key: Of the digests that stand for redacted texts; empty: they are dropped.
    """

    def __init__(
        self,
        bundles: Bundles,
        runtimes: Mapping[Runtime, ModelRuntime],
        meters: Meters,
        predictor: Predictor,
        tasks: asyncio.TaskGroup,
        redaction_key: bytes = b"",
    ) -> None:
        self._redaction_key = redaction_key
        self._bundles = bundles
        self._runtimes = runtimes
        self._predictor = predictor
        self._tasks = tasks
        self._endpoints: Sequence[Endpoint] = ()
        self._hosted: dict[HostKey, Hosted] = {}
        self._loading: dict[HostKey, asyncio.Task[None]] = {}
        self._failures: dict[HostKey, ServiceError] = {}
        self._trials: list[HostKey] = []
        self._table = ServingTable(self._hosted, meters, redaction_key)
        self._applied = False
        self._changed = asyncio.Event()

    def apply(self, endpoints: Sequence[Endpoint]) -> None:
        """Serve `endpoints` with what is loaded, and start loading what is missing.

        Takes effect for the next request: new weights never wait for a load.
        """
        self._endpoints = endpoints
        self._applied = True
        wanted = {
            (each.runtime, variant.digest): variant.version
            for each in endpoints
            for variant in each.held
        }
        self._publish()
        for key in self._loading.keys() - wanted.keys():
            self._loading.pop(key).cancel()
        for key in self._failures.keys() - wanted.keys():
            del self._failures[key]
        for key in self._hosted.keys() - wanted.keys() - set(self._trials):
            self._tasks.create_task(self._unload(self._hosted.pop(key)))
        for key in wanted.keys() - self._hosted.keys() - self._loading.keys():
            task = self._tasks.create_task(self._keep_loading(wanted[key], key))
            self._loading[key] = task

    @property
    def is_settled(self) -> bool:
        """Whether every version with a share of traffic is loaded, or has failed to load."""
        return self._applied and all(
            key in self._hosted or key in self._failures
            for endpoint in self._endpoints
            for variant in endpoint.variants
            if variant.weight_bp and (key := (endpoint.runtime, variant.digest))
        )

    async def settled(self) -> None:
        """Return once `is_settled`."""
        while not self.is_settled:
            await self._changed.wait()

    def load_state(self, endpoint: Endpoint, digest: str) -> bool | ServiceError:
        """Whether the version is loaded and warm, or why it can't serve at `endpoint`."""
        hosted = self._hosted.get((endpoint.runtime, digest))
        if hosted is None:
            return self._failures.get((endpoint.runtime, digest), False)
        try:
            check_endpoint(endpoint, hosted.bundle.signature)
        except InvalidRequest as refusal:
            return refusal
        stable = self._hosted.get((endpoint.runtime, endpoint.stable.digest))
        if stable is None:
            return True
        return mismatch(stable.bundle, hosted.bundle) or True

    def memory_bytes(self, endpoint: Endpoint, digest: str) -> int:
        """Memory that loading the version took; 0 while it is not loaded."""
        hosted = self._hosted.get((endpoint.runtime, digest))
        return 0 if hosted is None else hosted.model.memory_bytes

    def fails_often(self, endpoint: Endpoint, digest: str) -> bool:
        """Whether the version fails on more rows than a healthy one could."""
        hosted = self._hosted.get((endpoint.runtime, digest))
        if hosted is None:
            return False
        run = hosted.model.statistics
        return run.failed_rows >= _MIN_FAILED_ROWS and run.failed_rows > _MAX_FAILED_SHARE * (
            run.failed_rows + run.rows
        )

    async def loaded(self, endpoint: Endpoint) -> None:
        """Return once every version of `endpoint` that gets traffic is loaded or has failed.

        Returns too when the endpoint is no longer served.
        """
        while any(each.name == endpoint.name for each in self._endpoints) and any(
            self.load_state(endpoint, variant.digest) is False
            for variant in endpoint.variants
            if variant.weight_bp
        ):
            await self._changed.wait()

    def check_rules(self, runtime: Runtime, digest: str, rules: ObservationRules) -> None:
        """Pass if `rules` can be kept for the version that is loaded with this digest.

        Raises:
            InvalidObservationRules, RedactionKeyMissing: They can't.
            ModelUnavailable: The version is not loaded, so that nobody knows.
        """
        hosted = self._hosted.get((runtime, digest))
        if hosted is None:
            raise ModelUnavailable(digest, "is not loaded; its inputs are not known yet")
        rules.check(hosted.bundle.signature, has_key=bool(self._redaction_key))

    def check_classes(self, endpoint: Endpoint, digest: str) -> None:
        """Pass if `endpoint` asks nothing that the version loaded with this digest can't have.

        While it is not loaded nobody knows: it then passes, and is not ready once it is.

        Raises:
            InvalidRequest: Naming each field that takes two classes of a model that has others.
        """
        if (hosted := self._hosted.get((endpoint.runtime, digest))) is not None:
            check_endpoint(endpoint, hosted.bundle.signature)

    def check_phases(self, endpoint: Endpoint, phases: Sequence[Phase]) -> None:
        """Pass if versions like the stable one of `endpoint` can go through `phases`.

        Raises:
            InvalidRequest: As `check_classes`.
        """
        hosted = self._hosted.get((endpoint.runtime, endpoint.stable.digest))
        if hosted is not None:
            check_phases(phases, hosted.bundle.signature)

    def offers(self, runtime: Runtime) -> bool:
        """Whether this server is configured with `runtime`."""
        return runtime in self._runtimes

    @asynccontextmanager
    async def on_trial(self, runtime: Runtime, version: str, digest: str) -> AsyncIterator[None]:
        """Hold a version loaded for the block, whether or not an endpoint holds it.

        Raises:
            ServiceError: It can't be served, and why.
        """
        key = (runtime, digest)
        self._trials.append(key)
        try:
            if key not in self._hosted:
                hosted = await self._load(version, key)
                if key in self._hosted:
                    await hosted.model.unload()
                else:
                    self._hosted[key] = hosted
            yield
        finally:
            self._trials.remove(key)
            self.apply(self._endpoints)

    def close(self) -> None:
        """Stop loading and unload everything, after what waits is answered."""
        self.apply(())

    async def _keep_loading(self, version: str, key: HostKey) -> None:
        pause_s = _FIRST_RETRY_S
        while (hosted := await self._attempt(version, key)) is None:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_RETRY_S)
        del self._loading[key]
        self._failures.pop(key, None)
        self._hosted[key] = hosted
        self._publish()
        log.info("model.loaded", version=version, digest=hosted.bundle.digest)

    async def _attempt(self, version: str, key: HostKey) -> Hosted | None:
        try:
            return await self._load(version, key)
        except ServiceError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - one version's bug must not stop the others
            failure = ModelUnavailable(version, f"{type(error).__name__}: {error}")
            failure.__cause__ = error
        self._failures[key] = failure
        self._announce()
        log.error("model.load_failed", version=version, reason=failure.reason, exc_info=failure)
        return None

    async def _load(self, version: str, key: HostKey) -> Hosted:
        runtime, digest = key
        bundle = await self._bundles.fetch(version, digest)
        model = await self._runtimes[runtime].load(bundle)
        try:
            for count in _WARM_UP_ROWS:
                await _probe(model, bundle.signature, count)
        except BaseException:
            await model.unload()
            raise
        return Hosted(bundle, model)

    async def _unload(self, hosted: Hosted) -> None:
        await hosted.model.unload()
        held = (*self._hosted, *self._loading, *self._trials)
        await self._bundles.retain({digest for _, digest in held})
        log.info("model.unloaded", version=hosted.bundle.version, digest=hosted.bundle.digest)

    def _publish(self) -> None:
        self._predictor.publish(self._table.build(self._endpoints))
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def probe(served: ServedVariant) -> None:
    """Run a real inference on made-up rows.

    Raises:
        ServiceError: The model does not answer as its signature promises.
    """
    await _probe(served.model, served.signature, 1)


async def _probe(model: LoadedModel, signature: Signature, count: int) -> None:
    outputs = await model.infer(sample_rows(signature, count), None)
    check_answer(signature, outputs, count)
