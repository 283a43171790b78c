"""Objectives: created, changed, deleted."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from services.common.errors import FieldImmutable, FieldViolation, InvalidRequest
from services.common.names import parent_of
from services.common.resources import Meta, existing
from services.monitor.core.alerts.alerting import OF_RULES
from services.monitor.core.errors import SloExists, SloNotFound
from services.monitor.core.names import SLO, checked
from services.monitor.core.ports import MonitorTx
from services.monitor.core.slos.objectives import Sli, Slo
from services.monitor.core.use_cases.alerts import end_alert
from services.monitor.core.use_cases.identities import new_meta
from services.monitor.core.use_cases.lookup import the_monitor
from services.monitor.core.use_cases.restraints import lift_restraints


def the_slo(tx: MonitorTx, name: str, field: str = "name") -> Slo:
    """The objective; `field` says where in the request its name stood.

    Raises:
        SloNotFound: There is none.
    """
    return existing(tx.slos, SLO, name, SloNotFound, field=field)


def create_slo(tx: MonitorTx, name: str, make: Callable[[Meta], Slo]) -> Slo:
    """A new objective.

    Args:
        tx: The transaction.
        name: Of the objective.
        make: Gives the objective its identity.

    Raises:
        MonitorNotFound: There is no such monitor.
        SloExists: The name is taken.
        InvalidRequest: The budget policy makes no sense.
    """
    the_monitor(tx, parent_of(name), "parent")
    if tx.slos.get(checked(SLO, name, "slo_id")) is not None:
        raise SloExists(name)
    slo = make(new_meta(tx, name))
    _check_policy(slo)
    tx.slos.add(slo)
    tx.tell("slo.created", name, {})
    return slo


def update_slo(
    tx: MonitorTx,
    name: str,
    make: Callable[[Meta], Slo],
    fields: Collection[str],
    *,
    etag: str,
) -> Slo:
    """The objective, changed.

    Args:
        tx: The transaction.
        name: Of the objective.
        make: Gives the objective as it is wanted.
        fields: Attributes that are taken from it.
        etag: Last read by the caller; empty means any.

    Raises:
        SloNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
        FieldImmutable: What is counted differs.
        InvalidRequest: The budget policy makes no sense.
    """
    slo = the_slo(tx, name, "slo.name")
    slo.meta.check_etag(etag)
    wanted = make(slo.meta)
    _check_same(slo.sli, wanted.sli)
    values: dict[str, Any] = {field: getattr(wanted, field) for field in fields}
    changed = replace(slo, meta=slo.meta.touched(tx.now), **values)
    _check_policy(changed)
    tx.slos.replace(changed)
    tx.tell("slo.updated", name, {})
    return changed


def delete_slo(tx: MonitorTx, name: str, *, etag: str) -> None:
    """Forget an objective, end its alerts and lift what its budget policy has ordered.

    Raises:
        SloNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
    """
    the_slo(tx, name).meta.check_etag(etag)
    for error_class in OF_RULES:
        end_alert(tx, name, error_class, "The objective was deleted.")
    lift_restraints(tx, name)
    tx.slos.remove(name)
    tx.tell("slo.deleted", name, {})


def _check_same(present: Sli, wanted: Sli) -> None:
    if wanted != present:
        field = f"slo.{present.kind.lower()}"
        raise FieldImmutable(field, field)


def _check_policy(slo: Slo) -> None:
    faults = []
    seen = set()
    for index, rule in enumerate(slo.budget_policy):
        field = f"slo.budget_policy[{index}]"
        if rule.action in seen:
            faults.append(FieldViolation(f"{field}.action", f"{rule.action} stands there twice"))
        if rule.until_above < rule.below:
            text = f"must be at least `below`, {rule.below:g}"
            faults.append(FieldViolation(f"{field}.until_above", text))
        seen.add(rule.action)
    if faults:
        raise InvalidRequest(faults)
