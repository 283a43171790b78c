"""Drives rollouts: loads, begins phases, asks for verdicts, promotes or rolls back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final, Protocol

import structlog

from services.common.causality import caused_by
from services.common.criteria import Verdict
from services.common.errors import FailedPrecondition, ServiceError, Unavailable
from services.inference.core.drilling import end_overdue
from services.inference.core.endpoints import Endpoint, model_of
from services.inference.core.ports import InferenceTx, Judge, Store, VersionCatalog
from services.inference.core.rollouts import (
    Judgement,
    Phase,
    PhaseKind,
    Rollout,
    ShadowPlan,
    State,
)
from services.inference.core.use_cases import control
from services.inference.core.use_cases.endpoints import get_endpoint
from services.inference.core.use_cases.shadows import get_shadow_report, judged

log = structlog.get_logger()

LOOK_S: Final = 0.3
"""Longest time between looks at the rollouts; a verdict of the monitor is as old at most."""


class Loads(Protocol):
    """What is loaded in this process."""

    def load_state(self, endpoint: Endpoint, digest: str) -> bool | ServiceError:
        """Whether the version is loaded and warm, or why its last attempt failed."""
        ...

    def fails_often(self, endpoint: Endpoint, digest: str) -> bool:
        """Whether the version fails on more rows than a healthy one could."""
        ...


class RolloutController:
    """One pass after another over the rollouts that are under way.

    Every step is one transaction that starts from the row, so a process that takes over
    goes on wherever the last one stopped.

    Args:
        store: The rows, guarded by the controller's lease.
        loads: This process's models.
        catalog: The registry.
        judge: The monitor.
        now: The clock.
    """

    def __init__(
        self,
        store: Store,
        loads: Loads,
        catalog: VersionCatalog,
        judge: Judge,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._loads = loads
        self._catalog = catalog
        self._judge = judge
        self._now = now

    async def run(self, written: asyncio.Event) -> None:
        """Drive rollouts until cancelled.

        Args:
            written: Set when this process has written: there may be a next step at once.
        """
        while True:
            written.clear()
            await self.pass_once()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await written.wait()

    async def pass_once(self) -> None:
        """Move each rollout one step, if it can move."""
        await end_overdue(self._store, self._now())
        for rollout, endpoint in await self._store.read(_under_way):
            with caused_by(rollout.correlation_id, rollout.causation_id):
                try:
                    await self._step(rollout, endpoint)
                except ServiceError as error:
                    # Tried again in the next pass.
                    log.warning("rollout.step_failed", rollout=rollout.name, reason=error.reason)

    async def _step(self, rollout: Rollout, endpoint: Endpoint) -> None:
        name, now = rollout.name, self._now()
        match rollout.state:
            case State.PENDING:
                await self._store.write(lambda tx: control.prepare(tx, name, now))
            case State.PREPARING:
                await self._start_if_loaded(rollout, endpoint)
            case State.RUNNING if rollout.has_passed:
                message = await self._move_alias(rollout, endpoint)
                await self._store.write(lambda tx: control.promote(tx, name, message, now))
            case State.RUNNING:
                await self._judge_phase(rollout, endpoint)
            case _:
                pass

    async def _start_if_loaded(self, rollout: Rollout, endpoint: Endpoint) -> None:
        name, now = rollout.name, self._now()
        loaded = self._loads.load_state(endpoint, rollout.digest)
        if loaded is True:
            if await self._is_held(rollout):
                return
            await self._store.write(lambda tx: control.start(tx, name, now))
            return
        is_late = rollout.deadline is not None and now >= rollout.deadline
        refused = isinstance(loaded, ServiceError) and not isinstance(loaded, Unavailable)
        if refused or is_late:
            message = str(loaded) if loaded else "the version did not load in time"
            await self._store.write(lambda tx: control.fail(tx, name, message, now))

    async def _judge_phase(self, rollout: Rollout, endpoint: Endpoint) -> None:
        phase = rollout.current_phase
        # What fails is answered by the stable version and so never reaches the monitor.
        if self._loads.fails_often(endpoint, rollout.digest):
            judgement = Judgement(Verdict.FAIL, "the version fails on rows that it should answer")
        else:
            judgement = await self._judgement(rollout)
        now = self._now()
        if judgement.verdict is Verdict.INCONCLUSIVE and (
            rollout.deadline is None or now < rollout.deadline
        ):
            if rollout.message:
                await self._is_held(rollout)
            return
        if rollout.phases[phase].ends_well(judgement.verdict) and await self._is_held(rollout):
            return
        await self._store.write(
            lambda tx: control.judge_phase(tx, rollout.name, phase, judgement, now)
        )

    async def _is_held(self, rollout: Rollout) -> bool:
        """Whether the next phase has to wait; the rollout says for what.

        A monitor that is away holds nothing: without its verdict no share of the traffic grows.
        """
        try:
            reason = await self._judge.hold(rollout.endpoint)
        except ServiceError as error:
            log.warning("rollout.hold_unknown", rollout=rollout.name, reason=error.reason)
            return False
        if reason != rollout.message:
            now = self._now()
            await self._store.write(lambda tx: control.wait(tx, rollout.name, reason, now))
        return bool(reason)

    async def _judgement(self, rollout: Rollout) -> Judgement:
        """The shadow report's word or the monitor's; while that is away there is no evidence."""
        phase = rollout.outcomes[-1]
        match rollout.phases[phase.phase]:
            case Phase(kind=PhaseKind.DARK):
                return Judgement(Verdict.INCONCLUSIVE, "nobody has ended it")
            case Phase(shadow=ShadowPlan() as plan):
                report = await self._store.read(
                    lambda tx: get_shadow_report(tx, rollout.shadow_report)
                )
                return judged(report, plan)
        try:
            return await self._judge.judge(rollout, phase.start_time)
        except ServiceError as error:
            log.warning("rollout.not_judged", rollout=rollout.name, reason=error.reason)
            return Judgement(Verdict.INCONCLUSIVE, f"the monitor could not be asked: {error}")

    async def _move_alias(self, rollout: Rollout, endpoint: Endpoint) -> str:
        """Point the endpoint's alias at the new version; gives what a person should know."""
        if not endpoint.alias:
            return ""
        alias = f"{model_of(rollout.version)}/aliases/{endpoint.alias}"
        try:
            await self._catalog.move_alias(
                alias,
                rollout.version,
                expected=rollout.previous_version,
                plan_digest=rollout.plan_digest,
                reason=f"rollout {rollout.name}",
            )
        except FailedPrecondition as error:
            log.error("rollout.alias_not_moved", rollout=rollout.name, exc_info=error)  # noqa: TRY400 - a person is needed, a trace is not
            return f"serving, but its alias was not moved: {error}"
        return ""


def _under_way(tx: InferenceTx) -> list[tuple[Rollout, Endpoint]]:
    return [(each, get_endpoint(tx, each.endpoint)) for each in tx.active_rollouts()]
