"""What each variant answers, as Prometheus sees it; labels are bounded by what is loaded."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from opentelemetry.trace import get_current_span
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from services.inference.core.fallbacks import FallbackReason
from services.inference.core.ports import LoadedModel, Outcome

_LATENCY_BOUNDS_S: Final = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
)
_SIZE_BOUNDS_BYTES: Final = tuple(float(4**power) for power in range(3, 12))
"""64 bytes to 4 MiB."""

_LABELS: Final = ("endpoint", "variant")
_PREFIX: Final = "roundhouse_inference"


class PrometheusMeters(Collector):
    """Makes meters that export under `roundhouse_inference_...` until they are retired."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._live: dict[tuple[str, str], PrometheusMeter] = {}
        self._fallbacks: dict[str, PrometheusFallbackMeter] = {}
        registry.register(self)

    def meter(self, endpoint: str, variant: str, model: LoadedModel) -> PrometheusMeter:
        """See `Meters`."""
        names = (endpoint, variant)
        made = self._live[names] = PrometheusMeter(model, lambda: self._live.pop(names, None))
        return made

    def fallback_meter(self, endpoint: str) -> PrometheusFallbackMeter:
        """See `Meters`."""
        made = PrometheusFallbackMeter(lambda: self._fallbacks.pop(endpoint, None))
        self._fallbacks[endpoint] = made
        return made

    def collect(self) -> Iterator[Metric]:
        """One family per metric, over the variants that are served now."""
        requests = CounterMetricFamily(
            f"{_PREFIX}_requests",
            "Inference requests answered, by how they ended.",
            labels=(*_LABELS, "outcome"),
        )
        seconds = HistogramMetricFamily(
            f"{_PREFIX}_request_seconds",
            "Time from the routed request to its answer, without the transport; others left out.",
            labels=_LABELS,
        )
        sizes = HistogramMetricFamily(
            f"{_PREFIX}_request_bytes", "Size of the serialized request.", labels=_LABELS
        )
        out_of_range = CounterMetricFamily(
            f"{_PREFIX}_out_of_range_values",
            "Feature values outside what training saw.",
            labels=_LABELS,
        )
        not_sampled = CounterMetricFamily(
            f"{_PREFIX}_rows_not_sampled",
            "Rows answered that the endpoint's sample rate left unobserved.",
            labels=_LABELS,
        )
        waiting_rows = GaugeMetricFamily(
            f"{_PREFIX}_waiting_rows",
            "Rows that wait for the model; endpoints that share one show the same.",
            labels=_LABELS,
        )
        memory_bytes = GaugeMetricFamily(
            f"{_PREFIX}_model_memory_bytes",
            "Memory that loading the version took; endpoints that share one show the same.",
            labels=_LABELS,
        )
        fallbacks = CounterMetricFamily(
            f"{_PREFIX}_fallbacks",
            "Requests that the endpoint's fallback answered, by what the variants could not.",
            labels=("endpoint", "reason"),
        )
        for endpoint, fallback in list(self._fallbacks.items()):
            for reason, count in fallback.counts.items():
                fallbacks.add_metric((endpoint, reason.value), count)
        for names, meter in list(self._live.items()):
            for outcome, count in meter.requests.items():
                requests.add_metric((*names, outcome.value), count)
            meter.seconds.add_to(seconds, names)
            meter.sizes.add_to(sizes, names)
            out_of_range.add_metric(names, meter.values_out_of_range)
            not_sampled.add_metric(names, meter.rows_not_sampled)
            waiting_rows.add_metric(names, meter.model.waiting_rows)
            memory_bytes.add_metric(names, meter.model.memory_bytes)
        yield from (
            requests,
            seconds,
            sizes,
            out_of_range,
            not_sampled,
            fallbacks,
            waiting_rows,
            memory_bytes,
        )


class PrometheusFallbackMeter:
    """One endpoint's fallback.

    Args:
        retire: Stops exporting it.
    """

    def __init__(self, retire: Callable[[], object]) -> None:
        self.counts = dict.fromkeys(FallbackReason, 0)
        self._retire = retire

    def answered(self, reason: FallbackReason) -> None:
        """See `FallbackMeter`."""
        self.counts[reason] += 1

    def retire(self) -> None:
        """See `FallbackMeter`."""
        self._retire()


class PrometheusMeter:
    """One variant's figures.

    Written by the event loop alone and read by the scrape's thread, so it takes none of the
    locks of prometheus_client's own metrics, which cost more than counting; what is read while a
    request is being counted may miss a part of it.

    Args:
        model: Asked for its queue and memory.
        retire: Stops exporting it.
    """

    def __init__(self, model: LoadedModel, retire: Callable[[], object]) -> None:
        self.model = model
        self.requests = dict.fromkeys(Outcome, 0)
        self.seconds = ExemplarHistogram(_LATENCY_BOUNDS_S)
        self.sizes = ExemplarHistogram(_SIZE_BOUNDS_BYTES)
        self.values_out_of_range = 0
        self.rows_not_sampled = 0
        self._retire = retire

    def answered(self, outcome: Outcome, seconds: float, size_bytes: int) -> None:
        """See `Meter`. A request whose trace is recorded becomes an exemplar."""
        self.requests[outcome] += 1
        span = get_current_span()
        trace_id = span.get_span_context().trace_id if span.is_recording() else None
        if outcome is Outcome.OK:
            # A refusal is quick and a failure may be: neither says how long an answer takes.
            self.seconds.observe(seconds, trace_id)
        self.sizes.observe(size_bytes, trace_id)

    def out_of_range(self, values: int) -> None:
        """See `Meter`."""
        self.values_out_of_range += values

    def not_sampled(self, rows: int) -> None:
        """See `Meter`."""
        self.rows_not_sampled += rows

    def retire(self) -> None:
        """See `Meter`."""
        self._retire()


class ExemplarHistogram:
    """Counts values by bucket; each bucket shows the trace of the last recorded one.

    Args:
        bounds: Upper ends of the buckets, ascending, inclusive; one more has none.
    """

    __slots__ = ("_bounds", "_counts", "_exemplars", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._exemplars: list[Exemplar | None] = [None] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, trace_id: int | None) -> None:
        """Count `value`, of a request with this trace if it is recorded."""
        bucket = bisect_left(self._bounds, value)
        self._counts[bucket] += 1
        self._sum += value
        if trace_id is not None:
            labels = {"trace_id": f"{trace_id:032x}"}
            self._exemplars[bucket] = Exemplar(labels, value, time.time())

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Show it as one of `family`."""
        ends = [*map(floatToGoString, self._bounds), "+Inf"]
        counts = accumulate(self._counts)
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = [
            (end, count) if exemplar is None else (end, count, exemplar)
            for end, count, exemplar in zip(ends, counts, self._exemplars, strict=True)
        ]
        family.add_metric(labels, buckets, self._sum)
