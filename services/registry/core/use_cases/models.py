"""Models: created, changed, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.common.errors import FieldViolation, InvalidRequest
from services.registry.core.errors import ModelExists, ModelNotEmpty
from services.registry.core.models import Model, PromotionPolicy
from services.registry.core.names import MODEL, checked
from services.registry.core.ports import RegistryTx
from services.registry.core.use_cases.identities import new_meta
from services.registry.core.use_cases.lookup import the_model


@dataclass(frozen=True, slots=True)
class ModelChange:
    """What to change of a model; None leaves a part as it is."""

    description: str | None = None
    labels: Mapping[str, str] | None = None
    policy: PromotionPolicy | None = None


def create_model(
    tx: RegistryTx,
    name: str,
    *,
    description: str,
    labels: Mapping[str, str],
    policy: PromotionPolicy,
) -> Model:
    """A new model without versions.

    Raises:
        ModelExists: The name is taken.
    """
    if tx.models.get(checked(MODEL, name, "model_id")) is not None:
        raise ModelExists(name)
    _check_policy(policy)
    model = Model(new_meta(tx, name, labels), description, policy)
    tx.models.add(model)
    tx.tell("model.created", name, {})
    return model


def update_model(tx: RegistryTx, name: str, change: ModelChange, *, etag: str) -> Model:
    """The model, changed.

    Raises:
        ModelNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
    """
    model = the_model(tx, name, "model.name")
    model.meta.check_etag(etag)
    policy = model.policy if change.policy is None else change.policy
    _check_policy(policy)
    changed = model.changed(
        tx.now,
        description=model.description if change.description is None else change.description,
        policy=policy,
    )
    if change.labels is not None:
        changed = replace(changed, meta=replace(changed.meta, labels=change.labels))
    tx.models.replace(changed)
    tx.tell("model.updated", name, {})
    return changed


def delete_model(tx: RegistryTx, name: str, *, etag: str) -> None:
    """Forget a model without versions.

    Raises:
        ModelNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
        ModelNotEmpty: It has versions.
    """
    model = the_model(tx, name)
    model.meta.check_etag(etag)
    versions = tx.versions.count(name)
    if versions:
        raise ModelNotEmpty(name, versions)
    tx.models.remove(name)
    tx.tell("model.deleted", name, {})


def _check_policy(policy: PromotionPolicy) -> None:
    if len(set(policy.protected_aliases)) < len(policy.protected_aliases):
        field = "model.promotion_policy.protected_aliases"
        raise InvalidRequest([FieldViolation(field, "names an alias twice")])
