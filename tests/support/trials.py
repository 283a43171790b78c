"""Traffic of two versions side by side, as the log holds it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from services.common.criteria import Criteria
from services.monitor.core.stream.batches import (
    FAILED,
    LATENCY,
    OBSERVATION_COLUMNS,
    ObservationBatch,
    OutcomeBatch,
)
from services.monitor.core.stream.trials import Trial, TrialSpec
from tests.support.monitor_values import CHAMPION, ENDPOINT
from tests.support.predictions import outcomes

CANDIDATE = "projects/default/models/delays/versions/2"
SCHEMA = pa.schema(
    [
        *OBSERVATION_COLUMNS.items(),
        (LATENCY, pa.int64()),
        (FAILED, pa.bool_()),
        ("f_carrier", pa.string()),
    ]
)


def trial_of(criteria: Criteria | None = None, since_us: int = 0) -> Trial:
    """A comparison that has seen nothing yet."""
    return Trial(TrialSpec.of(ENDPOINT, CANDIDATE, CHAMPION, since_us, criteria or Criteria()))


class Requests:
    """Draws requests of one row, one a second, and what came true.

    Scores are calibrated unless they are bent.

    Args:
        seed: Of everything.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self._next = 0
        self._position = 0

    def batch(
        self,
        n: int,
        version: str = CHAMPION,
        *,
        failing: float | np.ndarray = 0.002,
        slower: float | np.ndarray = 1.0,
        skill: float | np.ndarray = 1.0,
        shift: float | np.ndarray = 0.0,
        carriers: Sequence[str] | None = None,
    ) -> tuple[ObservationBatch, OutcomeBatch]:
        """`n` requests to a version and the outcomes of those that it answered.

        Args:
            n: How many.
            version: By resource name.
            failing: Share of requests that it can't answer.
            slower: What its latencies, lognormal about 5 ms, are multiplied with.
            skill: 1 is honest; 0 says a half always, below is misleading.
            shift: Of the scores.
            carriers: Value of the feature `carrier` of each request; drawn unless given.
        """
        first, self._next = self._next, self._next + n
        truth = self.random.beta(1, 3, n)
        scores = np.clip(0.5 + skill * (truth - 0.5) + shift, 0.001, 0.999).astype(np.float32)
        failed = self.random.random(n) < failing
        latency = (self.random.lognormal(8.5, 0.3, n) * slower).astype(np.int64)
        ids = [f"{version[-1]}-{index}:0" for index in range(first, first + n)]
        times = np.arange(first, first + n) * 1_000_000
        rows = pa.table(
            {
                "prediction_id": ids,
                "event_time": pa.array(times, pa.timestamp("us", tz="UTC")),
                "endpoint": [ENDPOINT] * n,
                "variant": [version] * n,
                "score": scores,
                "label": (scores > 0.5).astype(np.int64),
                LATENCY: pa.array(latency, mask=failed),
                FAILED: failed,
                "f_carrier": self.carriers(n) if carriers is None else list(carriers),
            },
            schema=SCHEMA,
        )
        came = (self.random.random(n) < truth).astype(np.int64)
        answered = np.flatnonzero(~failed)
        learned = outcomes([ids[i] for i in answered], came[answered].tolist(), times[answered])
        self._position += 2
        return (
            ObservationBatch(self._position - 1, self._position, rows),
            OutcomeBatch(self._position, self._position, learned),
        )

    def carriers(self, n: int) -> list[str]:
        """One request in twenty is of HA."""
        drawn: list[str] = self.random.choice(
            ["UA", "DL", "AA", "HA"], n, p=[0.4, 0.3, 0.25, 0.05]
        ).tolist()
        return drawn


def feed(trial: Trial, *pairs: tuple[ObservationBatch, OutcomeBatch]) -> Trial:
    """`trial`, having counted requests and their outcomes."""
    for seen, learned in pairs:
        trial.observe(seen)
        trial.learn(learned)
    return trial
