"""Cross-validation: how the train part is parted into folds, and what they say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.trainer.core.failures import DataFault
from services.trainer.core.spec import JobSpec
from services.trainer.core.splits import Indices, Split, SplitMethod, place_groups
from services.trainer.core.tables import TWO_CLASSES, Table

_FOLD_DRAW = 1
"""Keeps the draw of folds apart from that of the parts, which has the same seed."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows of the train part that a model learns from, and those that judge it.

    Attributes:
        learn: int64 [rows], in order of time.
        judge: int64 [rows], in order of time; none of `learn`.
    """

    learn: Indices
    judge: Indices


@dataclass(frozen=True, slots=True)
class FoldScores:
    """What a trial scored on one fold.

    Attributes:
        learn_rows: Rows that it learned from.
        rows: Rows that it was judged on.
        metrics: Such as `auc` and `log_loss`.
    """

    learn_rows: int
    rows: int
    metrics: Mapping[str, float]


def folds_of(spec: JobSpec, table: Table, split: Split) -> list[Fold]:
    """The folds of the train part, drawn as `spec` parts the rows; none where it asks for none.

    By time, the part is cut into one block more than there are folds, and each fold learns from
    all blocks before the one that judges it. Otherwise each row judges once, and its fold learns
    from all others: by chance, with each label spread evenly, or with whole groups.

    Raises:
        DataFault: There are too few rows, groups or rows of a label for so many folds.
    """
    count = spec.cross_validation_folds
    if not count:
        return []
    rows = split.train
    if spec.split_method is SplitMethod.TIME:
        blocks = np.array_split(rows, count + 1)
        folds = [Fold(np.concatenate(blocks[:at]), blocks[at]) for at in range(1, count + 1)]
    else:
        number = _drawn(spec, table, rows)
        folds = [Fold(rows[number != at], rows[number == at]) for at in range(count)]
    for at, fold in enumerate(folds, start=1):
        _check(fold, f"fold {at} of {count}", table)
    return folds


def means(folds: Sequence[FoldScores]) -> dict[str, float]:
    """Mean of each metric over the folds; empty without any."""
    return {
        name: float(np.mean([fold.metrics[name] for fold in folds]))
        for name in (folds[0].metrics if folds else ())
    }


def spreads(folds: Sequence[FoldScores]) -> dict[str, float]:
    """Sample standard deviation of each metric over the folds; empty with fewer than two."""
    return {
        name: float(np.std([fold.metrics[name] for fold in folds], ddof=1))
        for name in (folds[0].metrics if len(folds) > 1 else ())
    }


def _drawn(spec: JobSpec, table: Table, rows: Indices) -> Indices:
    """The fold that each of `rows` judges, from 0."""
    count = spec.cross_validation_folds
    random = np.random.default_rng([spec.seed, _FOLD_DRAW])
    if spec.split_method is SplitMethod.GROUPED:
        if table.groups is None:
            raise DataFault("split.group_column was not read with the rows")
        return _by_group(table.groups[rows].astype(str), count, random)
    order = random.permutation(len(rows))
    if spec.split_method is SplitMethod.STRATIFIED:
        label = table.label[rows]
        for value, name in enumerate(table.classes):
            found = int(np.sum(label == value))
            if found < count:
                raise DataFault(
                    f"cross_validation.folds is {count}, but the train part has {found} rows "
                    f"with label {name}"
                )
        order = order[np.argsort(label[order], kind="stable")]
    number = np.empty(len(rows), dtype=np.int64)
    number[order] = np.arange(len(rows)) % count
    return number


def _by_group(groups: np.ndarray, count: int, random: np.random.Generator) -> Indices:
    names, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < count:
        raise DataFault(
            f"cross_validation.folds is {count}, but the train part has {len(names)} groups"
        )
    order = random.permutation(len(names))
    number = np.empty(len(names), dtype=np.int64)
    number[order] = place_groups(sizes[order], np.full(count, len(groups) / count))
    return number[codes]


def _check(fold: Fold, called: str, table: Table) -> None:
    """Pass a fold that learns from every class, and is judged on one of two at least."""
    help_ = "ask for fewer folds, or split by METHOD_STRATIFIED"
    for role, part in (("learn from", fold.learn), ("be judged on", fold.judge)):
        if len(np.unique(table.label[part])) < len(TWO_CLASSES):
            raise DataFault(
                f"cross_validation.folds: {called} would {role} rows of one label alone; {help_}"
            )
    lacking = table.lacking(fold.learn)
    if lacking:
        raise DataFault(
            f"cross_validation.folds: {called} would learn from no row with label {lacking[0]}; "
            f"{help_}"
        )
