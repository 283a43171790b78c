"""What is told of requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from services.inference.core.rows import Rows
from services.inference.core.signature import Signature

SHADOW_SUFFIX: Final = "/shadow"
"""Marks the endpoint of observations that are of shadow traffic."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one request asked and was told.

    Attributes:
        prediction_id: Row i is observed as `{prediction_id}:{i}`.
        event_time_us: Microseconds since the epoch, UTC.
        endpoint: Resource name; with `SHADOW_SUFFIX` where nobody was told, so that it is
            kept beside what was served and never counts as that.
        variant: Resource name of the version that answered; '' if none did.
        scores: float32 [rows], probability of class 1.
        labels: int64 [rows], the decision.
        policy: Name of the policy version that decided.
        fallback: Why the endpoint's fallback answered; '' if it did not.
        latency_us: From the request to its answer, within this server; 0 if there is none.
        failed: Whether the version could not answer; the one row then stands for the request.
    """

    prediction_id: str
    event_time_us: int
    endpoint: str
    variant: str
    signature: Signature
    rows: Rows
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    policy: str
    fallback: str = ""
    latency_us: int = 0
    failed: bool = False


class ObservationLog(Protocol):
    """Keeps observations until the monitor has them."""

    def append(self, observation: Observation) -> None:
        """Keep `observation` where a kill of this process can't lose it. Never raises.

        Does not block longer than a write into the page cache. What can't be
        kept (the disk allowance is used up) is counted and alerted.
        """
        ...
