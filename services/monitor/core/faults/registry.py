"""All ways in which data are known to break."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from services.monitor.core.detectors.port import Sight
from services.monitor.core.faults.nulls import null_storms
from services.monitor.core.faults.schema import changed_schemas
from services.monitor.core.faults.stuck import stale_features, stuck_sensors
from services.monitor.core.faults.unit import changed_units
from services.monitor.core.resources import DataFault

FAULTS: Final[tuple[Callable[[Sight], Iterator[DataFault]], ...]] = (
    changed_schemas,
    null_storms,
    stuck_sensors,
    stale_features,
    changed_units,
)
"""In the order in which reports have them; a new one is a file and a line."""
