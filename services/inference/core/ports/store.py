"""The service's rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from services.common.resources import Collection, Page, PageQuery
from services.inference.core.batches import BatchPredictionJob
from services.inference.core.drills import RollbackDrill
from services.inference.core.endpoints import Endpoint
from services.inference.core.policies import PolicyMove, PolicyVersion
from services.inference.core.rollouts import Rollout
from services.inference.core.shadows import ShadowReport

T = TypeVar("T")


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
    def batch_jobs(self) -> Collection[BatchPredictionJob]:
        """Batch prediction jobs, under their projects."""
        ...

    def unfinished_batch_jobs(self) -> Sequence[BatchPredictionJob]:
        """Jobs of all projects that are not over, oldest first."""
        ...

    def page_batch_jobs(self, query: PageQuery) -> Page[BatchPredictionJob]:
        """One page of a project's batch prediction jobs, newest first.

        Raises:
            InvalidFilter, InvalidOrder, InvalidPageToken: The query is wrong.
        """
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
