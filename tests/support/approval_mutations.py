"""Mutations of an approval, and the reason that each must be refused with.

A case walks an approval to its decision or to its use at a real registry, changes what the
case says on the way, and names the reason expected by an oracle that knows only the documented
order of the checks.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from roundhouse.registry.v1 import (
    evaluation_pb2,
    evaluation_service_pb2,
    model_pb2,
    model_service_pb2,
)

from services.common.rpc.convert import to_timestamp
from tests.support.calls import TIMEOUT_S, Refusal, refused, request_id
from tests.support.registry_api import BUNDLE, RegistryCaller, digest_of, running_registry
from tests.support.registry_memory import EPOCH

ACCEPTED = ""
CASES_PER_MODEL = 20
_APPROVERS = ("bob", "eve")
_PLAN = digest_of(b"five, fifty, all")
_Decision = evaluation_service_pb2.DecideApprovalRequest


class Change(StrEnum):
    """What differs from the way that is accepted."""

    OTHER_ARTIFACT = "another artifact"
    OTHER_EVIDENCE = "other evidence seen"
    NEW_EVIDENCE = "gate evaluated again"
    OTHER_PLAN = "another plan"
    NO_PLAN = "no plan"
    SELF = "requester as approver"
    STRANGER = "approver who is not listed"
    EXPIRED = "too late"
    REJECTED = "rejected before"
    APPROVED = "approved before"


class Door(StrEnum):
    """Where the approval is put to use."""

    DECIDE = "DecideApproval"
    CHECK = "CheckApproval"
    MOVE_NAMED = "MoveAliases naming it"
    MOVE = "MoveAliases"


POSSIBLE = {
    Door.DECIDE: set(Change) - {Change.NO_PLAN},
    Door.CHECK: set(Change) - {Change.OTHER_EVIDENCE, Change.SELF, Change.APPROVED},
    Door.MOVE_NAMED: set(Change) - {Change.OTHER_EVIDENCE, Change.SELF, Change.APPROVED},
    Door.MOVE: set(Change)
    - {Change.OTHER_EVIDENCE, Change.SELF, Change.APPROVED, Change.OTHER_ARTIFACT},
}
_EXCLUSIVE = (
    {Change.OTHER_PLAN, Change.NO_PLAN},
    {Change.SELF, Change.STRANGER},
    {Change.REJECTED, Change.APPROVED},
)


@dataclass(frozen=True)
class Case:
    """One way of an approval."""

    door: Door
    changes: frozenset[Change]

    def expected(self) -> str:
        """The reason that it must be refused with; `ACCEPTED` for none."""
        return next((reason for change, reason in _ORDER[self.door] if change in self.changes), "")


_USE_ORDER = (
    (Change.REJECTED, "APPROVAL_REJECTED"),
    (Change.EXPIRED, "APPROVAL_EXPIRED"),
    (Change.STRANGER, "APPROVER_NOT_ALLOWED"),
    (Change.OTHER_ARTIFACT, "APPROVAL_ARTIFACT_CHANGED"),
    (Change.NEW_EVIDENCE, "APPROVAL_EVIDENCE_CHANGED"),
    (Change.OTHER_PLAN, "APPROVAL_PLAN_CHANGED"),
    (Change.NO_PLAN, "APPROVAL_PLAN_CHANGED"),
)
_ORDER = {
    Door.DECIDE: (
        (Change.REJECTED, "APPROVAL_CLOSED"),
        (Change.EXPIRED, "APPROVAL_EXPIRED"),
        (Change.APPROVED, "APPROVAL_CLOSED"),
        (Change.SELF, "SELF_APPROVAL"),
        (Change.STRANGER, "APPROVER_NOT_ALLOWED"),
        (Change.OTHER_ARTIFACT, "APPROVAL_ARTIFACT_CHANGED"),
        (Change.OTHER_EVIDENCE, "APPROVAL_EVIDENCE_CHANGED"),
        (Change.OTHER_PLAN, "APPROVAL_PLAN_CHANGED"),
        (Change.NEW_EVIDENCE, "APPROVAL_EVIDENCE_CHANGED"),
    ),
    Door.CHECK: _USE_ORDER,
    Door.MOVE_NAMED: _USE_ORDER,
    Door.MOVE: _USE_ORDER,
}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """One change mostly, sometimes none or several at once."""
    door = draw(st.sampled_from(Door))
    size = draw(st.sampled_from((0, 1, 1, 1, 1, 2, 2, 3, 4)))
    chosen: set[Change] = set()
    for change in draw(st.permutations(sorted(POSSIBLE[door])))[:size]:
        if not any(change in pair and chosen & pair for pair in _EXCLUSIVE):
            chosen.add(change)
    return Case(door, frozenset(chosen))


@dataclass
class Way:
    """A model with two versions, on which cases are tried one after another."""

    caller: RegistryCaller
    model: str
    version: str
    other: str
    snapshot: str
    clock: Clock
    alias_at: str = ""
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def outcome(self, case: Case) -> str:
        """The reason that the case is refused with, after the registry was left as it was."""
        await self._approvers(_APPROVERS)
        gate = await self._gate()
        approval = await self.caller.ask(
            self.version,
            gate.name,
            plan_digest=_PLAN,
            expire_time=to_timestamp(self.clock.now + timedelta(hours=1)),
        )
        if case.door is Door.DECIDE:
            return await self._decide(case, approval)
        return await self._use(case, approval)

    async def _decide(self, case: Case, approval: evaluation_pb2.Approval) -> str:
        for change, decision in (
            (Change.REJECTED, _Decision.DECISION_REJECT),
            (Change.APPROVED, _Decision.DECISION_APPROVE),
        ):
            if change in case.changes:
                await self.caller.decide(approval.name, decision=decision)
        before = await self._stored(approval.name) if Change.EXPIRED not in case.changes else None
        await self._disturb(case)
        seen = {
            "artifact_digest": Change.OTHER_ARTIFACT,
            "evidence_digest": Change.OTHER_EVIDENCE,
            "plan_digest": Change.OTHER_PLAN,
        }
        call = self.caller.decide(
            approval.name,
            "ann" if Change.SELF in case.changes else self._approver(case),
            **{
                name: digest_of(name.encode())
                if change in case.changes
                else getattr(approval, name)
                for name, change in seen.items()
            },
        )
        if not case.changes:
            assert (await call).state == evaluation_pb2.Approval.STATE_APPROVED
            return ACCEPTED
        with refused() as refusal:
            await call
        assert before is None or await self._stored(approval.name) == before
        return refusal.reason

    async def _use(self, case: Case, approval: evaluation_pb2.Approval) -> str:
        is_rejected = Change.REJECTED in case.changes
        await self.caller.decide(
            approval.name,
            decision=_Decision.DECISION_REJECT if is_rejected else _Decision.DECISION_APPROVE,
        )
        if Change.STRANGER in case.changes:
            await self._approvers(("eve",))
        await self._disturb(case)
        is_other = Change.OTHER_ARTIFACT in case.changes
        version = self.other if is_other else self.version
        plan = _PLAN
        if Change.OTHER_PLAN in case.changes:
            plan = digest_of(b"all at once")
        elif Change.NO_PLAN in case.changes:
            plan = ""
        if case.door is Door.CHECK:
            call = self.caller.evaluations.CheckApproval(
                evaluation_service_pb2.CheckApprovalRequest(
                    name=approval.name,
                    version=self.version,
                    artifact_digest=digest_of(b"x") if is_other else approval.artifact_digest,
                    plan_digest=plan,
                ),
                timeout=TIMEOUT_S,
            )
        else:
            named = approval.name if case.door is Door.MOVE_NAMED else ""
            call = self._move(version, named, plan)
        if not case.changes:
            await call
            if case.door is not Door.CHECK:
                self.alias_at = version
            return ACCEPTED
        with refused() as refusal:
            await call
        assert await self._alias() == self.alias_at
        return _reason_about(approval.name, refusal)

    async def _disturb(self, case: Case) -> None:
        if Change.NEW_EVIDENCE in case.changes:
            await self._gate()
        if Change.EXPIRED in case.changes:
            self.clock.now += timedelta(hours=1)

    def _approver(self, case: Case) -> str:
        return "mallory" if Change.STRANGER in case.changes else "bob"

    async def _gate(self) -> evaluation_pb2.GateResult:
        """Of an evaluation on rows that nobody has seen."""
        rows = f"{self.version} {next(self.numbers)}".encode()
        scored = await self.caller.evaluate(self.version, self.snapshot, rows=rows, auc=0.7)
        return await self.caller.gate(scored.name)

    async def _approvers(self, names: tuple[str, ...]) -> None:
        await self.caller.models.UpdateModel(
            model_service_pb2.UpdateModelRequest(
                model=model_pb2.Model(name=self.model, promotion_policy=_policy(names)),
                update_mask={"paths": ["promotion_policy"]},
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )

    async def _stored(self, name: str) -> evaluation_pb2.Approval:
        return await self.caller.evaluations.GetApproval(
            evaluation_service_pb2.GetApprovalRequest(name=name), timeout=TIMEOUT_S
        )

    async def _move(
        self, version: str, approval: str, plan: str
    ) -> model_service_pb2.MoveAliasesResponse:
        request = model_service_pb2.MoveAliasesRequest
        move = request.Move(
            alias=f"{self.model}/aliases/champion",
            to_version=version,
            expected_version=self.alias_at,
            approval=approval,
            plan_digest=plan,
        )
        return await self.caller.models.MoveAliases(
            request(moves=[move], actor="ann", request_id=request_id()), timeout=TIMEOUT_S
        )

    async def _alias(self) -> str:
        listed = await self.caller.models.ListAliases(
            model_service_pb2.ListAliasesRequest(parent=self.model), timeout=TIMEOUT_S
        )
        return next((alias.version for alias in listed.aliases), "")


@dataclass
class Clock:
    """The registry's time, which a case lets pass."""

    now: datetime = EPOCH

    def __call__(self) -> datetime:
        return self.now


def _policy(approvers: tuple[str, ...]) -> model_pb2.PromotionPolicy:
    return model_pb2.PromotionPolicy(
        protected_aliases=["champion"], approvers=approvers, requires_plan=True
    )


def _reason_about(approval: str, refusal: Refusal) -> str:
    """The refusal's reason; where it speaks of several approvals, that about this one."""
    if refusal.reason != "APPROVAL_REQUIRED":
        return refusal.reason
    violations = refusal.details["PreconditionFailure"].violations
    return next(each.type for each in violations if each.subject == approval)


@asynccontextmanager
async def _ways(folder: Path) -> AsyncIterator[AsyncIterator[Way]]:
    """A way for each case, on a new model now and then."""
    clock = Clock()
    async with running_registry(folder, now=clock) as caller:
        snapshot = await caller.sealed_snapshot()

        async def ways() -> AsyncIterator[Way]:
            for number in itertools.count():
                model = await caller.create_model(
                    f"delays-{number}", promotion_policy=_policy(_APPROVERS)
                )
                version, other = [
                    await caller.ready_version(model, {"card.md": name, **BUNDLE})
                    for name in (b"one", b"two")
                ]
                way = Way(caller, model, version, other, snapshot, clock)
                for _ in range(CASES_PER_MODEL):
                    yield way

        yield ways()


def prove_cases(folder: Path, examples: int) -> Counter[tuple[str, str]]:
    """How many cases of each (change or number of changes, reason) were answered as expected.

    Args:
        folder: For the registry's data.
        examples: Cases to try, drawn by hypothesis.

    Raises:
        AssertionError: One was answered otherwise; hypothesis names the smallest.
    """
    answered: Counter[tuple[str, str]] = Counter()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        ways = runner.run(stack.enter_async_context(_ways(folder)))

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(cases())
        def answer_as_expected(case: Case) -> None:
            async def outcome() -> str:
                return await (await anext(ways)).outcome(case)

            reason = runner.run(outcome())
            assert reason == case.expected(), f"{case}: {reason} and not {case.expected()}"
            changes = sorted(case.changes)
            label = changes[0] if len(changes) == 1 else f"{len(changes)} changes"
            answered[(label, reason)] += 1

        try:
            answer_as_expected()
        finally:
            runner.run(stack.aclose())
    return answered
