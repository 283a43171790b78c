"""What serving needs from the outside; adapters implement it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.common.resources import Collection, Page, PageQuery
from services.inference.core.drills import RollbackDrill
from services.inference.core.endpoints import Endpoint
from services.inference.core.fallbacks import FallbackReason
from services.inference.core.policies import PolicyMove, PolicyVersion
from services.inference.core.rollouts import Judgement, Rollout
from services.inference.core.rows import Rows, Tensors
from services.inference.core.shadows import ShadowReport
from services.inference.core.signature import Signature

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A version's files on the local disk, each verified against its digest.

    Attributes:
        digest: `sha256:` + sha256 of the manifest.
        folder: Holds `model.onnx` and the other files; read-only by agreement.
    """

    version: str
    digest: str
    folder: Path
    signature: Signature


class BundleSource(Protocol):
    """Where bundles come from."""

    def read(self, version: str, path: str) -> AsyncIterator[bytes]:
        """The bytes of one file of a version's bundle, in order, unverified.

        Raises:
            NotFound: The version, or the file, doesn't exist.
            Unavailable: The source is away.
        """
        ...

    async def signature_of(self, version: str) -> bytes | None:
        """The signature over the version's manifest; None if it is unsigned.

        Raises:
            Unavailable: The source is away.
        """
        ...


class SignatureVerifier(Protocol):
    """Knows whose versions may be served. Blocks: call it in a thread."""

    def verify(self, version: str, manifest: bytes, signature: bytes) -> None:
        """Pass only a signature of the trusted key over this manifest of this version.

        Raises:
            WrongSigningKey: Another key made it.
            SignatureTampered: It is not as the key made it.
            SignatureOfAnotherVersion: It is of something else.
        """
        ...


class Bundles(Protocol):
    """Verified bundles."""

    async def fetch(self, version: str, digest: str) -> Bundle:
        """The bundle with `digest`, downloaded unless it is here already.

        Raises:
            BundleCorrupt: A file, or the manifest, does not match its digest.
            UnservableBundle: The bundle is intact but its signature can't be served.
            VersionUnsigned, WrongSigningKey, SignatureTampered, SignatureOfAnotherVersion:
                Its signature does not let this server serve it.
        """
        ...

    async def retain(self, digests: Iterable[str]) -> None:
        """Forget every bundle but these."""
        ...


@dataclass(slots=True)
class RunStatistics:
    """What a loaded model has run since it was loaded.

    Attributes:
        rows: Rows answered.
        failed_rows: Rows that the model refused, or could not run.
        busy_ns: Time spent running, summed over runs.
        last_run_ms: Milliseconds since the epoch; 0 before the first run.
    """

    runs: int = 0
    rows: int = 0
    failed_rows: int = 0
    busy_ns: int = 0
    last_run_ms: int = 0


class LoadedModel(Protocol):
    """A version that is ready to run. Safe for concurrent callers."""

    @property
    def statistics(self) -> RunStatistics:
        """Live counters, owned by the model."""
        ...

    @property
    def waiting_rows(self) -> int:
        """Rows that no run has taken yet."""
        ...

    @property
    def memory_bytes(self) -> int:
        """What loading it took, on the machine where it runs."""
        ...

    async def infer(self, rows: Rows, deadline: float | None) -> Tensors:
        """The model's outputs for exactly these rows, by name, each [rows, ...].

        Args:
            rows: Checked against the model's signature.
            deadline: `time.monotonic()` after which nobody waits for the answer.

        Raises:
            QueueFull: Too many rows wait.
            QueueDeadlineExceeded: The deadline passed in the queue.
            ModelUnavailable: The model can't run now.
            ModelFailed: The model refused these rows.
        """
        ...

    async def unload(self) -> None:
        """Answer what waits, then free the model. Later calls to `infer` are refused."""
        ...


class ModelRuntime(Protocol):
    """Runs models."""

    @property
    def platform(self) -> str:
        """Name of the platform, as the protocol's model metadata gives it."""
        ...

    async def load(self, bundle: Bundle) -> LoadedModel:
        """Load `bundle` beside whatever is loaded.

        Raises:
            UnservableBundle: The model is broken or contradicts its signature.
            ModelUnavailable: The runtime is away.
        """
        ...


SHADOW_SUFFIX: Final = "/shadow"
"""Marks the endpoint of observations that are of shadow traffic."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one request asked and was told.

    Attributes:
        prediction_id: Row i is observed as `{prediction_id}:{i}`.
        event_time_us: Microseconds since the epoch, UTC.
        endpoint: Resource name; with `SHADOW_SUFFIX` where nobody was told, so that it is
            kept beside what was served and never counts as that.
        variant: Resource name of the version that answered; '' if none did.
        scores: float32 [rows], probability of class 1.
        labels: int64 [rows], the decision.
        policy: Name of the policy version that decided.
        fallback: Why the endpoint's fallback answered; '' if it did not.
        latency_us: From the request to its answer, within this server; 0 if there is none.
        failed: Whether the version could not answer; the one row then stands for the request.
    """

    prediction_id: str
    event_time_us: int
    endpoint: str
    variant: str
    signature: Signature
    rows: Rows
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    policy: str
    fallback: str = ""
    latency_us: int = 0
    failed: bool = False


class ObservationLog(Protocol):
    """Keeps observations until the monitor has them."""

    def append(self, observation: Observation) -> None:
        """Keep `observation` where a kill of this process can't lose it. Never raises.

        Does not block longer than a write into the page cache. What can't be
        kept (the disk allowance is used up) is counted and alerted.
        """
        ...


class Outcome(StrEnum):
    """How a request ended, for metrics."""

    OK = "ok"
    INVALID = "invalid"
    OVERLOADED = "overloaded"
    EXPIRED = "expired"
    FAILED = "failed"


class Meter(Protocol):
    """Counts what one variant of one endpoint answers."""

    def answered(self, outcome: Outcome, seconds: float, size_bytes: int) -> None:
        """Count one request, of this size when serialized."""
        ...

    def out_of_range(self, values: int) -> None:
        """Count feature values outside what training saw."""
        ...

    def not_sampled(self, rows: int) -> None:
        """Count rows that were answered and, by the sample rate, not observed."""
        ...

    def retire(self) -> None:
        """Stop exporting this variant."""
        ...


class FallbackMeter(Protocol):
    """Counts what one endpoint's fallback answers."""

    def answered(self, reason: FallbackReason) -> None:
        """Count one request."""
        ...

    def retire(self) -> None:
        """Stop exporting this endpoint."""
        ...


class Meters(Protocol):
    """Makes meters."""

    def fallback_meter(self, endpoint: str) -> FallbackMeter:
        """A meter for the endpoint's fallback; the name becomes a metric label."""
        ...

    def meter(self, endpoint: str, variant: str, model: LoadedModel) -> Meter:
        """A meter for the variant; both names become metric labels.

        `model` is asked for its queue whenever metrics are read.
        """
        ...


class InferenceTx(Protocol):
    """One transaction over the service's rows."""

    @property
    def endpoints(self) -> Collection[Endpoint]:
        """Endpoints, under their projects."""
        ...

    @property
    def rollouts(self) -> Collection[Rollout]:
        """Rollouts, under their endpoints."""
        ...

    @property
    def policy_versions(self) -> Collection[PolicyVersion]:
        """Versions, under their policies."""
        ...

    @property
    def policy_moves(self) -> Collection[PolicyMove]:
        """What endpoints were pointed at, under the endpoints."""
        ...

    @property
    def drills(self) -> Collection[RollbackDrill]:
        """Drills, under their endpoints."""
        ...

    def running_drills(self) -> Sequence[RollbackDrill]:
        """Drills that are not over, oldest first."""
        ...

    @property
    def shadow_reports(self) -> Collection[ShadowReport]:
        """Reports of shadow phases, under their rollouts."""
        ...

    def all_endpoints(self) -> Sequence[Endpoint]:
        """The endpoints of all projects, oldest first."""
        ...

    def endpoint_with_id(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint with this id in whatever project."""
        ...

    def active_rollouts(self) -> Sequence[Rollout]:
        """Rollouts that are not over, oldest first."""
        ...

    def page_endpoints(self, query: PageQuery) -> Page[Endpoint]:
        """One page of a project's endpoints.

        Raises:
            InvalidFilter, InvalidOrder, InvalidPageToken: The query is wrong.
        """
        ...

    def page_drills(self, query: PageQuery) -> Page[RollbackDrill]:
        """One page of an endpoint's drills, newest first.

        Raises:
            InvalidFilter, InvalidOrder, InvalidPageToken: The query is wrong.
        """
        ...

    def page_rollouts(self, query: PageQuery) -> Page[Rollout]:
        """One page of an endpoint's rollouts, newest first.

        Raises:
            InvalidFilter, InvalidOrder, InvalidPageToken: The query is wrong.
        """
        ...

    def page_policy_versions(self, query: PageQuery) -> Page[PolicyVersion]:
        """One page of a policy's versions, newest first; of all of a project under `policies/-`.

        Raises:
            InvalidFilter, InvalidOrder, InvalidPageToken: The query is wrong.
        """
        ...

    def page_policy_moves(self, query: PageQuery) -> Page[PolicyMove]:
        """One page of what an endpoint was pointed at, newest first.

        Raises:
            InvalidPageToken: The query is wrong.
        """
        ...

    def emit(self, kind: str, subject: str, now: datetime, data: Mapping[str, str | float]) -> str:
        """Tell of a change in this transaction; gives the event's id."""
        ...


class Store(Protocol):
    """Runs transactions."""

    async def read(self, work: Callable[[InferenceTx], T]) -> T:
        """What `work` gives, from one consistent view."""
        ...

    async def write(self, work: Callable[[InferenceTx], T]) -> T:
        """What `work` gives, once its changes are durable; `work` may run more than once."""
        ...


class VersionCatalog(Protocol):
    """What the registry knows of versions."""

    async def digest_of(self, version: str) -> str:
        """Digest of a committed version's manifest.

        Raises:
            VersionNotServable: It is unknown or not committed.
        """
        ...

    async def check_approval(
        self, approval: str, version: str, *, digest: str, plan_digest: str
    ) -> None:
        """Pass if `approval` allows exactly these bytes now, by this plan.

        Raises:
            VersionNotApproved: It does not.
        """
        ...

    async def pin(self, endpoint: str, version: str) -> None:
        """Keep a version's bytes in the registry for an endpoint that is about to need them.

        Raises:
            VersionNotServable: They are gone.
        """
        ...

    async def move_alias(
        self, alias: str, to_version: str, *, expected: str, plan_digest: str, reason: str
    ) -> None:
        """Point `alias` at a version; nothing happens if it does already.

        Args:
            alias: Resource name.
            to_version: Where to.
            expected: Version that it must point at now, if it exists.
            plan_digest: Of the plan by which the version came.
            reason: For the record.

        Raises:
            AliasElsewhere: It points at another version.
            VersionNotApproved: It is protected, and the version is not approved.
        """
        ...


class Judge(Protocol):
    """Who compares versions on what came true."""

    async def judge(self, rollout: Rollout, since: datetime) -> Judgement:
        """The verdict on a rollout's version beside the previous one, as of now.

        Args:
            rollout: Names the endpoint and both versions, and says what its phase wants judged.
            since: Only predictions that arrived from then on, server clock.
        """
        ...
