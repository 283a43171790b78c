"""What Prometheus sees."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import use_span
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as open_metrics

from services.inference.adapters.meters import PrometheusMeters
from services.inference.core.fallbacks import FallbackReason
from services.inference.core.ports import Outcome

LABELS = {"endpoint": "e", "variant": "1"}


class Model:
    waiting_rows = 7
    memory_bytes = 1000


@pytest.fixture
def registry():
    return CollectorRegistry(auto_describe=True)


@pytest.fixture
def meters(registry):
    return PrometheusMeters(registry)


def test_a_variants_series_appear_while_it_is_loaded_and_go_with_it(registry, meters):
    meter = meters.meter("e", "1", Model())
    meter.answered(Outcome.OK, 0.003, 300)
    meter.answered(Outcome.INVALID, 0.001, 300)
    meter.out_of_range(2)
    meter.not_sampled(3)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"roundhouse_inference_{name}", {**LABELS, **labels})

    assert value("waiting_rows") == 7
    assert value("requests_total", outcome="ok") == 1
    assert value("requests_total", outcome="failed") == 0
    assert value("out_of_range_values_total") == 2
    assert value("rows_not_sampled_total") == 3
    assert value("model_memory_bytes") == 1000
    assert value("request_seconds_count") == 1
    assert value("request_bytes_count") == 2
    meter.retire()
    assert b'endpoint="e"' not in generate_latest(registry)


@pytest.mark.parametrize(
    ("metric", "unit", "on_the_bound", "above_all"),
    [("request_seconds", "0.002", 0.002, 7.0), ("request_bytes", "256.0", 256, 1 << 30)],
)
def test_a_value_counts_up_to_its_bucket(registry, meters, metric, unit, on_the_bound, above_all):
    meter = meters.meter("e", "1", Model())
    seconds = metric == "request_seconds"
    for value in (on_the_bound, above_all):
        meter.answered(Outcome.OK, value if seconds else 0.0, 0 if seconds else value)

    def count(end: str) -> float | None:
        name = f"roundhouse_inference_{metric}_bucket"
        return registry.get_sample_value(name, {**LABELS, "le": end})

    assert (count(unit), count("+Inf")) == (1, 2)
    total = registry.get_sample_value(f"roundhouse_inference_{metric}_sum", LABELS)
    assert total == on_the_bound + above_all


def test_a_recorded_trace_is_found_from_both_histograms(registry, meters):
    meter = meters.meter("e", "1", Model())
    span = TracerProvider().get_tracer("test").start_span("call")
    with use_span(span):
        meter.answered(Outcome.OK, 0.003, 300)
    meter.answered(Outcome.OK, 0.3, 3000)
    trace_id = f"{span.get_span_context().trace_id:032x}"
    lines = open_metrics(registry).decode().splitlines()
    marked = [line for line in lines if " # " in line]
    assert [line.partition("{")[0] for line in marked] == [
        "roundhouse_inference_request_seconds_bucket",
        "roundhouse_inference_request_bytes_bucket",
    ]
    assert all(trace_id in line for line in marked)


def test_a_name_that_is_taken_is_noticed(registry, meters):
    with pytest.raises(ValueError, match="Duplicated"):
        PrometheusMeters(registry)


def test_fallbacks_are_counted_by_reason_until_the_endpoint_has_none(registry, meters):
    meter = meters.fallback_meter("e")
    meter.answered(FallbackReason.TIMEOUT)

    def value(reason: FallbackReason) -> float | None:
        labels = {"endpoint": "e", "reason": reason.value}
        return registry.get_sample_value("roundhouse_inference_fallbacks_total", labels)

    assert value(FallbackReason.TIMEOUT) == 1
    assert value(FallbackReason.FAILED) == 0
    meter.retire()
    assert value(FallbackReason.TIMEOUT) is None
