"""What is counted of requests."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from services.inference.core.fallbacks import FallbackReason
from services.inference.core.ports.models import LoadedModel


class Outcome(StrEnum):
    """How a request ended, for metrics."""

    OK = "ok"
    INVALID = "invalid"
    OVERLOADED = "overloaded"
    EXPIRED = "expired"
    FAILED = "failed"


class Meter(Protocol):
    """Counts what one variant of one endpoint answers."""

    def answered(self, outcome: Outcome, seconds: float, size_bytes: int) -> None:
        """Count one request, of this size when serialized."""
        ...

    def out_of_range(self, values: int) -> None:
        """Count feature values outside what training saw."""
        ...

    def not_sampled(self, rows: int) -> None:
        """Count rows that were answered and, by the sample rate, not observed."""
        ...

    def retire(self) -> None:
        """Stop exporting this variant."""
        ...


class FallbackMeter(Protocol):
    """Counts what one endpoint's fallback answers."""

    def answered(self, reason: FallbackReason) -> None:
        """Count one request."""
        ...

    def retire(self) -> None:
        """Stop exporting this endpoint."""
        ...


class Meters(Protocol):
    """Makes meters."""

    def fallback_meter(self, endpoint: str) -> FallbackMeter:
        """A meter for the endpoint's fallback; the name becomes a metric label."""
        ...

    def meter(self, endpoint: str, variant: str, model: LoadedModel) -> Meter:
        """A meter for the variant; both names become metric labels.

        `model` is asked for its queue whenever metrics are read.
        """
        ...
