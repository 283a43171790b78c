"""What Prometheus sees."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from services.inference.adapters.metrics import PrometheusMeters
from services.inference.core.ports import Outcome


class Model:
    waiting_rows = 7
    memory_bytes = 1000


def test_a_variants_series_appear_while_it_is_loaded_and_go_with_it():
    registry = CollectorRegistry()
    meter = PrometheusMeters(registry).meter("e", "1", Model())
    meter.answered(Outcome.OK, 0.003)
    meter.out_of_range(2)
    labels = {"endpoint": "e", "variant": "1"}
    assert registry.get_sample_value("roundhouse_inference_waiting_rows", labels) == 7
    assert (
        registry.get_sample_value(
            "roundhouse_inference_requests_total", {**labels, "outcome": "ok"}
        )
        == 1
    )
    assert registry.get_sample_value("roundhouse_inference_model_memory_bytes", labels) == 1000
    assert registry.get_sample_value("roundhouse_inference_request_seconds_count", labels) == 1
    meter.retire()
    assert b'endpoint="e"' not in generate_latest(registry)
