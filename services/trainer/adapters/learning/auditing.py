"""Which labels are suspicious, by models that never saw the row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.trainer.adapters.learning.encoding import frame, new_encoder
from services.trainer.adapters.learning.recipe import Encoding, predicted
from services.trainer.core.splits import Split
from services.trainer.core.suspicion import suspicious_classes, suspicious_labels
from services.trainer.core.tables import TWO_CLASSES, Table

FOLDS = 3
MAX_ROWS = 30_000
"""Of train and validation, evenly spread: a second of work at most, whatever the snapshot holds."""


def suspects(table: Table, split: Split, seed: int) -> dict[int, float]:
    """Rows of train and validation with a suspicious label, and how far off it is.

    Deterministic. Empty where a class has too few rows to part in three, of a regression, and for
    texts, which no quick model reads.
    """
    if not table.classes or table.text:
        return {}
    fit = split.fit
    chosen = fit[:: max(1, -(-len(fit) // MAX_ROWS))]
    rows = table.take(chosen)
    if np.bincount(rows.label, minlength=len(rows.classes)).min() < FOLDS:
        return {}
    unseen = _unseen_probability(rows, seed)
    two = len(rows.classes) == len(TWO_CLASSES)
    distances = (suspicious_labels if two else suspicious_classes)(rows.label, unseen)
    return {int(chosen[at]): float(distances[at]) for at in np.flatnonzero(distances)}


def _unseen_probability(rows: Table, seed: int) -> npt.NDArray[np.float64]:
    """float64 [rows], of label 1, or [rows, classes] where there are more than two."""
    from sklearn.model_selection import StratifiedKFold
    from sklearn.tree import DecisionTreeClassifier

    classes = len(rows.classes)
    probability = np.zeros(len(rows) if classes == len(TWO_CLASSES) else (len(rows), classes))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for learn, judge in folds.split(np.zeros(len(rows)), rows.label):
        learned = rows.take(learn)
        encoder = new_encoder(Encoding.ORDINAL, learned)
        model = DecisionTreeClassifier(max_depth=8, min_samples_leaf=20, random_state=seed)
        model.fit(encoder.fit_transform(frame(learned)), learned.label)
        matrix = encoder.transform(frame(rows.take(judge)))
        probability[judge] = predicted(model, matrix)
    return probability
