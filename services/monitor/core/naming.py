"""What has changed in the world, given what was found: the name decides what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from services.common.sketches import Counts
from services.monitor.core.calibration import outcome_table
from services.monitor.core.detectors.port import SCORE, Sight
from services.monitor.core.detectors.registry import KINDS
from services.monitor.core.outcome_changes import named_outcome_change
from services.monitor.core.resources import (
    ChangeKind,
    ConceptState,
    DataFault,
    DriftPoint,
    Severity,
)

_SEVERITY: Final = {
    ChangeKind.NONE: Severity.NONE,
    ChangeKind.DATA_DRIFT: Severity.TICKET,
    ChangeKind.JOINT_DRIFT: Severity.TICKET,
    ChangeKind.LABEL_SHIFT: Severity.TICKET,
    ChangeKind.CONCEPT_DRIFT: Severity.PAGE,
    ChangeKind.OUTCOME_CHANGE: Severity.PAGE,
    ChangeKind.DATA_FAULT: Severity.PAGE,
    ChangeKind.SERVING_SKEW: Severity.TICKET,
}
"""Drift of what goes in is a ticket: most of it does the predictions no harm."""

_MEANING: Final = {
    ChangeKind.NONE: "Nothing has changed beyond what it does by itself",
    ChangeKind.DATA_DRIFT: "What goes in has changed",
    ChangeKind.JOINT_DRIFT: "The columns go together otherwise, though none has changed alone",
    ChangeKind.LABEL_SHIFT: "Outcomes are more or less frequent, but look as they did",
    ChangeKind.CONCEPT_DRIFT: "The same scores have other outcomes",
    ChangeKind.OUTCOME_CHANGE: "The same scores have more, or fewer, outcomes 1",
    ChangeKind.DATA_FAULT: "Values are broken",
    ChangeKind.SERVING_SKEW: "Since the version first served, what goes in is not what it was "
    "trained on",
}


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed, who has to look, and why, in a sentence."""

    kind: ChangeKind
    severity: Severity
    reason: str


def named_change(
    points: Sequence[DriftPoint],
    concept: ConceptState | None,
    faults: Sequence[DataFault],
    sight: Sight,
) -> Change:
    """The name of what a window shows.

    Broken data come first: they look like anything. Then outcomes: if the scores' meaning has
    changed, either only the frequency of the outcomes did (label shift: rows of each outcome
    still score as before) or the concept (Moreno-Torres et al., A unifying view on dataset
    shift, Pattern Recognition 2012), as far as that can be told. A change of whole rows without
    one of any column is a joint drift. A drift that has been there since the version first
    served, and leapt there, is serving skew (Breck et al., Data validation for machine learning,
    MLSys 2019).
    """
    alarms = [point for point in points if point.is_alarm]
    kinds = {KINDS[point.algorithm] for point in alarms}
    why = ""
    if faults:
        kind = ChangeKind.DATA_FAULT
    elif concept is not None and concept.alarms:
        kind, why = named_outcome_change(sight)
    elif ChangeKind.LABEL_SHIFT in kinds:
        kind = _drift_or_label_shift(sight)
    elif ChangeKind.DATA_DRIFT in kinds:
        kind = ChangeKind.DATA_DRIFT
    elif ChangeKind.JOINT_DRIFT in kinds:
        kind = ChangeKind.JOINT_DRIFT
    else:
        kind = ChangeKind.NONE
    if kind is ChangeKind.DATA_DRIFT and _all_skewed(alarms):
        kind = ChangeKind.SERVING_SKEW
    return Change(kind, _SEVERITY[kind], _sentence(kind, alarms, concept, faults, why))


def _all_skewed(alarms: Sequence[DriftPoint]) -> bool:
    inputs = [point for point in alarms if KINDS[point.algorithm] is ChangeKind.DATA_DRIFT]
    # Scores follow the features.
    causes = [point for point in inputs if point.feature != SCORE] or inputs
    return bool(causes) and all(point.skewed for point in causes)


def unexplained(before: Counts, now: Counts) -> dict[ChangeKind, float]:
    """Nats per row that each kind of change leaves unexplained of the outcomes by score.

    Each parameter that a kind fits counts as one row's nat, or the freest would win (Akaike,
    1974).

    Data drift: the scores are others, their meaning is the same. Label shift: the outcomes are
    as frequent as they are now, and the scores of either are the same.

    Args:
        before: int64 [groups, 2], outcomes by score group on the held-out rows.
        now: int64 [groups, 2], in the window.
    """
    old = (before + 0.5) / (before + 0.5).sum()
    rows = max(int(now.sum()), 1)
    new = now / rows
    models = {
        ChangeKind.DATA_DRIFT: new.sum(axis=1, keepdims=True)
        * (old / old.sum(axis=1, keepdims=True)),
        ChangeKind.LABEL_SHIFT: old / old.sum(axis=0) * new.sum(axis=0),
    }
    fitted = {
        ChangeKind.DATA_DRIFT: int((now.sum(axis=1) > 0).sum()) - 1,
        ChangeKind.LABEL_SHIFT: 1,
    }
    return {
        kind: fitted[kind] / rows
        + float((new * np.log(np.where(new > 0, new, 1) / np.where(new > 0, model, 1))).sum())
        for kind, model in models.items()
    }


def _drift_or_label_shift(sight: Sight) -> ChangeKind:
    """What more, or fewer, outcomes 1 come from while scores mean what they meant."""
    before = sight.baseline.reliability
    if before is None:
        return ChangeKind.LABEL_SHIFT
    known = sight.known
    now = outcome_table(sight.baseline.score.sketch, sight.scores[known], sight.labels[known])
    left = unexplained(before.sum(axis=0), now)
    return min(left, key=lambda kind: left[kind])


def _sentence(
    kind: ChangeKind,
    alarms: Sequence[DriftPoint],
    concept: ConceptState | None,
    faults: Sequence[DataFault],
    why: str,
) -> str:
    found = [fault.reason for fault in faults]
    if concept is not None and concept.alarms:
        found.append(concept.reason)
    if why:
        found.append(why)
    if alarms:
        words = ", ".join(f"{point.feature} ({point.algorithm})" for point in alarms)
        found.append(f"Alarms: {words}.")
    return " ".join([f"{_MEANING[kind]}.", *found])
