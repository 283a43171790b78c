"""The service's own Prometheus metrics; labels are bounded by what is loaded."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from services.inference.core.admission import Admission
from services.inference.core.ports import LoadedModel, Outcome

_LATENCY_BUCKETS_S = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
)
_LABELS = ("endpoint", "variant")


class PrometheusMeters:
    """Makes meters that export under `roundhouse_inference_...`."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.requests = Counter(
            "roundhouse_inference_requests",
            "Inference requests answered, by how they ended.",
            (*_LABELS, "outcome"),
            registry=registry,
        )
        self.seconds = Histogram(
            "roundhouse_inference_request_seconds",
            "Time from the routed request to its answer, without the transport.",
            _LABELS,
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.out_of_range = Counter(
            "roundhouse_inference_out_of_range_values",
            "Feature values outside what training saw.",
            _LABELS,
            registry=registry,
        )

        self.not_sampled = Counter(
            "roundhouse_inference_rows_not_sampled",
            "Rows answered that the endpoint's sample rate left unobserved.",
            _LABELS,
            registry=registry,
        )

        self.waiting_rows = Gauge(
            "roundhouse_inference_waiting_rows",
            "Rows that wait for the model; endpoints that share one show the same.",
            _LABELS,
            registry=registry,
        )

        self.memory_bytes = Gauge(
            "roundhouse_inference_model_memory_bytes",
            "Memory that loading the version took; endpoints that share one show the same.",
            _LABELS,
            registry=registry,
        )

    def meter(self, endpoint: str, variant: str, model: LoadedModel) -> PrometheusMeter:
        """See `Meters`."""
        self.memory_bytes.labels(endpoint, variant).set(model.memory_bytes)
        self.waiting_rows.labels(endpoint, variant).set_function(lambda: model.waiting_rows)
        return PrometheusMeter(self, endpoint, variant)


class PrometheusMeter:
    """One variant's children, looked up once: a lookup per request costs more than counting."""

    def __init__(self, meters: PrometheusMeters, endpoint: str, variant: str) -> None:
        self._meters = meters
        self._names = (endpoint, variant)
        self._requests = {
            outcome: meters.requests.labels(endpoint, variant, outcome.value) for outcome in Outcome
        }
        self._seconds = meters.seconds.labels(endpoint, variant)
        self._out_of_range = meters.out_of_range.labels(endpoint, variant)
        self._not_sampled = meters.not_sampled.labels(endpoint, variant)

    def answered(self, outcome: Outcome, seconds: float) -> None:
        """See `Meter`."""
        self._requests[outcome].inc()
        self._seconds.observe(seconds)

    def out_of_range(self, values: int) -> None:
        """See `Meter`."""
        self._out_of_range.inc(values)

    def not_sampled(self, rows: int) -> None:
        """See `Meter`."""
        self._not_sampled.inc(rows)

    def retire(self) -> None:
        """See `Meter`."""
        for outcome in Outcome:
            self._meters.requests.remove(*self._names, outcome.value)
        self._meters.seconds.remove(*self._names)
        self._meters.out_of_range.remove(*self._names)
        self._meters.not_sampled.remove(*self._names)
        self._meters.waiting_rows.remove(*self._names)
        self._meters.memory_bytes.remove(*self._names)


def export_admission(admission: Admission, registry: CollectorRegistry = REGISTRY) -> None:
    """Show what is under way whenever metrics are read."""
    for name, text, read in (
        ("calls", "Inference calls under way.", lambda: admission.calls_under_way),
        ("bytes", "Serialized requests under way.", lambda: admission.bytes_under_way),
    ):
        gauge = Gauge(f"roundhouse_inference_{name}_under_way", text, registry=registry)
        gauge.set_function(read)


class ObservationMetrics:
    """Counters that add up: observed + recovered = acknowledged + rejected + pending + dropped."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.observed = Counter(
            "roundhouse_inference_observations_observed",
            "Rows answered whose endpoint keeps observations.",
            registry=registry,
        )
        self.logged = Counter(
            "roundhouse_inference_observations_logged",
            "Rows written to the local log.",
            registry=registry,
        )
        self.recovered = Counter(
            "roundhouse_inference_observations_recovered",
            "Rows that an earlier process of this replica had logged and not sent.",
            registry=registry,
        )
        self.dropped = Counter(
            "roundhouse_inference_observations_dropped",
            "Rows answered but not logged: the disk allowance was used up, or writing failed.",
            registry=registry,
        )
        self.acknowledged = Counter(
            "roundhouse_inference_observations_acknowledged",
            "Rows that the monitor has made durable.",
            registry=registry,
        )
        self.rejected = Counter(
            "roundhouse_inference_observations_rejected",
            "Rows that the monitor refused for good; their segments are set aside.",
            registry=registry,
        )
        self.pending = Gauge(
            "roundhouse_inference_observations_pending",
            "Rows in the local log that the monitor has not acknowledged.",
            registry=registry,
        )
        self.pending_bytes = Gauge(
            "roundhouse_inference_observations_pending_bytes",
            "Size of the local log.",
            registry=registry,
        )
        self.limit_bytes = Gauge(
            "roundhouse_inference_observations_limit_bytes",
            "Allowance of the local log.",
            registry=registry,
        )
        self.filling = Gauge(
            "roundhouse_inference_observations_filling",
            "1 while the allowance or the disk has room for less than a fifth of the allowance.",
            registry=registry,
        )
