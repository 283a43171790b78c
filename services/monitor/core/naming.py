"""What has changed in the world, given what was found: the name decides what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from services.common.sketches import Counts
from services.monitor.core.calibration import outcome_table
from services.monitor.core.detectors.port import Sight
from services.monitor.core.detectors.registry import KINDS
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
    ChangeKind.DATA_FAULT: Severity.PAGE,
}
"""Drift of what goes in is a ticket: most of it does the predictions no harm."""

_MEANING: Final = {
    ChangeKind.NONE: "Nothing has changed beyond what it does by itself",
    ChangeKind.DATA_DRIFT: "What goes in has changed",
    ChangeKind.JOINT_DRIFT: "The columns go together otherwise, though none has changed alone",
    ChangeKind.LABEL_SHIFT: "Outcomes are more or less frequent, but look as they did",
    ChangeKind.CONCEPT_DRIFT: "The same scores have other outcomes",
    ChangeKind.DATA_FAULT: "Values are broken",
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
    still score as before) or the concept, whichever leaves less of the outcomes unexplained
    (Moreno-Torres et al., A unifying view on dataset shift, Pattern Recognition 2012). A change
    of whole rows without one of any column is a joint drift.
    """
    alarms = [point for point in points if point.drifted]
    kinds = {KINDS[point.algorithm] for point in alarms}
    if faults:
        kind = ChangeKind.DATA_FAULT
    elif concept is not None and concept.alarms:
        kind = _likeliest(sight, ChangeKind.CONCEPT_DRIFT, ChangeKind.LABEL_SHIFT)
    elif ChangeKind.LABEL_SHIFT in kinds:
        kind = _likeliest(sight, ChangeKind.DATA_DRIFT, ChangeKind.LABEL_SHIFT)
    elif ChangeKind.DATA_DRIFT in kinds:
        kind = ChangeKind.DATA_DRIFT
    elif ChangeKind.JOINT_DRIFT in kinds:
        kind = ChangeKind.JOINT_DRIFT
    else:
        kind = ChangeKind.NONE
    return Change(kind, _SEVERITY[kind], _sentence(kind, alarms, concept, faults))


def unexplained(before: Counts, now: Counts) -> dict[ChangeKind, float]:
    """Nats per row that each kind of change leaves unexplained of the outcomes by score.

    Each parameter that a kind fits counts as one row's nat, or the freest would win (Akaike,
    1974).

    Data drift: the scores are others, their meaning is the same. Label shift: the outcomes are
    as frequent as they are now, and the scores of either are the same. Concept drift: the
    scores are the same, their meaning is another.

    Args:
        before: int64 [groups, 2], outcomes by score group on the held-out rows.
        now: int64 [groups, 2], in the window.
    """
    old = (before + 0.5) / (before + 0.5).sum()
    new = now / max(int(now.sum()), 1)
    by_group = old / old.sum(axis=1, keepdims=True)
    by_outcome = old / old.sum(axis=0)
    meaning = np.divide(
        new,
        new.sum(axis=1, keepdims=True),
        out=by_group.copy(),
        where=new.sum(axis=1, keepdims=True) > 0,
    )
    models = {
        ChangeKind.DATA_DRIFT: new.sum(axis=1, keepdims=True) * by_group,
        ChangeKind.LABEL_SHIFT: by_outcome * new.sum(axis=0),
        ChangeKind.CONCEPT_DRIFT: old.sum(axis=1, keepdims=True) * meaning,
    }
    groups = int((now.sum(axis=1) > 0).sum())
    fitted = {
        ChangeKind.DATA_DRIFT: groups - 1,
        ChangeKind.LABEL_SHIFT: 1,
        ChangeKind.CONCEPT_DRIFT: groups,
    }
    rows = max(int(now.sum()), 1)
    return {
        kind: fitted[kind] / rows
        + float((new * np.log(np.where(new > 0, new, 1) / np.where(new > 0, model, 1))).sum())
        for kind, model in models.items()
    }


def _likeliest(sight: Sight, *kinds: ChangeKind) -> ChangeKind:
    before = sight.baseline.reliability
    if before is None:
        return kinds[-1]
    known = sight.known
    now = outcome_table(sight.baseline.score.sketch, sight.scores[known], sight.labels[known])
    left = unexplained(before.sum(axis=0), now)
    return min(kinds, key=lambda kind: left[kind])


def _sentence(
    kind: ChangeKind,
    alarms: Sequence[DriftPoint],
    concept: ConceptState | None,
    faults: Sequence[DataFault],
) -> str:
    found = [fault.reason for fault in faults]
    if concept is not None and concept.alarms:
        found.append(concept.reason)
    if alarms:
        words = ", ".join(f"{point.feature} ({point.algorithm})" for point in alarms)
        found.append(f"Alarms: {words}.")
    return " ".join([f"{_MEANING[kind]}.", *found])
