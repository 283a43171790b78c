"""What the controller does to rollouts, one transaction per step."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from services.common.criteria import Verdict
from services.inference.core.ports import InferenceTx
from services.inference.core.rollouts import Judgement, OnInconclusive, Rollout, State
from services.inference.core.use_cases.endpoints import get_endpoint
from services.inference.core.use_cases.rollouts import (
    begin_phase,
    get_rollout,
    pass_phase,
    store,
    succeed,
    told,
    withdraw,
)

PREPARATION_LIMIT: Final = timedelta(minutes=10)
"""Longest wait for a version to load; the largest bundle downloads in far less."""


def prepare(tx: InferenceTx, name: str, now: datetime) -> None:
    """Have the version loaded beside the old one, without traffic."""
    rollout = get_rollout(tx, name)
    if rollout.state is not State.PENDING:
        return
    endpoint = get_endpoint(tx, rollout.endpoint)
    tx.endpoints.replace(endpoint.with_candidate(rollout.candidate(), 0, now))
    preparing = rollout.preparing(now + PREPARATION_LIMIT)
    store(tx, told(tx, preparing, "rollout.preparing", now), now)


def start(tx: InferenceTx, name: str, now: datetime) -> None:
    """Begin the first phase: the version is loaded and warm."""
    rollout = get_rollout(tx, name)
    if rollout.state is State.PREPARING:
        begin_phase(tx, rollout, now)


def wait(tx: InferenceTx, name: str, reason: str, now: datetime) -> None:
    """Say what keeps the next phase from beginning; empty: nothing does any more."""
    rollout = get_rollout(tx, name)
    is_waiting = rollout.state in (State.PREPARING, State.RUNNING) and not rollout.has_passed
    if not is_waiting or rollout.message == reason:
        return
    waiting = told(
        tx,
        replace(rollout, message=reason),
        "rollout.waits" if reason else "rollout.goes_on",
        now,
        reason=reason,
    )
    store(tx, waiting, now)


def fail(tx: InferenceTx, name: str, message: str, now: datetime) -> None:
    """End a rollout whose version could not be served; traffic never moved."""
    rollout = get_rollout(tx, name)
    if rollout.state is not State.PREPARING:
        return
    withdraw(tx, rollout, now)
    failed = rollout.moved_to(State.FAILED, message)
    store(tx, told(tx, failed, "rollout.failed", now, reason=message), now)


def judge_phase(
    tx: InferenceTx, name: str, phase: int, judgement: Judgement, now: datetime
) -> None:
    """End `phase` as judged: go on, hold, or give all traffic back at once.

    A judgement of a phase that is over meanwhile changes nothing.
    """
    rollout = get_rollout(tx, name)
    if not _is_in(rollout, phase):
        return
    planned = rollout.phases[phase]
    if planned.ends_well(judgement.verdict):
        pass_phase(tx, rollout, judgement, now)
        return
    if judgement.verdict is Verdict.INCONCLUSIVE and planned.on_inconclusive is OnInconclusive.HOLD:
        held = rollout.held(judgement, now)
        store(tx, told(tx, held, "rollout.paused", now, reason=judgement.reason), now)
        return
    withdraw(tx, rollout, now)
    ended = rollout.phase_ended(judgement, now)
    message = f"phase {phase} was {judgement.verdict}: {judgement.reason}"
    back = ended.moved_to(State.ROLLED_BACK, message)
    store(tx, told(tx, back, "rollout.rolled_back", now, reason=message), now)


def promote(tx: InferenceTx, name: str, message: str, now: datetime) -> None:
    """Make the version the stable one; the old one stays loaded to go back to."""
    rollout = get_rollout(tx, name)
    if rollout.state is not State.RUNNING or not rollout.has_passed:
        return
    succeed(tx, rollout, message, now)


def _is_in(rollout: Rollout, phase: int) -> bool:
    return (
        rollout.state is State.RUNNING and rollout.current_phase == phase and not rollout.has_passed
    )
