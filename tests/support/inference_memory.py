"""The inference service's rows in memory, and fakes of its peers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from services.common.causality import causality
from services.common.criteria import Verdict
from services.common.errors import ServiceError
from services.common.resources import Page, PageQuery
from services.inference.core.batches import BatchPredictionJob
from services.inference.core.drills import DrillState, RollbackDrill
from services.inference.core.endpoints import ENDPOINT_NAME, Endpoint
from services.inference.core.errors import AliasElsewhere
from services.inference.core.policies import PolicyMove, PolicyVersion
from services.inference.core.ports import InferenceTx
from services.inference.core.rollouts import Judgement, Rollout
from services.inference.core.shadows import ShadowReport
from tests.support.registry_memory import MemoryCollection
from tests.support.serving import T0

T = TypeVar("T")


@dataclass(frozen=True)
class MemoryEvent:
    """What was told, and of what it follows."""

    id: str
    kind: str
    subject: str
    data: Mapping[str, str | float]
    correlation_id: str
    causation_id: str


class MemoryInferenceTx:
    """`InferenceTx` in memory."""

    def __init__(self) -> None:
        self.endpoints: MemoryCollection[Endpoint] = MemoryCollection()
        self.rollouts: MemoryCollection[Rollout] = MemoryCollection()
        self.policy_versions: MemoryCollection[PolicyVersion] = MemoryCollection()
        self.policy_moves: MemoryCollection[PolicyMove] = MemoryCollection()
        self.drills: MemoryCollection[RollbackDrill] = MemoryCollection()
        self.batch_jobs: MemoryCollection[BatchPredictionJob] = MemoryCollection()
        self.shadow_reports: MemoryCollection[ShadowReport] = MemoryCollection()
        self.events: list[MemoryEvent] = []
        self._ids = itertools.count()

    def all_endpoints(self) -> Sequence[Endpoint]:
        return list(self.endpoints._resources.values())

    def endpoint_with_id(self, endpoint_id: str) -> Endpoint | None:
        for endpoint in self.all_endpoints():
            if ENDPOINT_NAME.id_of(endpoint.name) == endpoint_id:
                return endpoint
        return None

    def active_rollouts(self) -> Sequence[Rollout]:
        return [each for each in self.rollouts._resources.values() if not each.is_over]

    def running_drills(self) -> Sequence[RollbackDrill]:
        drills = self.drills._resources.values()
        return [each for each in drills if each.state is DrillState.RUNNING]

    def unfinished_batch_jobs(self) -> Sequence[BatchPredictionJob]:
        return [each for each in self.batch_jobs.all() if not each.state.over]

    def page_batch_jobs(self, query: PageQuery) -> Page[BatchPredictionJob]:
        return Page(tuple(reversed(self.batch_jobs.under(query.parent))), "")

    def page_drills(self, query: PageQuery) -> Page[RollbackDrill]:
        return Page(tuple(reversed(self.drills.under(query.parent))), "")

    def page_endpoints(self, query: PageQuery) -> Page[Endpoint]:
        return Page(tuple(self.endpoints.under(query.parent)), "")

    def page_rollouts(self, query: PageQuery) -> Page[Rollout]:
        return Page(tuple(reversed(self.rollouts.under(query.parent))), "")

    def page_policy_versions(self, query: PageQuery) -> Page[PolicyVersion]:
        project, wildcard, rest = query.parent.partition("/policies/-")
        if wildcard and not rest:
            found = [
                each
                for each in self.policy_versions.all()
                if each.name.startswith(f"{project}/policies/")
            ]
        else:
            found = list(self.policy_versions.under(query.parent))
        return Page(tuple(reversed(found)), "")

    def page_policy_moves(self, query: PageQuery) -> Page[PolicyMove]:
        return Page(tuple(reversed(self.policy_moves.under(query.parent))), "")

    def emit(self, kind: str, subject: str, now: datetime, data: Mapping[str, str | float]) -> str:
        origin = causality()
        event = MemoryEvent(
            f"event-{next(self._ids)}",
            kind,
            subject,
            data,
            origin.correlation_id,
            origin.causation_id,
        )
        self.events.append(event)
        return event.id

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


class MemoryStore:
    """`Store` over one `MemoryInferenceTx`."""

    def __init__(self, tx: MemoryInferenceTx) -> None:
        self.tx = tx

    async def read(self, work: Callable[[InferenceTx], T]) -> T:
        return work(self.tx)

    async def write(self, work: Callable[[InferenceTx], T]) -> T:
        return work(self.tx)


@dataclass
class FakePeers:
    """The registry, the monitor, this process's loads and the clock, as a test sets them."""

    now: datetime = T0
    verdict: Verdict = Verdict.INCONCLUSIVE
    judge_error: ServiceError | None = None
    held_for: str = ""
    load: bool | ServiceError = True
    fails: bool = False
    aliases: dict[str, str] = field(default_factory=dict)
    registry_error: ServiceError | None = None
    asked: list[tuple[datetime, int]] = field(default_factory=list)

    def clock(self) -> datetime:
        return self.now

    def pass_time(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    def load_state(self, endpoint: Endpoint, digest: str) -> bool | ServiceError:
        return self.load

    def fails_often(self, endpoint: Endpoint, digest: str) -> bool:
        return self.fails

    async def digest_of(self, version: str) -> str:
        return "sha256:" + "0" * 64

    async def check_approval(
        self, approval: str, version: str, *, digest: str, plan_digest: str
    ) -> None:
        pass

    async def pin(self, endpoint: str, version: str) -> None:
        pass

    async def move_alias(
        self, alias: str, to_version: str, *, expected: str, plan_digest: str, reason: str
    ) -> None:
        if self.registry_error is not None:
            raise self.registry_error
        if self.aliases.get(alias, expected) not in (expected, to_version):
            raise AliasElsewhere(alias, self.aliases[alias])
        self.aliases[alias] = to_version

    async def judge(self, rollout: Rollout, since: datetime) -> Judgement:
        self.asked.append((since, rollout.phases[rollout.current_phase].min_outcomes))
        if self.judge_error is not None:
            raise self.judge_error
        return Judgement(self.verdict, "as the test says", {"p_value": 0.5})

    async def hold(self, endpoint: str) -> str:
        if self.judge_error is not None:
            raise self.judge_error
        return self.held_for
