"""The registry's own Prometheus metrics."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

_VERIFIED_VERSIONS: Final = Counter(
    "roundhouse_registry_verified_versions",
    "Versions whose bytes were read again, by what was found: whole or damaged.",
    ("outcome",),
)
_VERIFIED_BYTES: Final = Counter(
    "roundhouse_registry_verified_bytes", "Bytes read from the store to verify them."
)


class PrometheusIntegrityMeter:
    """`IntegrityMeter` as `roundhouse_registry_verified_...`."""

    def read(self, size_bytes: int) -> None:
        """See `IntegrityMeter`."""
        _VERIFIED_BYTES.inc(size_bytes)

    def examined(self, is_whole: bool) -> None:
        """See `IntegrityMeter`."""
        _VERIFIED_VERSIONS.labels("whole" if is_whole else "damaged").inc()
