"""What serving needs from the outside; adapters implement it."""

from __future__ import annotations

from services.inference.core.ports.batches import BatchCatalog, BatchFiles, Scorer
from services.inference.core.ports.bundles import (
    Bundle,
    Bundles,
    BundleSource,
    SignatureVerifier,
)
from services.inference.core.ports.meters import (
    FallbackMeter,
    Meter,
    Meters,
    Outcome,
)
from services.inference.core.ports.models import (
    LoadedModel,
    ModelRuntime,
    RunStatistics,
)
from services.inference.core.ports.observations import (
    SHADOW_SUFFIX,
    Observation,
    ObservationLog,
)
from services.inference.core.ports.services import (
    Judge,
    VersionCatalog,
)
from services.inference.core.ports.store import (
    InferenceTx,
    Store,
)

__all__ = [
    "Scorer",
    "BatchFiles",
    "BatchCatalog",
    "Bundle",
    "BundleSource",
    "SignatureVerifier",
    "Bundles",
    "RunStatistics",
    "LoadedModel",
    "ModelRuntime",
    "SHADOW_SUFFIX",
    "Observation",
    "ObservationLog",
    "Outcome",
    "Meter",
    "FallbackMeter",
    "Meters",
    "InferenceTx",
    "Store",
    "VersionCatalog",
    "Judge",
]
