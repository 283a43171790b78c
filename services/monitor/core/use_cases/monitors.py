"""Monitors: created, changed, deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from services.common.errors import FieldImmutable, FieldViolation, InvalidRequest
from services.common.resources import Meta
from services.monitor.core.errors import EpisodeActive, MonitorExists
from services.monitor.core.names import DATASET, ENDPOINT, MONITOR, checked
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import DriftTest, Monitor
from services.monitor.core.use_cases.identities import new_meta
from services.monitor.core.use_cases.lookup import the_monitor
from services.monitor.core.use_cases.restraints import lift_restraints
from services.monitor.core.use_cases.retraining import history_of


@dataclass(frozen=True, slots=True)
class MonitorChange:
    """What to change of a monitor; None leaves a part as it is."""

    labels: Mapping[str, str] | None = None
    drift_test: DriftTest | None = None
    owner: str | None = None


def create_monitor(
    tx: MonitorTx, name: str, labels: Mapping[str, str], make: Callable[[Meta], Monitor]
) -> Monitor:
    """A new monitor.

    Args:
        tx: The transaction.
        name: Of the monitor.
        labels: The caller's.
        make: Gives the monitor its identity.

    Raises:
        MonitorExists: The name is taken, or another monitor watches the endpoint.
    """
    monitor = make(new_meta(tx, checked(MONITOR, name, "monitor_id"), labels))
    checked(ENDPOINT, monitor.endpoint, "monitor.endpoint")
    checked(DATASET, monitor.dataset, "monitor.dataset")
    _check_test(monitor.drift_test)
    _check_slices(monitor.slices)
    taken = tx.monitors.get(name) or tx.monitor_of(monitor.endpoint)
    if taken is not None:
        raise MonitorExists(taken.meta.name, taken.endpoint)
    tx.monitors.add(monitor)
    tx.tell("monitor.created", name, {"endpoint": monitor.endpoint})
    return monitor


def update_monitor(
    tx: MonitorTx, name: str, change: MonitorChange, *, fixed: Mapping[str, object], etag: str
) -> Monitor:
    """The monitor, changed.

    Args:
        tx: The transaction.
        name: Of the monitor.
        change: What to change.
        fixed: Immutable fields that the caller named, which must be as they are.
        etag: Last read by the caller; empty means any.

    Raises:
        MonitorNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
        FieldImmutable: One of `fixed` differs.
    """
    monitor = the_monitor(tx, name, "monitor.name")
    monitor.meta.check_etag(etag)
    for field, value in fixed.items():
        if getattr(monitor, field) != value:
            raise FieldImmutable(f"monitor.{field}", f"monitor.{field}")
    meta = monitor.meta.touched(tx.now)
    changed = replace(
        monitor,
        meta=meta if change.labels is None else replace(meta, labels=change.labels),
        drift_test=monitor.drift_test if change.drift_test is None else change.drift_test,
        owner=monitor.owner if change.owner is None else change.owner,
    )
    _check_test(changed.drift_test)
    tx.monitors.replace(changed)
    tx.tell("monitor.updated", name, {})
    return changed


def delete_monitor(tx: MonitorTx, name: str, *, etag: str) -> Monitor:
    """The monitor, forgotten with its policies, decisions, reports and episodes.

    Raises:
        MonitorNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
        EpisodeActive: An episode is under way.
    """
    monitor = the_monitor(tx, name)
    monitor.meta.check_etag(etag)
    active = history_of(tx, name).active_episode
    if active:
        raise EpisodeActive(name, active)
    for slo in tx.slos.under(name):
        lift_restraints(tx, slo.meta.name)
    tx.forget_children(name)
    tx.monitors.remove(name)
    tx.tell("monitor.deleted", name, {"endpoint": monitor.endpoint})
    return monitor


def _check_slices(slices: tuple[str, ...]) -> None:
    if len(set(slices)) < len(slices):
        raise InvalidRequest([FieldViolation("monitor.slices", "names a feature twice")])


def _check_test(test: DriftTest) -> None:
    if test.persistence_hits > test.persistence_windows:
        raise InvalidRequest(
            [
                FieldViolation(
                    "monitor.drift_test.persistence_hits",
                    f"{test.persistence_hits} windows can't show drift "
                    f"when {test.persistence_windows} are looked at",
                )
            ]
        )
