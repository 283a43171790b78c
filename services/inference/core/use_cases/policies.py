"""Making versions of decision policies, and pointing endpoints at them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime

from services.common.names import InvalidName, parent_of
from services.common.resources import Meta, existing
from services.inference.core.endpoints import Endpoint
from services.inference.core.errors import PolicyVersionNotFound
from services.inference.core.policies import (
    POLICY_NAME,
    POLICY_VERSION_NAME,
    PolicyMove,
    PolicyReference,
    PolicyVersion,
    Rule,
)
from services.inference.core.ports import InferenceTx


@dataclass(frozen=True, slots=True)
class NewPolicyVersion:
    """What a policy version is made from.

    Attributes:
        policy: Resource name; the first version makes the policy.
        uid: Of the new version.
        author: Who makes it.
        purpose: Why.
    """

    policy: str
    uid: str
    author: str
    purpose: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class Pointing:
    """Who points an endpoint at a policy version, and why."""

    policy_version: str
    actor: str
    purpose: str


def create_policy_version(tx: InferenceTx, new: NewPolicyVersion, now: datetime) -> PolicyVersion:
    """Store the next version of a policy.

    Raises:
        InvalidName: The policy's name is none.
    """
    POLICY_NAME.parse(new.policy, field="parent")
    number = tx.policy_versions.count(new.policy) + 1
    meta = Meta(f"{new.policy}/versions/{number}", new.uid, 1, now, now)
    version = PolicyVersion(meta, new.author, new.purpose, new.rule)
    tx.policy_versions.add(version)
    tx.emit(
        "policy_version.created",
        version.name,
        now,
        {"author": new.author, "purpose": new.purpose},
    )
    return version


def get_policy_version(tx: InferenceTx, name: str, *, field: str = "name") -> PolicyVersion:
    """The policy version called `name`.

    Raises:
        InvalidName: It is no such name.
        PolicyVersionNotFound: There is none.
    """
    return existing(
        tx.policy_versions, POLICY_VERSION_NAME, name, PolicyVersionNotFound, field=field
    )


def reference_to(
    tx: InferenceTx, name: str, endpoint: str, *, field: str = "policy_version"
) -> PolicyReference:
    """What `endpoint` keeps of the policy version called `name`.

    Raises:
        InvalidName: It is no such name, or of another project than the endpoint's.
        PolicyVersionNotFound: There is none.
    """
    found = get_policy_version(tx, name, field=field)
    project = parent_of(endpoint)
    if not name.startswith(f"{project}/"):
        raise InvalidName(name, f"{project}/policies/{{policy}}/versions/{{version}}", field)
    return PolicyReference(found.name, found.rule)


def point_endpoint(
    tx: InferenceTx, endpoint: Endpoint, pointing: Pointing, now: datetime
) -> Endpoint:
    """`endpoint` with the policy version that decides from now on; '' its own policy.

    Raises:
        InvalidName, PolicyVersionNotFound: There is no such version in the project.
    """
    named = pointing.policy_version
    reference = reference_to(tx, named, endpoint.name) if named else None
    if reference == endpoint.points_at:
        return endpoint
    pointed = replace(endpoint, points_at=reference, meta=endpoint.meta.touched(now))
    tx.endpoints.replace(pointed)
    record_move(tx, endpoint, pointed, actor=pointing.actor, purpose=pointing.purpose)
    return pointed


def record_move(
    tx: InferenceTx, before: Endpoint | None, after: Endpoint, *, actor: str, purpose: str
) -> None:
    """Keep that another policy decides at `after` than did at `before`, if that is so."""
    now = after.meta.update_time
    was = "" if before is None else before.decider.name
    decides = after.decider.name
    if decides == was:
        return
    number = tx.policy_moves.count(after.name) + 1
    name = f"{after.name}/policyMoves/{number}"
    meta = Meta(name, str(uuid.uuid5(uuid.UUID(after.meta.uid), name)), 1, now, now)
    tx.policy_moves.add(PolicyMove(meta, was, decides, actor, purpose))
    if before is not None:
        tx.emit(
            "endpoint.policy_moved",
            after.name,
            now,
            {"before": was, "after": decides, "actor": actor, "purpose": purpose},
        )
