"""Reads every objective in turn, tells how it stands, keeps its alerts and delivers them.

One process does so at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.errors import ServiceError
from services.common.store import leases
from services.common.store.cursors import cursor_of
from services.common.store.database import Database
from services.common.store.leases import Lease
from services.common.store.outbox import Event, EventFilter
from services.common.webhooks import journal
from services.common.webhooks.cloudevents import cloud_event
from services.common.webhooks.subscriptions import (
    Message,
    Renderer,
    Subscription,
    Subscriptions,
)
from services.monitor.adapters.chat import chat_message
from services.monitor.adapters.rounds import Rounds
from services.monitor.adapters.slo_metrics import ObjectiveGauges
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import Monitor
from services.monitor.core.slos.budgets import SloReading
from services.monitor.core.slos.measuring import Meter
from services.monitor.core.slos.objectives import Slo
from services.monitor.core.use_cases.alerts import needs_settling, settle_alert
from services.monitor.core.use_cases.restraints import needs_restraining, settle_restraints

log = structlog.get_logger()

_WEBHOOK: Final = "alerts"
_CHAT: Final = "alert-chat"
_STEPS: Final = EventFilter(type_prefixes=("roundhouse.monitor.alert.",))


class AlertWatch:
    """Keeps the alerts of all objectives, and what their budget policies order.

    Args:
        rounds: Over the objectives.
        meter: Reads objectives.
    """

    def __init__(self, rounds: Rounds, meter: Meter) -> None:
        self._rounds = rounds
        self._meter = meter

    async def run(self, lease: Lease) -> None:
        """Work until cancelled.

        Raises:
            LeaseLost: Another process goes on.
        """
        gauges = ObjectiveGauges()

        def tell(readings: Sequence[SloReading | None]) -> None:
            gauges.tell([reading for reading in readings if reading is not None])

        try:
            await self._rounds.keep(_objectives, partial(self._settle, lease), tell)
        finally:
            gauges.tell(())

    async def _settle(self, lease: Lease, objective: tuple[Slo, Monitor]) -> SloReading | None:
        """How an objective stands, once its alerts say so; None if it can't be read."""
        slo, monitor = objective
        try:
            reading = await self._meter.read(slo, monitor)
            if await self._rounds.read(
                lambda tx: needs_settling(tx, reading) or needs_restraining(tx, reading)
            ):
                await self._rounds.write(lease, lambda tx: _settle(tx, monitor, reading))
        except leases.LeaseLost:
            raise
        except ServiceError as error:
            log.warning("slo.not_read", slo=slo.meta.name, reason=error.reason)
            return None
        return reading


def _objectives(tx: MonitorTx) -> Sequence[tuple[Slo, Monitor]]:
    return [
        (slo, monitor) for monitor in tx.every_monitor() for slo in tx.slos.under(monitor.meta.name)
    ]


def _settle(tx: MonitorTx, monitor: Monitor, reading: SloReading) -> None:
    settle_alert(tx, monitor, reading)
    settle_restraints(tx, monitor, reading)


async def begin_deliveries(database: Database, receivers: Subscriptions, now: Clock) -> None:
    """Deliver from the next alert on, or go on where deliveries stopped."""

    def begin(connection: Connection) -> None:
        for each in receivers(connection, now()):
            if not cursor_of(connection, f"webhook:{each.id}"):
                journal.begin(connection, each.id, now())

    await database.write(begin)


def alert_receivers(*subscriptions: Subscription) -> Subscriptions:
    """Those that the settings name, at any time."""
    return lambda _connection, _now: subscriptions


def alert_webhook(url: str, secret: str) -> Subscription:
    """Each step of an alert as a signed CloudEvent."""
    return Subscription(_WEBHOOK, url, _STEPS, _unless_silent, (secret,))


def alert_chat(url: str) -> Subscription:
    """Each step of an alert as lines of a chat."""
    return Subscription(_CHAT, url, _STEPS, chat_message, ())


def escalated_webhook(receiver: str, url: str, secret: str) -> Subscription:
    """Each step of an alert that has gone up to a receiver, that one first, as a CloudEvent."""
    render = _gone_up_to(receiver, _unless_silent)
    return Subscription(_escalation_id(receiver), url, _STEPS, render, (secret,))


def escalated_chat(receiver: str, url: str) -> Subscription:
    """The same as lines of a chat."""
    render = _gone_up_to(receiver, chat_message)
    return Subscription(_escalation_id(receiver), url, _STEPS, render, ())


def note_gone(_connection: Connection, subscription: str, _now: datetime) -> None:
    """Log that the receiver answered 410 Gone: the settings name it, so it is asked again."""
    log.error("alerts.receiver_gone", subscription=subscription)


def _escalation_id(receiver: str) -> str:
    return f"alert-escalation-{receiver}"


def _gone_up_to(receiver: str, render: Renderer) -> Renderer:
    def rendered(connection: Connection, event: Event) -> Message | None:
        told = event.data.get("receivers")  # events from before there were any name none
        is_told = isinstance(told, Sequence) and receiver in told
        return render(connection, event) if is_told else None

    return rendered


def _unless_silent(connection: Connection, event: Event) -> Message | None:
    return None if event.data["silent"] else cloud_event(connection, event)
