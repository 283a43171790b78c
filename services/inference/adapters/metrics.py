"""The whole service's own Prometheus metrics; those of variants are `meters`."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from services.inference.core.admission import Admission
from services.inference.core.mirroring import Mirrored


def export_admission(admission: Admission, registry: CollectorRegistry = REGISTRY) -> None:
    """Show what is under way whenever metrics are read."""
    for name, text, read in (
        ("calls", "Inference calls under way.", lambda: admission.calls_under_way),
        ("bytes", "Serialized requests under way.", lambda: admission.bytes_under_way),
    ):
        gauge = Gauge(f"roundhouse_inference_{name}_under_way", text, registry=registry)
        gauge.set_function(read)


def mirror_counter(registry: CollectorRegistry = REGISTRY) -> Callable[[Mirrored], None]:
    """Counts what becomes of mirrored requests."""
    requests = Counter(
        "roundhouse_inference_mirrored_requests",
        "Copies of requests for versions in a shadow phase, by what became of them.",
        ("outcome",),
        registry=registry,
    )
    children = {outcome: requests.labels(outcome.value) for outcome in Mirrored}
    return lambda outcome: children[outcome].inc()


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
