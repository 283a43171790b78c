"""Models: created, changed, deleted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from services.common.errors import FieldViolation, InvalidRequest
from services.registry.core.errors import ModelExists, ModelNotEmpty
from services.registry.core.measurements import OWN_PREFIXES
from services.registry.core.models import NOBODY, Accountability, Model, Money
from services.registry.core.names import MODEL, checked
from services.registry.core.policies import BaselineBar, GateRule, PromotionPolicy
from services.registry.core.ports import RegistryTx
from services.registry.core.retention.policy import RetentionChange, RetentionPolicy
from services.registry.core.use_cases.identities import new_meta
from services.registry.core.use_cases.lookup import the_model

_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_NANOS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ModelChange:
    """What to change of a model; None leaves a part as it is.

    Attributes:
        accountability: Applied to what the model has.
    """

    description: str | None = None
    labels: Mapping[str, str] | None = None
    policy: PromotionPolicy | None = None
    accountability: Callable[[Accountability], Accountability] | None = None
    retention: RetentionChange | None = None


def create_model(
    tx: RegistryTx,
    name: str,
    *,
    description: str,
    labels: Mapping[str, str],
    policy: PromotionPolicy,
    accountability: Accountability = NOBODY,
    retention: RetentionPolicy | None = None,
) -> Model:
    """A new model without versions.

    Raises:
        ModelExists: The name is taken.
        InvalidRequest: The policy or the budget makes no sense.
    """
    if tx.models.get(checked(MODEL, name, "model_id")) is not None:
        raise ModelExists(name)
    _check(policy, accountability)
    model = Model(new_meta(tx, name, labels), description, policy, accountability, retention)
    tx.models.add(model)
    tx.tell("model.created", name, {})
    return model


def update_model(tx: RegistryTx, name: str, change: ModelChange, *, etag: str) -> Model:
    """The model, changed.

    Raises:
        ModelNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
        InvalidRequest: The policy or the budget makes no sense.
    """
    model = the_model(tx, name, "model.name")
    model.meta.check_etag(etag)
    policy = model.policy if change.policy is None else change.policy
    accountability = model.accountability
    if change.accountability is not None:
        accountability = change.accountability(accountability)
    _check(policy, accountability)
    changed = model.changed(
        tx.now,
        description=model.description if change.description is None else change.description,
        policy=policy,
        accountability=accountability,
    )
    if change.retention is not None:
        changed = replace(changed, retention=change.retention.policy)
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


def _check(policy: PromotionPolicy, accountability: Accountability) -> None:
    faults = []
    if len(set(policy.protected_aliases)) < len(policy.protected_aliases):
        field = "model.promotion_policy.protected_aliases"
        faults.append(FieldViolation(field, "names an alias twice"))
    for index, rule in enumerate(policy.rules):
        faults += _rule_faults(rule, f"model.promotion_policy.rules[{index}]")
    if accountability.monthly_budget is not None:
        faults += _budget_faults(accountability.monthly_budget)
    if faults:
        raise InvalidRequest(faults)


def _rule_faults(rule: GateRule, field: str) -> list[FieldViolation]:
    if not rule.metric.startswith(OWN_PREFIXES):
        return []
    faults = []
    if rule.scope is not None:
        faults.append(FieldViolation(f"{field}.slices", f"{rule.metric} has no slices"))
    if rule.metric.startswith("evidence.") and isinstance(rule.bar, BaselineBar):
        text = f"{rule.metric} is of the present: hold it against a fixed value"
        faults.append(FieldViolation(f"{field}.baseline_margin", text))
    return faults


def _budget_faults(budget: Money) -> list[FieldViolation]:
    field = "model.monthly_budget"
    faults = []
    if not _CURRENCY.fullmatch(budget.currency_code):
        text = "must be three capital letters of ISO 4217, such as EUR"
        faults.append(FieldViolation(f"{field}.currency_code", text))
    if not 0 <= budget.nanos < _NANOS or budget.units < 0 or not (budget.units or budget.nanos):
        faults.append(FieldViolation(field, "must be above zero, with nanos below 1,000,000,000"))
    return faults
