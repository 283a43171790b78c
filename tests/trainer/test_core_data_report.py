"""What is found in rows before any model sees them, and what stops a job."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.adapters.learning.auditing import suspects
from services.trainer.core.alone import alone_auc
from services.trainer.core.data_report import DataReport, Kind, data_report
from services.trainer.core.failures import DataFault
from services.trainer.core.spec import Feature, FeatureKind, JobSpec
from services.trainer.core.splits import SplitShares, split_by_time
from services.trainer.core.suspicion import suspicious_labels
from services.trainer.core.tables import Table
from tests.support.trainer_values import spec, table


def report(rows: Table, job: JobSpec | None = None) -> DataReport:
    split = split_by_time(rows.event_time_us, SplitShares())
    return data_report(job or spec(), rows, split, {})


def kinds(found: DataReport) -> set[Kind]:
    return {finding.kind for finding in found.findings}


def promised(name: str, **promises: object) -> JobSpec:
    """The spec with promises about one of its features."""
    features = tuple(
        replace(feature, **promises) if feature.name == name else feature  # type: ignore[arg-type]
        for feature in spec().features
    )
    return spec(features=features)


def test_good_rows_have_no_finding_and_a_report_that_is_json() -> None:
    rows = table()
    found = report(rows)
    found.check()
    assert found.findings == []
    assert [column.column for column in found.columns] == list(rows.features)
    assert found.columns[1].missing == np.isnan(rows.numeric["wind"]).sum()
    assert [each.value for each in found.balance] == ["train", "validation", "EWR", "JFK", "LGA"]
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["rows"] == len(rows)


@pytest.mark.parametrize(
    ("name", "promises", "kind"),
    [
        ("distance", {"minimum": 900.0}, Kind.RANGE),
        ("distance", {"maximum": 1100.0}, Kind.RANGE),
        ("wind", {"maximum_missing": 0.1}, Kind.MISSING),
        ("carrier", {"maximum_missing": 0.0}, Kind.MISSING),
        ("origin", {"values": ("EWR", "JFK")}, Kind.VALUES),
    ],
)
def test_a_promise_about_a_feature_that_is_broken_stops_the_job(
    name: str, promises: dict[str, object], kind: Kind
) -> None:
    found = report(table(), promised(name, **promises))
    assert (found.findings[0].kind, found.findings[0].column) == (kind, name)
    with pytest.raises(DataFault, match=name):
        found.check()


def test_promises_that_hold_stop_nothing() -> None:
    rows = table()
    lowest = float(rows.numeric["distance"].min())
    report(rows, promised("distance", minimum=lowest, maximum_missing=0.0)).check()
    report(rows, promised("origin", values=("EWR", "JFK", "LGA"))).check()
    report(rows, promised("wind", maximum_missing=0.5)).check()


@pytest.mark.parametrize("leak", ["number", "word", "gap"])
def test_a_feature_that_is_the_label_in_disguise_stops_the_job(leak: str) -> None:
    rows = table()
    late = rows.label == 1
    columns = {
        "number": {
            "distance": np.where(late, 7.0, np.linspace(0, 5, len(late))).astype(np.float32)
        },
        "word": {"origin": np.where(late, "EWR", "JFK").astype(object)},
        "gap": {"wind": np.where(late, np.nan, 3.0).astype(np.float32)},
    }[leak]
    (name,) = columns
    found = report(rows.replaced(columns))
    assert (found.findings[0].kind, found.findings[0].column) == (Kind.LEAK, name)
    with pytest.raises(DataFault, match=f"{name} alone predicts the label"):
        found.check()
    report(rows.replaced(columns), promised(name, known_in_advance=True)).check()


@given(st.integers(0, 10_000))
def test_a_value_of_its_own_for_each_row_is_no_leak(seed: int) -> None:
    label = np.random.default_rng(seed).integers(0, 2, 1000)
    assert alone_auc(np.arange(1000), label) == 0.5


def test_rows_that_repeat_or_contradict_others_are_counted() -> None:
    rows = table()
    twice = rows.take(np.concatenate([np.arange(1200), np.arange(10)]))
    label = twice.label.copy()
    label[1200:1203] = 1 - label[1200:1203]
    found = report(replace(twice, label=label))
    assert found.duplicates == 7
    counts = {finding.kind: finding.rows for finding in found.findings}
    assert counts == {Kind.DUPLICATES: 7, Kind.CONTRADICTIONS: 3}


def test_rows_on_both_sides_of_the_test_cut_are_counted() -> None:
    rows = table()
    late = np.argsort(rows.event_time_us, kind="stable")[-180]
    twice = rows.take(np.concatenate([np.arange(1200), np.full(200, late)]))
    assert Kind.SPLIT_OVERLAP in kinds(report(twice))


def test_a_constant_an_empty_and_a_one_sided_feature_are_told() -> None:
    rows = table()
    empty = np.full(len(rows), np.nan, dtype=np.float32)
    same = np.full(len(rows), "JFK", dtype=object)
    found = report(rows.replaced({"wind": empty, "origin": same}))
    assert kinds(found) == {Kind.MISSING, Kind.CONSTANT}
    one_sided = replace(rows, label=np.where(rows.slices["origin"] == "LGA", 0, rows.label))
    assert Kind.BALANCE in kinds(report(one_sided))


def test_planted_wrong_labels_are_found_among_the_suspicious_ones() -> None:
    rows = table(4000)
    sure = np.flatnonzero(np.abs(rows.numeric["distance"] - 1000) > 400)
    clean = replace(rows, label=(rows.numeric["distance"] > 1000).astype(np.int64))
    label = clean.label.copy()
    planted = sure[:40]
    label[planted] = 1 - label[planted]
    split = split_by_time(rows.event_time_us, SplitShares())
    known = set(planted.tolist()) & set(split.fit.tolist())
    found = suspects(replace(clean, label=label), split, seed=1)
    assert found == suspects(replace(clean, label=label), split, seed=1)
    assert len(known & found.keys()) >= 0.6 * len(known)
    assert len(found.keys() - known) <= 0.1 * len(known)


def test_labels_that_their_rows_explain_are_not_suspicious() -> None:
    label = np.array([0, 0, 1, 1])
    assert not suspicious_labels(label, np.array([0.1, 0.2, 0.8, 0.9])).any()


def test_a_feature_promise_survives_json() -> None:
    from services.trainer.core.spec import spec_from_json, spec_to_json

    job = spec(
        features=(
            Feature("wind", FeatureKind.NUMERIC, 0.0, 90.0, 0.5, known_in_advance=True),
            Feature("origin", FeatureKind.CATEGORICAL, values=("EWR", "JFK")),
        )
    )
    assert spec_from_json(spec_to_json(job)) == job
