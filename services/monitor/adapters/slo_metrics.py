"""How objectives stand, for Prometheus; how fast they burn is left to its rules (docs/slos.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import Gauge

from services.monitor.core.slos.budgets import SloReading

MOST_OBJECTIVES: Final = 1000
"""That are told, the first ones: each is a label's value in every scrape."""

_GOOD: Final = Gauge(
    "roundhouse_monitor_slo_good_ratio",
    "Share of good events in the window of an objective; told by the monitor that keeps alerts.",
    ("slo",),
)
_CONSUMED: Final = Gauge(
    "roundhouse_monitor_slo_budget_consumed_ratio",
    "Share of an objective's error budget that is spent, above 1 when the objective is missed; "
    "told by the monitor that keeps alerts.",
    ("slo",),
)


class ObjectiveGauges:
    """The gauges of one monitor's objectives, by resource name."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, readings: Sequence[SloReading]) -> None:
        """Tell how these stand, and of others nothing any more."""
        told = {reading.slo.meta.name: reading.budget for reading in readings[:MOST_OBJECTIVES]}
        for name, budget in told.items():
            _GOOD.labels(name).set(float(budget.sli))
            _CONSUMED.labels(name).set(float(budget.consumed))
        for gone in self._told - told.keys():
            _GOOD.remove(gone)
            _CONSUMED.remove(gone)
        self._told = set(told)
