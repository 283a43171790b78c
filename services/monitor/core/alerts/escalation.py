"""When a page that nobody sees to goes up to somebody else, and to whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.monitor.core.alerts.alerting import Alert, AlertState, span_of
from services.monitor.core.slos.budgets import Severity


@dataclass(frozen=True, slots=True)
class Level:
    """One step up.

    Attributes:
        after: How long a page may go without anybody who sees to it.
        receiver: Who is told then, by id.
        error_classes: Of the alerts that it is for; empty: all.
    """

    after: timedelta
    receiver: str
    error_classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Escalation:
    """Who can be told when those on call don't answer, and after how long they are.

    Attributes:
        receivers: By id, in the order in which the policy names them.
        levels: In any order; a receiver may have none and be told by hand alone.
    """

    receivers: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()

    def due(self, alert: Alert, now: datetime) -> Level | None:
        """The first level whose time has come and who was not told since; None if there is none.

        Only for pages that people were told of, that nobody sees to, and that are not silent.
        """
        since = alert.unheeded_since
        if since is None or alert.state is not AlertState.OPEN or alert.is_silent(now):
            return None
        if alert.severity is not Severity.PAGE or not alert.is_told:
            return None
        waiting = (level for level in self._untold(alert, since) if now - since >= level.after)
        return next(waiting, None)

    def next_receiver(self, alert: Alert) -> str:
        """Who is told next when a person wants it; once all levels were, the last one again.

        Empty if there is nobody.
        """
        untold = self._untold(alert, alert.unheeded_since or alert.loud_since)
        levels = untold or self._levels_for(alert)[-1:]
        return levels[0].receiver if levels else next(iter(self.receivers), "")

    def _untold(self, alert: Alert, since: datetime) -> list[Level]:
        told = {step.receiver for step in alert.steps if step.time >= since}
        return [level for level in self._levels_for(alert) if level.receiver not in told]

    def _levels_for(self, alert: Alert) -> list[Level]:
        levels = sorted(self.levels, key=lambda level: level.after)
        return [
            level
            for level in levels
            if not level.error_classes or alert.error_class in level.error_classes
        ]


def reason_of(level: Level) -> str:
    """Why a level was told, in a sentence."""
    return f"Nobody has acknowledged it for {span_of(level.after)}."
