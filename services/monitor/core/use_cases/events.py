"""Events that policies retrain on: declared by callers, or snapshots sealed in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.monitor.core.names import parent_of
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import Monitor, RetrainEvent, RetrainPolicy
from services.monitor.core.use_cases.identities import new_child_meta, new_meta
from services.monitor.core.use_cases.lookup import the_monitor


@dataclass(frozen=True, slots=True)
class SealedSnapshot:
    """What the registry tells of a snapshot that was sealed.

    Attributes:
        event_id: Of the registry's event; the same again for the same seal.
        name: Resource name.
        rows: That it holds.
        columns: That it has.
        seal_time: The registry's clock.
        episode: Correlation id of the episode that built it; empty: none did.
    """

    event_id: str
    name: str
    rows: int
    columns: tuple[str, ...]
    seal_time: datetime
    episode: str


def declare_event(
    tx: MonitorTx, monitor: str, *, kind: str, description: str, event_time: datetime | None
) -> RetrainEvent:
    """A new event.

    Args:
        tx: The transaction.
        monitor: Whose policies are to see it, by resource name.
        kind: What policies name.
        description: For people.
        event_time: When it happened; None: now, by the monitor's own time.

    Raises:
        MonitorNotFound: There is no such monitor.
    """
    the_monitor(tx, monitor, "parent")
    event = RetrainEvent(
        meta=new_child_meta(tx, monitor, "retrainEvents"),
        source=kind,
        description=description,
        event_time=event_time or _present(tx, monitor),
    )
    return _added(tx, event)


def datasets_asked_about(tx: MonitorTx) -> frozenset[str]:
    """Datasets of which some policy wants to know the snapshots, by resource name."""
    return frozenset(
        dataset
        for monitor in tx.every_monitor()
        for policy in tx.policies.under(monitor.meta.name)
        for dataset in _datasets(monitor, policy)
    )


def note_sealed(tx: MonitorTx, sealed: SealedSnapshot) -> None:
    """Note a snapshot for each monitor that had a policy which asks for it; again changes nothing.

    One that an episode of the loop has built is news to nobody.
    """
    if sealed.episode and tx.episode_with_uid(sealed.episode) is not None:
        return
    dataset = parent_of(sealed.name)
    for monitor in tx.every_monitor():
        name = f"{monitor.meta.name}/retrainEvents/{sealed.event_id}"
        asking = [
            policy
            for policy in tx.policies.under(monitor.meta.name)
            if dataset in _datasets(monitor, policy) and policy.meta.create_time <= sealed.seal_time
        ]
        if not asking or tx.retrain_events.get(name) is not None:
            continue
        _added(
            tx,
            RetrainEvent(
                meta=new_meta(tx, name),
                source=dataset,
                description=f"The snapshot {sealed.name} of {sealed.rows:,} rows was sealed.",
                event_time=_present(tx, monitor.meta.name),
                snapshot=sealed.name,
                columns=sealed.columns,
            ),
        )


def _datasets(monitor: Monitor, policy: RetrainPolicy) -> Sequence[str]:
    own = [monitor.dataset] if policy.new_features is not None else []
    return [*own, *(policy.events.datasets if policy.events is not None else ())]


def _present(tx: MonitorTx, monitor: str) -> datetime:
    """The monitor's own time: a replay of last year goes by last year's."""
    newest = tx.newest_performance(monitor, "", 1)
    return newest[0].window_end if newest else tx.now


def _added(tx: MonitorTx, event: RetrainEvent) -> RetrainEvent:
    tx.retrain_events.add(event)
    tx.tell(
        "retrain_event.noted",
        event.meta.name,
        {"source": event.source, "description": event.description},
    )
    return event
