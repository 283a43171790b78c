"""Retrain policies: created, changed, deleted."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any

from services.common.errors import FieldViolation, InvalidRequest
from services.common.names import parent_of
from services.common.resources import Meta
from services.monitor.core.errors import PolicyExists
from services.monitor.core.names import DATASET, RETRAIN_POLICY, TRAINING_JOB, checked
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import RetrainPolicy
from services.monitor.core.schedules import expression_fault, time_zone_fault
from services.monitor.core.use_cases.identities import new_meta
from services.monitor.core.use_cases.lookup import the_monitor, the_policy


def create_policy(tx: MonitorTx, name: str, make: Callable[[Meta], RetrainPolicy]) -> RetrainPolicy:
    """A new policy.

    Args:
        tx: The transaction.
        name: Of the policy.
        make: Gives the policy its identity.

    Raises:
        MonitorNotFound: There is no such monitor.
        PolicyExists: The name is taken.
    """
    the_monitor(tx, parent_of(name), "parent")
    if tx.policies.get(checked(RETRAIN_POLICY, name, "retrain_policy_id")) is not None:
        raise PolicyExists(name)
    policy = make(new_meta(tx, name))
    check_policy(policy)
    tx.policies.add(policy)
    tx.tell("policy.created", name, {})
    return policy


def update_policy(
    tx: MonitorTx,
    name: str,
    make: Callable[[Meta], RetrainPolicy],
    fields: Collection[str],
    *,
    etag: str,
) -> RetrainPolicy:
    """The policy, changed.

    Args:
        tx: The transaction.
        name: Of the policy.
        make: Gives the policy as it is wanted.
        fields: Attributes that are taken from it.
        etag: Last read by the caller; empty means any.

    Raises:
        PolicyNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
    """
    policy = the_policy(tx, name, "retrain_policy.name")
    policy.meta.check_etag(etag)
    wanted = make(policy.meta)
    values: dict[str, Any] = {field: getattr(wanted, field) for field in fields}
    changed = replace(policy, meta=policy.meta.touched(tx.now), **values)
    check_policy(changed)
    tx.policies.replace(changed)
    tx.tell("policy.updated", name, {})
    return changed


def delete_policy(tx: MonitorTx, name: str, *, etag: str) -> None:
    """Forget a policy; episodes hold what they need of it.

    Raises:
        PolicyNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
    """
    the_policy(tx, name).meta.check_etag(etag)
    tx.policies.remove(name)
    tx.tell("policy.deleted", name, {})


def check_policy(policy: RetrainPolicy) -> None:
    """Pass a policy that makes sense.

    Raises:
        InvalidRequest: Names what does not.
    """
    checked(TRAINING_JOB, policy.template_job, "retrain_policy.template_job")
    triggers = (
        policy.min_drifted_features,
        policy.quality,
        policy.volume_min_new_outcomes,
        policy.schedule_period,
        policy.schedule_cron,
        policy.events,
        policy.new_features,
    )
    faults = []
    if all(trigger is None for trigger in triggers):
        faults.append(
            FieldViolation(
                "retrain_policy",
                "needs one of data_drift, quality, volume, schedule, events and new_features",
            )
        )
    faults += _schedule_faults(policy)
    if policy.events is not None:
        for index, dataset in enumerate(policy.events.datasets):
            checked(DATASET, dataset, f"retrain_policy.events.datasets[{index}]")
        if not policy.events.kinds and not policy.events.datasets:
            faults.append(FieldViolation("retrain_policy.events", "needs kinds or datasets"))
    if policy.worth_of_hundredth is not None and policy.quality is None:
        faults.append(
            FieldViolation("retrain_policy.worth_of_hundredth", "needs quality, whose metric it is")
        )
    faults += _efficiency_faults(policy)
    if faults:
        raise InvalidRequest(faults)


def _efficiency_faults(policy: RetrainPolicy) -> list[FieldViolation]:
    if policy.efficiency is None:
        return []
    faults = []
    if policy.quality is None:
        text = "needs quality, by which the serving version is good enough"
        faults.append(FieldViolation("retrain_policy.efficiency", text))
    price = policy.efficiency.price
    if price is not None and price.per_hour.currency != price.max_per_thousand.currency:
        text = f"must be in {price.per_hour.currency}, as price_per_hour is"
        faults.append(FieldViolation("retrain_policy.efficiency.max_price_per_thousand", text))
    return faults


def _schedule_faults(policy: RetrainPolicy) -> list[FieldViolation]:
    period, cron = policy.schedule_period, policy.schedule_cron
    faults = {}
    if period is not None and period <= timedelta():
        faults["period"] = "must be above 0"
    if cron is not None:
        faults["cron"] = expression_fault(cron.expression)
        faults["time_zone"] = time_zone_fault(cron.time_zone)
        if period is not None:
            faults["cron"] = "leave it and time_zone empty, or period unset"
    return [
        FieldViolation(f"retrain_policy.schedule.{field}", fault)
        for field, fault in faults.items()
        if fault
    ]
