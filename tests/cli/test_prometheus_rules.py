"""Objectives as Prometheus's rules: what they count, and that they fire when the monitor's do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import yaml
from google.protobuf.duration_pb2 import Duration
from prometheus_client import CollectorRegistry
from roundhouse.cli.prometheus_rules import (
    ALERT,
    LATENCY_BOUNDS,
    NotCountable,
    as_document,
    rules_of,
)
from roundhouse.monitor.v1.monitor_pb2 import Monitor
from roundhouse.monitor.v1.slo_pb2 import Slo

from services.common.resources import Meta
from services.inference.adapters.meters import PrometheusMeters
from services.inference.core.ports import Outcome
from services.monitor.api.convert.slos import budget_to_proto
from services.monitor.core.slos import objectives
from services.monitor.core.slos.budgets import SloReading, read_slo
from services.monitor.core.slos.events import MinuteEvents
from services.monitor.core.windows import to_us
from tests.inference.test_metrics import Model
from tests.support.monitor_values import ENDPOINT, MARCH, MONITOR
from tests.support.prometheus import promtool

NAME = f"{MONITOR}/slos/answers"
SLO = Slo(name=NAME, availability=Slo.Availability(), target=0.999, min_bad_events=10)
FAST = Slo(name=NAME, latency=Slo.Latency(bound=Duration(nanos=500_000_000)), target=0.999)
FAST.min_bad_events = 10
DELAYS = Monitor(name=MONITOR, endpoint=ENDPOINT, owner="ops")
FIRST_MINUTE = to_us(MARCH) // 60_000_000
HOUR, DAY = 60, 1440

Stretch = tuple[int, int, int]
"""Minutes, and the good and bad events of each."""

HISTORIES: dict[str, tuple[Sequence[Stretch], set[str]]] = {
    "nothing is bad": ([(2 * HOUR, 10, 0)], set()),
    "all fails for ten minutes": ([(110, 10, 0), (10, 0, 10)], {"page", "ticket"}),
    "it failed, and is over": ([(50, 10, 0), (10, 0, 10), (HOUR, 10, 0)], {"ticket"}),
    "it burns eight times too fast for hours": ([(7 * HOUR, 124, 1)], {"page", "ticket"}),
    "it burns twice too fast for days": ([(3 * DAY, 499, 1)], {"ticket"}),
    "few ask, and nobody for hours": ([(2 * HOUR, 1, 0), (3 * HOUR, 0, 0), (30, 1, 0)], set()),
    "three fail, which is too few": ([(117, 1, 0), (3, 0, 1)], set()),
}


def read(slo: Slo, history: Sequence[Stretch]) -> SloReading:
    """What the monitor says at the end of a history."""
    counted = MinuteEvents()
    minute = FIRST_MINUTE
    for minutes, good, bad in history:
        passed = np.arange(minute, minute + minutes)
        counted.count(np.repeat(passed, good), np.ones(minutes * good, np.bool_))
        counted.count(np.repeat(passed, bad), np.zeros(minutes * bad, np.bool_))
        minute += minutes
    kind = objectives.SliKind[str(slo.WhichOneof("sli")).upper()]
    bound = timedelta(seconds=0.5) if kind is objectives.SliKind.LATENCY else None
    kept = objectives.Slo(
        meta=Meta(NAME, "u", 1, MARCH, MARCH),
        sli=objectives.Sli(kind, bound),
        target=slo.target,
        min_bad_events=slo.min_bad_events,
    )
    return read_slo(kept, counted)


def rules(slo: Slo) -> list[dict[str, Any]]:
    return rules_of(DELAYS, slo, budget_to_proto(read(slo, [(1, 1, 0)]), ()))


def counters(slo: Slo, history: Sequence[Stretch]) -> list[dict[str, str]]:
    """What Prometheus scrapes each minute of the same history."""
    good = np.cumsum([0, *(g for minutes, g, _ in history for _ in range(minutes))])
    bad = np.cumsum([0, *(b for minutes, _, b in history for _ in range(minutes))])
    labels = f'endpoint="{ENDPOINT}",variant="1"'
    if slo.WhichOneof("sli") == "latency":
        series = {
            f'roundhouse_inference_request_seconds_bucket{{{labels},le="0.5"}}': good,
            f'roundhouse_inference_request_seconds_bucket{{{labels},le="0.2"}}': 0 * good,
            f"roundhouse_inference_request_seconds_count{{{labels}}}": good + bad,
        }
    else:
        series = {
            f'roundhouse_inference_requests_total{{{labels},outcome="ok"}}': good,
            f'roundhouse_inference_requests_total{{{labels},outcome="failed"}}': bad,
            f'roundhouse_inference_requests_total{{{labels},outcome="invalid"}}': 100 * good,
        }
    return [
        {"series": name, "values": " ".join(map(str, values))} for name, values in series.items()
    ]


@pytest.mark.real
@pytest.mark.parametrize("slo", [SLO, FAST], ids=["availability", "latency"])
def test_prometheus_fires_exactly_when_the_monitor_does(tmp_path, slo):
    file = tmp_path / "rules.yaml"
    file.write_text(as_document(DELAYS, rules(slo)))
    checked = promtool("check", "rules", file)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    alerts = {rule["labels"]["severity"]: rule for rule in rules(slo) if "alert" in rule}
    tests = []
    for name, (history, expected) in HISTORIES.items():
        burning = read(slo, history).burning
        assert {each.rule.severity.value.lower() for each in burning if each.firing} == expected
        firing = [
            {"exp_labels": alert["labels"], "exp_annotations": alert["annotations"]}
            for severity, alert in alerts.items()
            if severity in expected
        ]
        at = f"{sum(minutes for minutes, *_ in history)}m"
        tests.append(
            {
                "name": name,
                "interval": "1m",
                "input_series": counters(slo, history),
                "alert_rule_test": [
                    {"eval_time": at, "alertname": ALERT, "exp_alerts": firing},
                ],
            }
        )
    suite = tmp_path / "tests.yaml"
    document = {"rule_files": [file.name], "evaluation_interval": "30m", "tests": tests}
    suite.write_text(json.dumps(document))
    told = promtool("test", "rules", suite)
    assert told.returncode == 0, told.stdout + told.stderr


def test_an_alert_says_who_is_asked_and_what_to_do():
    slo = Slo(runbook="https://runbooks.example.com/delays", owner="flights-team")
    slo.MergeFrom(SLO)
    page = next(rule for rule in rules(slo) if "alert" in rule)
    assert page["labels"] == {
        "slo": NAME,
        "severity": "page",
        "error_class": "BURN_RATE",
        "owner": "flights-team",
    }
    assert page["annotations"]["runbook"] == "https://runbooks.example.com/delays"
    shipped = next(rule for rule in rules(SLO) if "alert" in rule)
    assert shipped["labels"]["owner"] == "ops"
    assert shipped["annotations"]["runbook"] == "docs/runbooks/error-budget.md"
    (group,) = yaml.safe_load(as_document(DELAYS, rules(slo)))["groups"]
    assert group == {"name": "roundhouse:delays", "rules": rules(slo)}


@pytest.mark.parametrize(
    ("slo", "told"),
    [
        (Slo(name=NAME, quality=Slo.Quality(metric="auc", bar=0.8)), "answers counts quality"),
        (Slo(name=NAME, jobs=Slo.Jobs()), "answers counts jobs"),
        (
            Slo(name=NAME, latency=Slo.Latency(bound=Duration(nanos=300_000_000))),
            "bound to 0.3 s",
        ),
    ],
)
def test_what_no_metric_counts_is_refused(slo, told):
    with pytest.raises(NotCountable, match=told):
        rules_of(DELAYS, slo, budget_to_proto(read(SLO, [(1, 1, 0)]), ()))


def test_a_bound_may_be_any_bucket_of_what_is_exported():
    registry = CollectorRegistry()
    PrometheusMeters(registry).meter("e", "1", Model()).answered(Outcome.OK, 0.003, 300)
    ends = [
        sample.labels["le"]
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "roundhouse_inference_request_seconds_bucket"
    ]
    assert (*LATENCY_BOUNDS, "+Inf") == tuple(ends)
