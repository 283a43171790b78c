"""What is known about a job's rows before any model sees them, and what stops the job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.trainer.core.alone import Codes, alone_r2, class_auc
from services.trainer.core.failures import DataFault
from services.trainer.core.spec import Feature, JobSpec
from services.trainer.core.splits import Indices, Split
from services.trainer.core.tables import TWO_CLASSES, Labels, Strings, Table

LEAK: Final = 0.995
"""A feature that alone tells unseen rows this well was filled in when the label was known."""
SUSPECT: Final = 0.95
BINS: Final = 32
_LEVELS: Final = np.linspace(0, 1, BINS)
FEW_POSITIVES: Final = 30
"""Rows of the rarer class below which scores are mostly noise."""
SHOWN_ROWS: Final = 20
SMALLEST_SLICE: Final = 50
MUCH_MISSING: Final = 0.5


class Kind(StrEnum):
    """What a finding is about. The values are part of the report's format."""

    RANGE = "range"
    VALUES = "values"
    MISSING = "missing"
    CONSTANT = "constant"
    DUPLICATES = "duplicates"
    CONTRADICTIONS = "contradictions"
    SPLIT_OVERLAP = "split_overlap"
    LEAK = "leak"
    LABELS = "labels"
    BALANCE = "balance"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or may be.

    Attributes:
        kind: What it is about.
        column: Where; empty when it is about whole rows.
        rows: Rows that it concerns.
        stops: Whether the job must not train on this.
        text: What was found and what would help, for people.
    """

    kind: Kind
    column: str
    rows: int
    stops: bool
    text: str


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """One feature over all rows, and how well it tells the label by itself.

    That is measured on rows that it was not fitted on; None where there are too few to say.

    Attributes:
        column: Its name.
        missing: Rows without a value.
        distinct: Values there are, beside missing ones.
        minimum: Smallest number; None for words and where every row lacks it.
        maximum: Largest number, likewise.
        alone_auc: Of classes.
        alone_r2: Of a quantity, see `alone_r2`.
    """

    column: str
    missing: int
    distinct: int
    minimum: float | None
    maximum: float | None
    alone_auc: float | None
    alone_r2: float | None = None

    @property
    def alone(self) -> float | None:
        """Either of both: 1 tells everything."""
        return self.alone_r2 if self.alone_auc is None else self.alone_auc


@dataclass(frozen=True, slots=True)
class Balance:
    """How the labels of some rows are shared out; `column` is empty for a part of the split.

    Attributes:
        positive_rate: Share of label 1 of two classes.
        class_rows: Rows by class, where there are more than two.
        mean: Of a quantity.
        deviation: Of a quantity.
    """

    column: str
    value: str
    rows: int
    positive_rate: float | None
    class_rows: Mapping[str, int] = field(default_factory=dict)
    mean: float | None = None
    deviation: float | None = None


@dataclass(frozen=True, slots=True)
class DataReport:
    """Everything found. Labels of the test part are not looked at.

    Attributes:
        rows: Rows of the snapshot.
        duplicates: Rows that repeat an earlier one: time, features and label.
        columns: In the spec's order.
        balance: Of train and validation, then of the slices of both together.
        suspicious_rows: The most suspicious labels of train and validation, by position in the
            snapshot, worst first.
        findings: What stops the job first.
    """

    rows: int
    duplicates: int
    columns: Sequence[ColumnReport]
    balance: Sequence[Balance]
    suspicious_rows: Sequence[int]
    findings: Sequence[Finding]

    def check(self) -> None:
        """Let the job go on.

        Raises:
            DataFault: Something stops it; the text has everything that does.
        """
        stopping = [finding.text for finding in self.findings if finding.stops]
        if stopping:
            raise DataFault("the data can't be trusted: " + "; ".join(stopping))

    def to_json(self) -> dict[str, Any]:
        """`data.json`."""
        return asdict(self)


def data_report(
    spec: JobSpec, table: Table, split: Split, suspects: Mapping[int, float]
) -> DataReport:
    """What is to be said about a job's rows.

    Args:
        spec: Its features, with what was promised of them.
        table: All rows.
        split: Their parts.
        suspects: Rows of train and validation whose label is suspicious, with how far it is
            from what similar rows have.
    """
    known = table.take(split.fit)
    columns = [_column(feature.name, table, known) for feature in spec.features]
    duplicates, row_findings = _repeated_rows(table, split)
    balance = list(_balance(table, split, known))
    findings = [
        *(
            found
            for pair in zip(spec.features, columns, strict=True)
            for found in _column_findings(*pair, table)
        ),
        *row_findings,
        *_balance_findings(known),
        *_label_findings(suspects, len(known)),
    ]
    return DataReport(
        rows=len(table),
        duplicates=duplicates,
        columns=columns,
        balance=balance,
        suspicious_rows=sorted(suspects, key=lambda row: (-suspects[row], row))[:SHOWN_ROWS],
        findings=sorted(findings, key=lambda finding: not finding.stops),
    )


def _column(name: str, table: Table, known: Table) -> ColumnReport:
    if name in table.numeric:
        values = table.numeric[name]
        present = values[~np.isnan(values)]
        low, high = (float(present.min()), float(present.max())) if len(present) else (None, None)
        codes = _bins(known.numeric[name])
        missing, distinct = len(values) - len(present), len(np.unique(present))
    else:
        words = {**table.categorical, **table.text}[name]
        missing = int(np.sum(words == ""))
        distinct = len(set(words.tolist()) - {""})
        low = high = None
        codes = _word_codes(known.features[name])
    if known.classes:
        return ColumnReport(name, missing, distinct, low, high, class_auc(codes, known))
    alone = alone_r2(codes, known.label)
    return ColumnReport(name, missing, distinct, low, high, None, alone)


def _word_codes(words: Strings) -> Codes:
    """int64 [rows]: the same number for the same word. A dictionary; sorting takes ten times it."""
    numbers: dict[str, int] = {}
    found = (numbers.setdefault(word, len(numbers)) for word in words)
    return np.fromiter(found, np.int64, len(words))


def _bins(values: npt.NDArray[np.float32]) -> Codes:
    """Which of `BINS` bins of equally many rows a number is in; missing ones have their own."""
    present = values[~np.isnan(values)]
    if not len(present):
        return np.zeros(len(values), dtype=np.int64)
    found = np.unique(present)
    edges = (
        found if len(found) <= BINS else np.unique(np.quantile(present, _LEVELS, method="lower"))
    )
    at = np.minimum(np.searchsorted(edges, values, side="left"), len(edges) - 1)
    # An edge that many rows share has a bin of its own, apart from what lies below it.
    codes = 2 * at + (values == edges[at])
    return np.where(np.isnan(values), 2 * len(edges), codes).astype(np.int64)


def _column_findings(feature: Feature, found: ColumnReport, table: Table) -> Iterator[Finding]:
    yield from _promise_findings(feature, found, table)
    name, rows = found.column, len(table)
    if found.distinct == 0:
        yield Finding(Kind.MISSING, name, rows, False, f"{name} is missing in every row")
    elif found.distinct == 1 and not found.missing:
        yield Finding(Kind.CONSTANT, name, rows, False, f"{name} has one value: it says nothing")
    elif found.missing > MUCH_MISSING * rows and feature.maximum_missing is None:
        share = found.missing / rows
        text = f"{name} is missing in {share:.0%} of the rows"
        yield Finding(Kind.MISSING, name, found.missing, False, text)
    alone = found.alone
    if alone is not None and alone >= SUSPECT:
        stops = alone >= LEAK and not feature.known_in_advance
        help_ = "; leave it out, or say known_in_advance if it is known before the label is"
        measure = "AUC" if found.alone_r2 is None else "an R2 of ranks of"
        text = f"{name} alone predicts the label with {measure} {alone:.4f}{help_ if stops else ''}"
        yield Finding(Kind.LEAK, name, rows, stops, text)


def _promise_findings(feature: Feature, found: ColumnReport, table: Table) -> Iterator[Finding]:
    name = feature.name
    if name in table.numeric:
        values = table.numeric[name].astype(np.float64)
        low = -np.inf if feature.minimum is None else feature.minimum
        high = np.inf if feature.maximum is None else feature.maximum
        # The values are float32, so is the bound they are held against.
        outside = int(np.sum((values < np.float32(low)) | (values > np.float32(high))))
        if outside:
            text = (
                f"{name} is outside of {low:g} to {high:g} in {outside} rows "
                f"(from {found.minimum:g} to {found.maximum:g})"
            )
            yield Finding(Kind.RANGE, name, outside, True, text)
    elif feature.values:
        words = table.categorical[name]
        others = ~np.isin(words, ["", *feature.values])
        if others.any():
            examples = ", ".join(repr(word) for word in sorted(set(words[others].tolist()))[:3])
            text = (
                f"{name} has other values than promised in {others.sum()} rows, such as {examples}"
            )
            yield Finding(Kind.VALUES, name, int(others.sum()), True, text)
    limit = feature.maximum_missing
    if limit is not None and found.missing > limit * len(table):
        share = found.missing / len(table)
        text = f"{name} is missing in {share:.1%} of the rows; at most {limit:.1%} was promised"
        yield Finding(Kind.MISSING, name, found.missing, True, text)


def _repeated_rows(table: Table, split: Split) -> tuple[int, list[Finding]]:
    inputs = _identities(table)
    fit = inputs[split.fit]
    values, label = np.unique(table.label[split.fit], return_inverse=True)
    labelled = len(np.unique(fit * len(values) + label))
    duplicates = len(fit) - labelled
    findings = []
    if duplicates:
        text = f"{duplicates} rows of train and validation repeat another: time, features and label"
        findings.append(Finding(Kind.DUPLICATES, "", duplicates, False, text))
    contradicting = labelled - len(np.unique(fit))
    if contradicting:
        text = f"{contradicting} rows have the time and features of another, and not its label"
        findings.append(Finding(Kind.CONTRADICTIONS, "", contradicting, False, text))
    shared = int(np.isin(inputs[split.test], fit).sum())
    if shared:
        text = f"{shared} rows of the test part are in train or validation too: time and features"
        findings.append(Finding(Kind.SPLIT_OVERLAP, "", shared, False, text))
    return duplicates, findings


def _identities(table: Table) -> Indices:
    """int64 [rows]: the same number for the same time and features, exactly."""
    identity = np.unique(table.event_time_us, return_inverse=True)[1]
    for column in table.features.values():
        words = column.dtype == object
        codes = _word_codes(column) if words else np.unique(column, return_inverse=True)[1]
        pairs = identity * (int(codes.max()) + 1) + codes
        identity = np.unique(pairs, return_inverse=True)[1]
    return identity.astype(np.int64)


def _balance(table: Table, split: Split, known: Table) -> Iterator[Balance]:
    for part, rows in (("train", split.train), ("validation", split.validation)):
        yield _shared_out("", part, table.label[rows], table.classes)
    for column, cells in known.slices.items():
        for value in sorted(set(cells.tolist())):
            yield _shared_out(column, value, known.label[cells == value], known.classes)


def _shared_out(column: str, value: str, label: Labels, classes: Sequence[str]) -> Balance:
    if not classes:
        mean, deviation = float(label.mean()), float(label.std())
        return Balance(column, value, len(label), None, mean=mean, deviation=deviation)
    if len(classes) == len(TWO_CLASSES):
        return Balance(column, value, len(label), float(label.mean()))
    counts = np.bincount(label, minlength=len(classes)).tolist()
    return Balance(column, value, len(label), None, dict(zip(classes, counts, strict=True)))


def _balance_findings(known: Table) -> Iterator[Finding]:
    if known.classes:
        yield from _rare_class(known)
    for column, cells in known.slices.items():
        for value in sorted(set(cells.tolist())):
            label = known.label[cells == value]
            if len(label) >= SMALLEST_SLICE and len(np.unique(label)) == 1:
                only = known.classes[label[0]] if known.classes else f"{label[0]:g}"
                text = f"every one of {len(label)} rows with {column} = {value!r} has label {only}"
                yield Finding(Kind.BALANCE, column, len(label), False, text)


def _rare_class(known: Table) -> Iterator[Finding]:
    counts = np.bincount(known.label, minlength=len(known.classes))
    rarest = int(counts.argmin())
    if counts[rarest] < FEW_POSITIVES:
        text = (
            f"only {counts[rarest]} rows of train and validation have the rarest label, "
            f"{known.classes[rarest]}"
        )
        yield Finding(Kind.BALANCE, "", int(counts[rarest]), False, text)


def _label_findings(suspects: Mapping[int, float], rows: int) -> Iterator[Finding]:
    if suspects:
        share = len(suspects) / rows
        text = (
            f"{len(suspects)} labels ({share:.1%}) are suspicious: "
            "most rows like theirs have another"
        )
        yield Finding(Kind.LABELS, "", len(suspects), False, text)
