"""How well the year went, month by month, and how it would have gone without retraining."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from roundhouse.demo import flights
from roundhouse.demo.replay import Served, departures_of
from sklearn.metrics import log_loss, roc_auc_score

_CALIBRATION_BINS: Final = 15  # as evaluations and performance reports have it

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MonthScores:
    """One month of the replay.

    Attributes:
        month: Of the departures.
        n: Flights.
        auc, log_loss, calibration_error: Of what was served; the calibration error is the mean
            distance between predicted chance and observed share over 15 bins of equal width,
            weighted by rows (Naeini et al., 2015).
        serving: Versions that answered, by how many flights, most first.
        frozen_auc, frozen_log_loss: Of the first version on the same flights.
    """

    month: flights.Month
    n: int
    auc: float
    log_loss: float
    calibration_error: float
    serving: Mapping[str, int]
    frozen_auc: float
    frozen_log_loss: float


def month_scores(
    served: Sequence[Served], files: Mapping[flights.Month, Path], first_model: Path
) -> list[MonthScores]:
    """The months that were replayed in full or in part.

    Args:
        served: What was predicted.
        files: The flights by month.
        first_model: `model.onnx` of the first version.
    """
    frozen = onnxruntime.InferenceSession(first_model, providers=["CPUExecutionProvider"])
    by_month: dict[flights.Month, list[Served]] = {}
    for each in served:
        by_month.setdefault(each.departures.month, []).append(each)
    return [
        _month(month, hours, _frozen_scores(frozen, files, month, _rows(hours)))
        for month, hours in by_month.items()
    ]


def expected_calibration_error(labels: Labels, scores: Scores) -> float:
    """Mean distance between predicted chance and observed share, 0 to 1."""
    bins = np.minimum((scores * _CALIBRATION_BINS).astype(np.int64), _CALIBRATION_BINS - 1)
    gaps = (
        abs(scores[bins == b].mean() - labels[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    )
    return float(sum(gaps))


def _month(month: flights.Month, hours: Sequence[Served], frozen: Scores) -> MonthScores:
    labels = np.concatenate([each.departures.late for each in hours])
    scores = np.concatenate([each.prediction.scores for each in hours]).astype(np.float64)
    serving: Counter[str] = Counter()
    for each in hours:
        serving[each.prediction.model_version] += len(each.departures.late)
    return MonthScores(
        month=month,
        n=len(labels),
        auc=float(roc_auc_score(labels, scores)),
        log_loss=float(log_loss(labels, scores)),
        calibration_error=expected_calibration_error(labels, scores),
        serving=dict(serving.most_common()),
        frozen_auc=float(roc_auc_score(labels, frozen)),
        frozen_log_loss=float(log_loss(labels, frozen)),
    )


def _rows(hours: Iterable[Served]) -> int:
    return sum(len(each.departures.late) for each in hours)


def _frozen_scores(
    session: onnxruntime.InferenceSession,
    files: Mapping[flights.Month, Path],
    month: flights.Month,
    rows: int,
) -> Scores:
    parts: list[Scores] = []
    found = 0
    for inputs in _inputs(files, month):
        parts.append(session.run(["probabilities"], inputs)[0][:, 1].astype(np.float64))
        found += len(parts[-1])
        if found >= rows:
            break
    return np.concatenate(parts)


def _inputs(
    files: Mapping[flights.Month, Path], month: flights.Month
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    for departures in departures_of(files, [month]):
        yield {
            name: _words(values) if name in flights.CATEGORICAL else _numbers(values)
            for name, values in departures.inputs.items()
        }


def _numbers(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return values.astype(np.float32).reshape(-1, 1)


def _words(values: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    return np.array([value or "" for value in values], dtype=np.object_).reshape(-1, 1)
