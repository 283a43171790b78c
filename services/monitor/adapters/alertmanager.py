"""Keeps Alertmanagers told of the alerts as they stand (API v2, `POST /api/v2/alerts`).

An Alertmanager takes states, not steps: an alert lasts until the `endsAt` it was last told, and a
restart forgets it. So the outbox says when to tell, and what is told is read from the alerts
themselves: whole, again and again, which is also how Prometheus tells it. A post that is lost,
doubled or late does no harm.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias

import structlog
from prometheus_client import Counter
from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.store.database import Database
from services.common.store.leases import Lease
from services.common.store.outbox import EventFilter, newest_cursor, read_after
from services.common.webhooks.sending import HttpSender
from services.common.webhooks.subscriptions import RetryPolicy
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.core.alerts.alerting import Alert, AlertState
from services.monitor.core.slos.budgets import Severity

log = structlog.get_logger()

_POSTS: Final = Counter(
    "roundhouse_monitor_alertmanager_posts",
    "Times that an Alertmanager was told of the alerts, by whether it took them.",
    ("outcome",),
)

TOLD_AFTER_THE_END: Final = timedelta(minutes=15)
"""How long the end of an alert is told, as Prometheus does."""

_LASTS: Final = 5
"""Repeats that may be missed before an alert is taken for over: the monitor itself is gone."""

_POLL_S: Final = 0.5
_HEADERS: Final = {"Content-Type": "application/json"}
_CHANGES_AT_ONCE: Final = 1000
_CHANGES: Final = EventFilter(type_prefixes=("roundhouse.monitor.alert.",))

_Labels: TypeAlias = dict[str, str]


class AlertmanagerFeed:
    """Tells Alertmanagers of all alerts.

    Args:
        database: The monitor's.
        urls: Of each Alertmanager of a cluster, since they don't pass alerts on to each other.
        sender: Posts.
        repeat_s: How long an unchanged state stays untold; failures are tried again sooner.
        now: The clock.
    """

    def __init__(
        self,
        database: Database,
        urls: Sequence[str],
        sender: HttpSender,
        repeat_s: float,
        now: Clock,
    ) -> None:
        self._database = database
        self._urls = urls
        self._sender = sender
        self._repeat = timedelta(seconds=repeat_s)
        self._retry = RetryPolicy(longest_s=repeat_s)
        self._now = now

    async def run(self, _: Lease) -> None:
        """Tell until cancelled; for as long as another process does so too, both say the same."""
        async with asyncio.TaskGroup() as group:
            for url in self._urls:
                group.create_task(self._keep_told(url))

    async def _keep_told(self, url: str) -> None:
        cursor = await self._database.read(newest_cursor)
        failures, due = 0, self._now()
        while True:
            changed, cursor = await self._database.read(
                partial(read_after, cursor=cursor, limit=_CHANGES_AT_ONCE, wanted=_CHANGES)
            )
            if changed or self._now() >= due:
                failures = 0 if await self._tell(url) else failures + 1
                due = self._now() + (
                    self._retry.wait(failures, random.random())  # noqa: S311 - jitter
                    if failures
                    else self._repeat
                )
            await asyncio.sleep(_POLL_S)

    async def _tell(self, url: str) -> bool:
        """Whether it took them."""
        now = self._now()
        posted = as_posted(
            await self._database.read(lambda connection: _worth_telling(connection, now)),
            now,
            now + _LASTS * self._repeat,
        )
        answer = await self._sender.post(
            f"{url.rstrip('/')}/api/v2/alerts", _HEADERS, json.dumps(posted).encode()
        )
        _POSTS.labels("refused" if answer.error else "taken").inc()
        if answer.error:
            log.warning("alertmanager.not_told", alerts=len(posted), error=answer.error)
        return not answer.error


def as_posted(alerts: Iterable[Alert], now: datetime, until: datetime) -> list[dict[str, object]]:
    """The body that tells of these alerts.

    What escalated is two alerts there, since the severity decides who is told: a ticket that is
    over and a page. Of those with the same labels, the newest is told.

    Args:
        alerts: The oldest first.
        now: The moment.
        until: How long those that are not over last, unless told again.
    """
    told: dict[tuple[tuple[str, str], ...], dict[str, object]] = {}
    for alert in alerts:
        end = alert.meta.update_time if alert.state is AlertState.RESOLVED else until
        before = (
            (Severity.TICKET, step.time)
            for step in alert.steps
            if step.raises and now - step.time <= TOLD_AFTER_THE_END
        )
        for severity, ends in (*before, (alert.severity, end)):
            labels = _labels(alert, severity)
            told[tuple(labels.items())] = {
                "labels": labels,
                "annotations": {
                    "summary": alert.summary,
                    "runbook": alert.runbook,
                    "incident": alert.incident,
                    "alert": alert.meta.name,
                    "state": alert.state.value,
                    "escalated_to": ", ".join(alert.receivers),
                },
                "startsAt": alert.meta.create_time.isoformat(),
                "endsAt": ends.isoformat(),
            }
    return list(told.values())


def _worth_telling(connection: Connection, now: datetime) -> Sequence[Alert]:
    return SqlMonitorTx(connection, now).alerts_since(now - TOLD_AFTER_THE_END)


def _labels(alert: Alert, severity: Severity) -> _Labels:
    """What an alert is told apart by: nothing that changes while it lasts."""
    name = "".join(word.title() for word in alert.error_class.split("_"))
    labels = {
        "alertname": f"Roundhouse{name}",
        "error_class": alert.error_class,
        "severity": severity.value.lower(),
        **_about(alert),
    }
    return {**labels, "owner": alert.owner} if alert.owner else labels


def _about(alert: Alert) -> _Labels:
    """Its objective; or its job or model, and the incident by which to group."""
    if alert.trouble is None:
        return {"slo": alert.resource}
    return {"job": alert.resource, "incident": alert.incident}
