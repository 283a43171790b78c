"""Creating, changing and deleting endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from services.inference.core.decisions import DecisionPolicy
from services.inference.core.endpoints import ENDPOINT_NAME, Endpoint
from services.inference.core.errors import EndpointExists, EndpointNotFound, RolloutInProgress
from services.inference.core.fallbacks import Fallback
from services.inference.core.observing import ObservationRules
from services.inference.core.ports import InferenceTx
from services.inference.core.rollouts import Rollout
from services.inference.core.use_cases.policies import record_move


@dataclass(frozen=True, slots=True)
class EndpointChanges:
    """What an update sets; None leaves it as it is."""

    labels: Mapping[str, str] | None = None
    policy: DecisionPolicy | None = None
    logs_observations: bool | None = None
    observation_rules: ObservationRules | None = None
    forbids_pins: bool | None = None


def create_endpoint(tx: InferenceTx, endpoint: Endpoint) -> Endpoint:
    """Store a new endpoint.

    Raises:
        EndpointExists: The id is taken, in this project or another.
    """
    if tx.endpoint_with_id(ENDPOINT_NAME.id_of(endpoint.name)) is not None:
        raise EndpointExists(endpoint.name)
    tx.endpoints.add(endpoint)
    record_move(tx, None, endpoint, actor="", purpose="the endpoint was created")
    tx.emit(
        "endpoint.created",
        endpoint.name,
        endpoint.meta.create_time,
        {
            "version": endpoint.stable.version,
            "digest": endpoint.stable.digest,
            "approval": endpoint.initial_approval,
        },
    )
    return endpoint


def get_endpoint(tx: InferenceTx, name: str) -> Endpoint:
    """The endpoint called `name`.

    Raises:
        EndpointNotFound: There is none.
    """
    endpoint = tx.endpoints.get(name)
    if endpoint is None:
        raise EndpointNotFound(name)
    return endpoint


def update_endpoint(
    tx: InferenceTx, name: str, changes: EndpointChanges, etag: str, now: datetime
) -> Endpoint:
    """The endpoint with `changes`; a policy that differs gets the next version.

    Raises:
        EndpointNotFound, EtagMismatch: It is not there, or not as the caller read it.
    """
    endpoint = get_endpoint(tx, name)
    endpoint.meta.check_etag(etag)
    meta = endpoint.meta.touched(now)
    if changes.labels is not None:
        meta = replace(meta, labels=changes.labels)
    policy = endpoint.policy
    if changes.policy is not None and replace(changes.policy, version=policy.version) != policy:
        policy = replace(changes.policy, version=policy.version + 1)
    updated = replace(endpoint, meta=meta, policy=policy)
    if changes.logs_observations is not None:
        updated = replace(updated, logs_observations=changes.logs_observations)
    if changes.observation_rules is not None:
        updated = replace(updated, observation_rules=changes.observation_rules)
    if changes.forbids_pins is not None:
        updated = replace(updated, forbids_pins=changes.forbids_pins)
    tx.endpoints.replace(updated)
    record_move(tx, endpoint, updated, actor="", purpose="an update of the endpoint's own policy")
    tx.emit("endpoint.updated", name, now, {"policy_version": policy.version})
    return updated


def set_fallback(
    tx: InferenceTx, name: str, fallback: Fallback | None, etag: str, now: datetime
) -> Endpoint:
    """The endpoint with another fallback, or none.

    Raises:
        EndpointNotFound, EtagMismatch: It is not there, or not as the caller read it.
    """
    endpoint = get_endpoint(tx, name)
    endpoint.meta.check_etag(etag)
    updated = replace(endpoint, fallback=fallback, meta=endpoint.meta.touched(now))
    tx.endpoints.replace(updated)
    version = "" if fallback is None or fallback.variant is None else fallback.variant.version
    decision = None if fallback is None else fallback.decision
    action = "" if decision is None else decision.action
    tx.emit("endpoint.fallback_set", name, now, {"version": version, "action": action})
    return updated


def delete_endpoint(tx: InferenceTx, name: str, etag: str, now: datetime) -> None:
    """Forget an endpoint, its rollouts and what it was pointed at.

    Raises:
        EndpointNotFound, EtagMismatch: It is not there, or not as the caller read it.
        RolloutInProgress: A rollout is under way.
    """
    endpoint = get_endpoint(tx, name)
    endpoint.meta.check_etag(etag)
    require_no_active_rollout(tx, name)
    for drill in tx.drills.under(name):
        tx.drills.remove(drill.meta.name)
    for rollout in tx.rollouts.under(name):
        for report in tx.shadow_reports.under(rollout.name):
            tx.shadow_reports.remove(report.meta.name)
        tx.rollouts.remove(rollout.name)
    for move in tx.policy_moves.under(name):
        tx.policy_moves.remove(move.meta.name)
    tx.endpoints.remove(name)
    tx.emit("endpoint.deleted", name, now, {"version": endpoint.stable.version})


def require_no_active_rollout(tx: InferenceTx, endpoint: str) -> None:
    """Pass if the endpoint has no rollout under way.

    Raises:
        RolloutInProgress: It has one.
    """
    active = active_rollout(tx, endpoint)
    if active is not None:
        raise RolloutInProgress(endpoint, active.name)


def active_rollout(tx: InferenceTx, endpoint: str) -> Rollout | None:
    """The endpoint's rollout that is not over."""
    for rollout in tx.active_rollouts():
        if rollout.endpoint == endpoint:
            return rollout
    return None
