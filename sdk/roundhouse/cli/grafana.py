"""A Grafana dashboard of what the services tell Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]  # a JSON document has no narrower type

_SCHEMA: Final = 39
"""Of dashboards, Grafana 11's; later ones migrate it when it is imported."""

_COLUMNS: Final = 24
_WIDTH: Final = 8
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_ENDPOINT: Final = 'endpoint=~"$endpoint"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart.

    Attributes:
        unit: Grafana's id of it.
        curves: Expression by legend.
    """

    title: str
    unit: str
    curves: Mapping[str, str]


def _rate(metric: str, matchers: str = "") -> str:
    return f"rate({metric}{{{matchers}}}[$__rate_interval])"


def _quantiles(metric: str, by: str = "", matchers: str = "") -> dict[str, str]:
    legend = f"{{{{{by}}}}} " if by else ""
    labels = f"le, {by}" if by else "le"
    return {
        f"{legend}p{share:g}": f"histogram_quantile({share / 100:g}, "
        f"sum by ({labels}) ({_rate(f'{metric}_bucket', matchers)}))"
        for share in (50, 99)
    }


def _by_objective(share: str) -> str:
    return f"max by (slo) (roundhouse_monitor_slo_{share}_ratio)"


_REQUESTS: Final = "roundhouse_inference_requests_total"
_OBSERVATIONS: Final = "roundhouse_inference_observations"

PANELS: Final[Mapping[str, tuple[Panel, ...]]] = {
    "Serving": (
        Panel(
            "Requests by how they ended",
            "reqps",
            {"{{outcome}}": f"sum by (outcome) ({_rate(_REQUESTS, _ENDPOINT)})"},
        ),
        Panel(
            "Requests by version",
            "reqps",
            {
                "{{endpoint}} {{variant}}": f"sum by (endpoint, variant) "
                f"({_rate(_REQUESTS, _ENDPOINT)})"
            },
        ),
        Panel(
            "Time to an answer",
            "s",
            _quantiles("roundhouse_inference_request_seconds", matchers=_ENDPOINT),
        ),
        Panel(
            "Rows that wait for a model",
            "short",
            {"{{endpoint}} {{variant}}": f"roundhouse_inference_waiting_rows{{{_ENDPOINT}}}"},
        ),
        Panel(
            "Values that training never saw",
            "short",
            {
                "{{endpoint}}": f"sum by (endpoint) "
                f"({_rate('roundhouse_inference_out_of_range_values_total', _ENDPOINT)})"
            },
        ),
        Panel(
            "Observations that the monitor lacks",
            "short",
            {
                "pending": f"sum({_OBSERVATIONS}_pending)",
                "dropped a second": f"sum({_rate(f'{_OBSERVATIONS}_dropped_total')})",
            },
        ),
    ),
    "Objectives": (
        Panel("Good events", "percentunit", {"{{slo}}": _by_objective("good")}),
        Panel("Budget spent", "percentunit", {"{{slo}}": _by_objective("budget_consumed")}),
        Panel("Burn rate, 1 h", "short", {"{{slo}}": "slo:burn_rate:ratio1h"}),
        Panel("Burn rate, 3 d", "short", {"{{slo}}": "slo:burn_rate:ratio3d"}),
        Panel("Bad events, 1 h", "short", {"{{slo}}": "slo:bad_events:increase1h"}),
    ),
    "Services": (
        Panel(
            "Calls by code",
            "reqps",
            {"{{code}}": f"sum by (code) ({_rate('rpc_server_duration_seconds_count')})"},
        ),
        Panel("Time of a call", "s", _quantiles("rpc_server_duration_seconds", by="method")),
        Panel(
            "What happened",
            "short",
            {"{{type}}": f"sum by (type) ({_rate('roundhouse_events_total')})"},
        ),
        Panel(
            "Jobs that are not over",
            "short",
            {"{{state}}": "sum by (state) (roundhouse_trainer_jobs)"},
        ),
        Panel(
            "Rows made durable",
            "short",
            {"{{kind}}": f"sum by (kind) ({_rate('roundhouse_monitor_rows_total')})"},
        ),
        Panel(
            "Alertmanager told of alerts",
            "short",
            {
                "{{outcome}}": f"sum by (outcome) "
                f"({_rate('roundhouse_monitor_alertmanager_posts_total')})"
            },
        ),
    ),
}


def dashboard() -> Json:
    """The dashboard as Grafana imports it; it asks for the Prometheus and the endpoints."""
    panels: list[Json] = []
    top = 0
    for title, row in PANELS.items():
        panels.append(_row(len(panels) + 1, title, top))
        top += 1
        for place, panel in enumerate(row):
            down, across = divmod(place * _WIDTH, _COLUMNS)
            panels.append(_chart(len(panels) + 1, panel, across, top + down * _HEIGHT))
        top += -(-len(row) * _WIDTH // _COLUMNS) * _HEIGHT
    return {
        "uid": "roundhouse",
        "title": "Roundhouse",
        "tags": ["roundhouse"],
        "schemaVersion": _SCHEMA,
        "editable": True,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [_source_variable(), _endpoint_variable()]},
        "panels": panels,
    }


def _row(number: int, title: str, top: int) -> Json:
    place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place}


def _chart(number: int, panel: Panel, across: int, top: int) -> Json:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": across, "y": top, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
                "expr": expr,
                "legendFormat": legend,
            }
            for place, (legend, expr) in enumerate(panel.curves.items())
        ],
    }


def _source_variable() -> Json:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _endpoint_variable() -> Json:
    query = f"label_values({_REQUESTS}, endpoint)"
    return {
        "name": "endpoint",
        "label": "Endpoint",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "endpoint"},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
