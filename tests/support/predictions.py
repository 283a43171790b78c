"""Predictions and outcomes of one endpoint, as the log holds them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from services.common.profiles import (
    ColumnProfile,
    Profile,
    RowSample,
    ScoredSample,
    feature_profiles,
    reliability_of,
)
from services.common.sketches import FrozenBins
from services.common.sliced_profiles import slice_sketches
from services.monitor.core.stream.batches import OBSERVATION_COLUMNS, OUTCOME_COLUMNS
from services.monitor.core.windows import from_us, to_us
from tests.support.monitor_values import CHAMPION, ENDPOINT

MONDAY = datetime(2013, 3, 4, tzinfo=UTC)
DAY = timedelta(days=1)
ORIGINS = ("EWR", "JFK", "LGA")


class World:
    """Draws predictions whose outcomes follow their scores.

    Args:
        seed: Of everything.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._next = 0

    def observations(
        self,
        n: int,
        start: datetime,
        end: datetime,
        *,
        version: str = CHAMPION,
        endpoint: str = ENDPOINT,
        shift: float = 0.0,
    ) -> pa.Table:
        """Predictions at event times between `start` and `end`, in no order."""
        ids = [f"p{self._next + index}:0" for index in range(n)]
        self._next += n
        times = self._random.integers(to_us(start), to_us(end), n)
        scores = self._random.beta(2, 5, n).astype(np.float32)
        return pa.table(
            {
                "prediction_id": ids,
                "event_time": pa.array(times, pa.timestamp("us", tz="UTC")),
                "endpoint": [endpoint] * n,
                "variant": [version] * n,
                "score": scores,
                "label": (scores > 0.5).astype(np.int64),
                "f_wind": (self._random.normal(size=n) + shift).astype(np.float32),
                "f_origin": self._random.choice(ORIGINS, n).tolist(),
            },
            schema=pa.schema(
                [
                    *OBSERVATION_COLUMNS.items(),
                    ("f_wind", pa.float32()),
                    ("f_origin", pa.string()),
                ]
            ),
        )

    def outcomes(self, observations: pa.Table, delay: timedelta = timedelta(hours=3)) -> pa.Table:
        """What came true of each, `delay` later."""
        scores = observations.column("score").to_numpy()
        times = observations.column("event_time").cast(pa.int64()).to_numpy() + to_us(
            from_us(0) + delay
        )
        came = (self._random.random(scores.size) < scores).astype(np.int64)
        return outcomes(observations.column("prediction_id").to_pylist(), came.tolist(), times)

    def profile(self, n: int = 5000) -> Profile:
        """What a version was trained on."""
        rows = self.observations(n, MONDAY - 28 * DAY, MONDAY)
        times = rows.column("event_time").cast(pa.int64()).to_numpy()
        features = {"wind": rows.column("f_wind"), "origin": rows.column("f_origin")}
        scores = rows.column("score").to_numpy()
        came = (self._random.random(n) < scores).astype(np.int64)
        profiles = feature_profiles(features, categorical={"origin"}, time_us=times)
        score = ColumnProfile.of(FrozenBins.numeric(scores), scores, times)
        return Profile(
            profiles,
            score,
            ColumnProfile.of(FrozenBins.numeric([0, 1]), came, times),
            n,
            sample=RowSample.of(features, profiles, times),
            reliability=reliability_of(score, scores, came, times),
            slices=slice_sketches(
                profiles,
                features,
                {"origin": features["origin"]},
                score=score,
                scores=scores,
                scores_sliced_by={"origin": features["origin"]},
            ),
            held_out=ScoredSample.of(features, profiles, scores, times),
        )


def outcomes(ids: Sequence[str], came: Sequence[int], times_us: Sequence[int]) -> pa.Table:
    """Outcomes by prediction."""
    return pa.table(
        {
            "prediction_id": list(ids),
            "outcome": list(came),
            "event_time": pa.array(times_us, pa.timestamp("us", tz="UTC")),
        },
        schema=pa.schema(list(OUTCOME_COLUMNS.items())),
    )
