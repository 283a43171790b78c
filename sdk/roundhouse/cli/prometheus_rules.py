"""Objectives as rules for a Prometheus that scrapes the inference services."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeAlias

import yaml
from google.protobuf.duration_pb2 import Duration
from roundhouse.cli import names
from roundhouse.cli.failures import UsageFault
from roundhouse.monitor.v1.monitor_pb2 import Monitor
from roundhouse.monitor.v1.slo_pb2 import ErrorBudget, Slo

Rule: TypeAlias = dict[str, Any]  # what YAML holds has no narrower type

ALERT: Final = "SloBurnRate"

LATENCY_BOUNDS: Final = (
    *("0.0005", "0.001", "0.002", "0.005", "0.01", "0.02", "0.05"),
    *("0.1", "0.2", "0.5", "1.0", "2.0", "5.0"),
)
"""The buckets of the inference service's histogram, as Prometheus writes them."""

_REQUESTS: Final = "roundhouse_inference_requests_total"
_SECONDS: Final = "roundhouse_inference_request_seconds"
_RUNBOOK: Final = "docs/runbooks/error-budget.md"
_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


class NotCountable(UsageFault):
    """No metric counts what an objective counts."""


@dataclass(frozen=True, slots=True)
class _Events:
    """PromQL for the events of a window, with `WINDOW` for its length."""

    bad: str
    total: str


def rules_of(monitor: Monitor, slo: Slo, budget: ErrorBudget) -> list[Rule]:
    """What Prometheus has to record, and the alerts, for one objective.

    The windows, factors and severities are those of the monitor's own evaluation.

    Args:
        monitor: That the objective belongs to.
        slo: The objective.
        budget: What its monitor says of it now.

    Raises:
        NotCountable: No metric counts what it counts; the message says why.
    """
    events = _events(monitor.endpoint, slo)
    windows = sorted(
        {length.seconds for rate in budget.burn_rates for length in _windows(rate)},
    )
    recorded = [rule for seconds in windows for rule in _recorded(slo, events, _span(seconds))]
    by_severity: dict[ErrorBudget.Severity.ValueType, list[str]] = {}
    for rate in budget.burn_rates:
        by_severity.setdefault(rate.severity, []).append(_condition(slo, rate))
    alerts = [
        _alert(monitor, slo, severity, conditions) for severity, conditions in by_severity.items()
    ]
    return recorded + alerts


def as_document(monitor: Monitor, rules: Sequence[Rule]) -> str:
    """The file of rules that Prometheus reads."""
    group = {"name": f"roundhouse:{names.last(monitor.name)}", "rules": list(rules)}
    text: str = yaml.safe_dump(
        {"groups": [group]}, sort_keys=False, allow_unicode=True, width=10**6
    )
    return text


def _events(endpoint: str, slo: Slo) -> _Events:
    match slo.WhichOneof("sli"):
        case "availability":
            return _Events(
                bad=_increase(_REQUESTS, endpoint, 'outcome="failed"'),
                total=_increase(_REQUESTS, endpoint, 'outcome=~"ok|failed"'),
            )
        case "latency":
            total = _increase(f"{_SECONDS}_count", endpoint)
            good = _increase(f"{_SECONDS}_bucket", endpoint, f'le="{_bucket(slo)}"')
            return _Events(bad=f"{total} - {good}", total=total)
        case other:
            raise NotCountable(f"{names.last(slo.name)} counts {other}, which no metric does")


def _bucket(slo: Slo) -> str:
    bound = slo.latency.bound
    seconds = bound.seconds + Decimal(bound.nanos) / 10**9
    for end in LATENCY_BOUNDS:
        if Decimal(end) == seconds:
            return end
    raise NotCountable(
        f"{names.last(slo.name)} is bound to {seconds.normalize():f} s, and {_SECONDS} counts up "
        f"to {', '.join(LATENCY_BOUNDS)} s"
    )


def _increase(metric: str, endpoint: str, *matchers: str) -> str:
    """Over all replicas and versions; those that went away inside the window count, too."""
    selector = ",".join((f'endpoint="{endpoint}"', *matchers))
    return f"sum(increase({metric}{{{selector}}}[WINDOW]))"


def _recorded(slo: Slo, events: _Events, window: str) -> Iterable[Rule]:
    labels = {"slo": slo.name}
    bad, total = _bad(slo, window), f'slo:events:increase{window}{{slo="{slo.name}"}}'
    allowed = 1 - Decimal(repr(slo.target))
    return (
        {
            "record": f"slo:bad_events:increase{window}",
            "expr": events.bad.replace("WINDOW", window),
            "labels": labels,
        },
        {
            "record": f"slo:events:increase{window}",
            "expr": events.total.replace("WINDOW", window),
            "labels": labels,
        },
        {
            "record": f"slo:burn_rate:ratio{window}",
            "expr": f"{bad} / {total} / {allowed:f}",
            "labels": labels,
        },
    )


def _condition(slo: Slo, rate: ErrorBudget.BurnRate) -> str:
    long, short = (_span(length.seconds) for length in _windows(rate))
    burning = (
        f'slo:burn_rate:ratio{window}{{slo="{slo.name}"}} > {rate.factor:g}'
        for window in dict.fromkeys((long, short))
    )
    return " and ".join((*burning, f"{_bad(slo, long)} >= {slo.min_bad_events}"))


def _alert(
    monitor: Monitor,
    slo: Slo,
    severity: ErrorBudget.Severity.ValueType,
    conditions: Sequence[str],
) -> Rule:
    labels = {
        "slo": slo.name,
        "severity": ErrorBudget.Severity.Name(severity).removeprefix("SEVERITY_").lower(),
        "error_class": "BURN_RATE",
    }
    owner = slo.owner or monitor.owner
    return {
        "alert": ALERT,
        "expr": " or ".join(f"({condition})" for condition in conditions),
        "labels": {**labels, "owner": owner} if owner else labels,
        "annotations": {
            "summary": f"{names.last(monitor.name)}/{names.last(slo.name)} spends its budget "
            "faster than allowed.",
            "runbook": slo.runbook or _RUNBOOK,
        },
    }


def _bad(slo: Slo, window: str) -> str:
    return f'slo:bad_events:increase{window}{{slo="{slo.name}"}}'


def _windows(rate: ErrorBudget.BurnRate) -> tuple[Duration, Duration]:
    return rate.long_window, rate.short_window


def _span(seconds: int) -> str:
    """Such as `5m`."""
    unit, length = next((unit, length) for unit, length in _UNITS if seconds % length == 0)
    return f"{seconds // length}{unit}"
