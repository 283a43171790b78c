"""What a detector is given, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from services.common.profiles import Profile
from services.common.sketches import Counts
from services.common.slice_sketches import SliceSketches
from services.monitor.core.course import Course
from services.monitor.core.memory import Cut, Memory
from services.monitor.core.quality import UNKNOWN
from services.monitor.core.resources import ChangeKind, HistogramBin
from services.monitor.core.stream.samples import WindowSample
from services.monitor.core.wander import Span, mean_squares

_T = TypeVar("_T")

SCORE: Final = "score"
"""Subject of what is found about the scores."""

LABEL: Final = "label"
"""Subject of what is found about the outcomes."""

ROWS: Final = "rows"
"""Subject of what is found about whole rows."""

USUAL: Final = 1.0
GUARD: Final = 0.1
"""Weights of detectors; that of one of what training hardly ever had: the least effect that
matters is far beyond what goes by itself, so a smaller share of the budget finds it as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one version saw and said in one window, beside its baseline.

    Attributes:
        baseline: What the version was trained on.
        features: int64 counts over each feature's frozen bins.
        score: int64 counts over the score's frozen bins.
        scores: float32 [rows].
        labels: int8 [rows]: the outcome, or `UNKNOWN`.
        event_us: int64 [rows], event time, microseconds since the epoch.
        span: Days that the rows are from.
        sample: Some whole rows.
        unreadable: Rows whose value of a feature was absent or of another type, by feature.
        slices: Features and score slice by slice, as the baseline has them, by feature that slices.
        unsliced: Features that slice here, by which the baseline is not sliced.
    """

    baseline: Profile
    features: Mapping[str, Counts]
    score: Counts
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int8]
    event_us: npt.NDArray[np.int64]
    span: Span
    sample: WindowSample
    unreadable: Mapping[str, int] = field(default_factory=dict)
    slices: Mapping[str, SliceSketches] = field(default_factory=dict)
    unsliced: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Predictions in the window."""
        return int(self.scores.size)

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """bool [rows]: whether the outcome is known."""
        return np.asarray(self.labels != UNKNOWN)

    def of_baseline(self, key: Hashable, work_out: Callable[[], _T]) -> _T:
        """What depends on the baseline alone, worked out in the first window that asks for it.

        Args:
            key: Names it, with whatever of the window it does depend on.
            work_out: Gives the same whenever it is called with this baseline and this key.
        """
        known = self.baseline.worked_out
        if key not in known:
            known[key] = work_out()
        return cast("_T", known[key])


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One effect in a window, with what is needed to judge it.

    Attributes:
        detector: That measured it.
        subject: Feature, `SCORE`, `LABEL` or `ROWS`.
        effect: 0 (as in the baseline) to 1.
        own: float64 [stretches], the effects of the baseline's own stretches.
        cut: How these lie.
        memory: What the baseline says of how long the subject remembers.
        noise: Standard deviation of the square of `effect` by chance alone.
        statistic: Of the test that takes rows for independent.
        p_chance: Its p-value.
        baseline_rows: Behind the baseline.
        window_rows: Behind the window.
        bins: Both histograms; empty if there are none.
        course: How the subject went from training to the window; None if that is not known.
    """

    detector: str
    subject: str
    effect: float
    own: npt.NDArray[np.float64]
    cut: Cut
    memory: Memory
    noise: float
    statistic: float
    p_chance: float
    baseline_rows: int
    window_rows: int
    bins: tuple[HistogramBin, ...] = ()
    course: Course | None = None

    @property
    def own_square(self) -> float:
        """Mean square of the effects of the baseline's own stretches."""
        return float(mean_squares(self.own[None, :])[0])


class Detector(Protocol):
    """Looks for one kind of change."""

    @property
    def name(self) -> str:
        """Constant for programs, such as `numeric`."""
        ...

    @property
    def kind(self) -> ChangeKind:
        """What an alarm of it is a sign of."""
        ...

    @property
    def weight(self) -> float:
        """Of each of its effects in the budget of false alarms, beside 1, the usual one."""
        ...

    def measure(self, sight: Sight) -> Iterable[Measurement]:
        """The effects that it can measure here; none where it lacks what it needs."""
        ...
