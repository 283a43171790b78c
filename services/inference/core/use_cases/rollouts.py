"""What people do to rollouts."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from services.common.causality import caused_by
from services.common.criteria import Verdict
from services.common.resources import Meta
from services.inference.core.endpoints import Endpoint
from services.inference.core.errors import (
    IllegalRolloutMove,
    InvalidPhases,
    NothingToRollBackTo,
    RolloutExists,
    RolloutNotFound,
)
from services.inference.core.plans import AT_ONCE, plan_digest
from services.inference.core.ports import InferenceTx
from services.inference.core.rollouts import Judgement, Phase, Rollout, State, check_phases
from services.inference.core.routing import WHOLE_BP
from services.inference.core.shadows import Shadow, ShadowReport
from services.inference.core.use_cases.endpoints import (
    active_rollout,
    get_endpoint,
    require_no_active_rollout,
)

BY_HAND: Final = "ended by hand"


@dataclass(frozen=True, slots=True)
class NewRollout:
    """What a rollout is created from.

    Attributes:
        digest: Of the version's manifest, which the approval covers.
        correlation_id: Episode of the caller.
        causation_id: Event that made the caller act.
    """

    meta: Meta
    endpoint: str
    version: str
    digest: str
    approval: str
    phases: tuple[Phase, ...]
    correlation_id: str
    causation_id: str


def create_rollout(tx: InferenceTx, new: NewRollout) -> Rollout:
    """Store a rollout for the controller to pick up.

    Raises:
        EndpointNotFound: There is no such endpoint.
        RolloutExists: The id is taken.
        RolloutInProgress: Another one of the endpoint is under way.
        InvalidPhases: The phases do not lead to the whole traffic, or the version serves already.
    """
    endpoint = get_endpoint(tx, new.endpoint)
    if tx.rollouts.get(new.meta.name) is not None:
        raise RolloutExists(new.meta.name)
    require_no_active_rollout(tx, new.endpoint)
    check_phases(new.phases)
    if endpoint.stable.version == new.version:
        raise InvalidPhases(f"{new.version} has the whole traffic already")
    rollout = Rollout(
        meta=new.meta,
        endpoint=new.endpoint,
        version=new.version,
        digest=new.digest,
        approval=new.approval,
        phases=new.phases,
        previous_version=endpoint.stable.version,
        correlation_id=new.correlation_id,
        causation_id=new.causation_id,
    )
    rollout = told(tx, rollout, "rollout.created", new.meta.create_time)
    tx.rollouts.add(rollout)
    return rollout


def get_rollout(tx: InferenceTx, name: str) -> Rollout:
    """The rollout called `name`.

    Raises:
        RolloutNotFound: There is none.
    """
    rollout = tx.rollouts.get(name)
    if rollout is None:
        raise RolloutNotFound(name)
    return rollout


def advance_rollout(tx: InferenceTx, name: str, etag: str, now: datetime) -> Rollout:
    """End the present phase as passed and begin the next, if there is one.

    Raises:
        RolloutNotFound, EtagMismatch, IllegalRolloutMove: It can't.
    """
    rollout = _fresh(tx, name, etag)
    return pass_phase(tx, rollout, Judgement(Verdict.PASS, BY_HAND), now)


def pause_rollout(tx: InferenceTx, name: str, etag: str, now: datetime) -> Rollout:
    """Hold the rollout with its weights as they are.

    Raises:
        RolloutNotFound, EtagMismatch, IllegalRolloutMove: It can't.
    """
    return store(tx, told(tx, _fresh(tx, name, etag).paused(now), "rollout.paused", now), now)


def resume_rollout(tx: InferenceTx, name: str, etag: str, now: datetime) -> Rollout:
    """Go on with a paused rollout.

    Raises:
        RolloutNotFound, EtagMismatch, IllegalRolloutMove: It can't.
    """
    return store(tx, told(tx, _fresh(tx, name, etag).resumed(now), "rollout.resumed", now), now)


def cancel_rollout(tx: InferenceTx, name: str, etag: str, reason: str, now: datetime) -> Rollout:
    """End the rollout and give all traffic back to the old version at once.

    Raises:
        RolloutNotFound, EtagMismatch, IllegalRolloutMove: It can't.
    """
    rollout = _fresh(tx, name, etag)
    if rollout.has_passed:
        raise IllegalRolloutMove(name, "being promoted", State.CANCELLED)
    cancelled = rollout.moved_to(State.CANCELLED, reason or "cancelled")
    withdraw(tx, rollout, now)
    return store(tx, told(tx, cancelled, "rollout.cancelled", now), now)


def rollback_endpoint(tx: InferenceTx, meta: Meta, endpoint: str, reason: str) -> Rollout:
    """Bring the version back at once that served before, whatever is under way.

    Args:
        tx: The transaction.
        meta: Identity of the rollout that undoes; its times are now.
        endpoint: Resource name.
        reason: For the record.

    Returns:
        A rollout whose phases are over; or the one that was under way, cancelled, which
        gives the traffic back to the version that it was to take it from.

    Raises:
        EndpointNotFound: There is no such endpoint.
        NothingToRollBackTo: No earlier version is held.
    """
    now = meta.create_time
    active = active_rollout(tx, get_endpoint(tx, endpoint).name)
    if active is not None:
        if not active.has_passed:
            return cancel_rollout(tx, active.name, "", reason, now)
        _cut_short(tx, active, now)
    before = get_endpoint(tx, endpoint)
    return _undo(tx, meta, before, before.rolled_back(now), reason)


def swap_back(tx: InferenceTx, meta: Meta, endpoint: str, reason: str) -> Rollout:
    """Bring the previous version back, and keep the present one to go forth again.

    Raises:
        NothingToRollBackTo: No earlier version is held.
    """
    active = active_rollout(tx, endpoint)
    if active is not None and active.has_passed:
        _cut_short(tx, active, meta.create_time)
    before = get_endpoint(tx, endpoint)
    return _undo(tx, meta, before, before.swapped(meta.create_time), reason)


def _cut_short(tx: InferenceTx, active: Rollout, now: datetime) -> None:
    """Have a rollout done whose promotion waits: who is called at night can't wait for it."""
    passed = active.resumed(now) if active.state is State.PAUSED else active
    succeed(tx, passed, "rolled back before its alias was seen to be moved", now)


def _undo(tx: InferenceTx, meta: Meta, before: Endpoint, after: Endpoint, reason: str) -> Rollout:
    """Store `after`, and a rollout with its phases over that says so."""
    now = meta.create_time
    undone = _latest_success(tx, before)
    approval, plan = _allowed_by(tx, after)
    rollout = Rollout(
        meta=meta,
        endpoint=after.name,
        version=after.stable.version,
        digest=after.stable.digest,
        approval=approval,
        phases=(Phase(WHOLE_BP, 0, timedelta(days=1)),),
        previous_version=before.stable.version,
        state=State.RUNNING,
        message=reason,
        rollback_of=undone.name,
        restored_plan=plan,
        correlation_id=undone.correlation_id,
        causation_id=undone.causation_id,
    ).phase_begun(now)
    passed = rollout.phase_ended(Judgement(Verdict.PASS, reason), now)
    tx.endpoints.replace(after)
    store(tx, replace(undone, rolled_back_by=meta.name), now)
    created = told(tx, passed, "rollout.created", now)
    tx.rollouts.add(created)
    return created


def succeed(tx: InferenceTx, rollout: Rollout, message: str, now: datetime) -> Rollout:
    """Make the version the stable one; the old one stays loaded to go back to."""
    endpoint = get_endpoint(tx, rollout.endpoint)
    if endpoint.stable.version != rollout.version:
        tx.endpoints.replace(endpoint.promoted(rollout.candidate(), now))
    succeeded = rollout.moved_to(State.SUCCEEDED, message or rollout.message)
    return store(tx, told(tx, succeeded, "rollout.succeeded", now), now)


def pass_phase(tx: InferenceTx, rollout: Rollout, judgement: Judgement, now: datetime) -> Rollout:
    """End the present phase, which lets the rollout go on; begin the next, if there is one.

    Raises:
        IllegalRolloutMove: No phase is under way.
    """
    # Whatever it waited for, it waits no longer.
    ended = replace(rollout.phase_ended(judgement, now), message="")
    ended = told(tx, ended, "rollout.phase_passed", now, reason=judgement.reason)
    if ended.has_passed:
        return store(tx, ended, now)
    return begin_phase(tx, ended, now)


def begin_phase(tx: InferenceTx, rollout: Rollout, now: datetime) -> Rollout:
    """Give the new version the share of its next phase."""
    begun = rollout.phase_begun(now)
    candidate = begun.candidate()
    endpoint = get_endpoint(tx, rollout.endpoint)
    split = endpoint.with_candidate(candidate, candidate.weight_bp, now)
    plan = begun.phases[begun.current_phase].shadow
    if plan is not None:
        report = ShadowReport(_report_meta(begun, now), rollout.version, rollout.previous_version)
        tx.shadow_reports.add(report)
        split = replace(split, shadow=Shadow(rollout.version, plan.sample_bp, report.meta.name))
    tx.endpoints.replace(split)
    started = told(
        tx,
        begun,
        "rollout.phase_started",
        now,
        phase=begun.current_phase,
        weight_basis_points=candidate.weight_bp,
    )
    return store(tx, started, now)


def withdraw(tx: InferenceTx, rollout: Rollout, now: datetime) -> None:
    """Give all traffic back to the old version."""
    endpoint = get_endpoint(tx, rollout.endpoint)
    tx.endpoints.replace(endpoint.without_candidate(rollout.version, now))


def told(
    tx: InferenceTx, rollout: Rollout, kind: str, now: datetime, **data: str | float
) -> Rollout:
    """Emit an event about `rollout`; its next event follows from this one."""
    facts = {
        "endpoint": rollout.endpoint,
        "version": rollout.version,
        "previous_version": rollout.previous_version,
        "approval": rollout.approval,
        **data,
    }
    with caused_by(rollout.correlation_id, rollout.causation_id):
        event_id = tx.emit(kind, rollout.name, now, facts)
    return replace(rollout, causation_id=event_id)


def _fresh(tx: InferenceTx, name: str, etag: str) -> Rollout:
    rollout = get_rollout(tx, name)
    rollout.meta.check_etag(etag)
    return rollout


def store(tx: InferenceTx, rollout: Rollout, now: datetime) -> Rollout:
    """Keep `rollout` as its next revision; once per transaction."""
    kept = replace(rollout, meta=rollout.meta.touched(now))
    tx.rollouts.replace(kept)
    return kept


def _report_meta(rollout: Rollout, now: datetime) -> Meta:
    name = rollout.shadow_report
    return Meta(
        name, str(uuid.uuid5(uuid.NAMESPACE_URL, f"{rollout.meta.uid}/{name}")), 1, now, now
    )


def _allowed_by(tx: InferenceTx, endpoint: Endpoint) -> tuple[str, str]:
    """Approval of the stable version, and digest of the plan by which it came with that.

    Those of the newest rollout that brought it forth, as what brings it back is no decision of its
    own; of the endpoint's creation, if none did.
    """
    for rollout in reversed(tx.rollouts.under(endpoint.name)):
        is_forth = rollout.state is State.SUCCEEDED and not rollout.rollback_of
        if is_forth and rollout.version == endpoint.stable.version:
            return rollout.approval, rollout.plan_digest
    return endpoint.initial_approval, plan_digest(AT_ONCE)


def _latest_success(tx: InferenceTx, endpoint: Endpoint) -> Rollout:
    """The rollout that brought the stable version.

    Raises:
        NothingToRollBackTo: There is none.
    """
    for rollout in reversed(tx.rollouts.under(endpoint.name)):
        if rollout.state is State.SUCCEEDED and rollout.version == endpoint.stable.version:
            return rollout
    raise NothingToRollBackTo(endpoint.name)
