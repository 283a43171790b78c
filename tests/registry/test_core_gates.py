from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidRequest
from services.registry.core.approvals import Decision
from services.registry.core.canonical import digest_of_bytes
from services.registry.core.columns import TimeWindow
from services.registry.core.errors import EvaluationNotATest
from services.registry.core.evaluations import Purpose, SliceScores
from services.registry.core.gates import GateResult, RuleVerdict, judge
from services.registry.core.measurements import Measurements
from services.registry.core.models import Accountability, Money
from services.registry.core.policies import (
    BaselineBar,
    Comparison,
    FixedBar,
    GateRule,
    NamedSlice,
    PromotionPolicy,
    ReadinessItem,
    Reduction,
    SlicesOf,
)
from services.registry.core.use_cases import approvals, models, promotion, versions
from services.registry.core.use_cases.aliases import MoveOrder, move_aliases
from services.registry.core.versions import ModelVersion
from tests.support.registry_memory import EPOCH, MemoryRegistryTx
from tests.support.registry_values import (
    CHAMPION,
    MODEL,
    SNAPSHOT,
    create_model,
    evaluated,
    ready_version,
    sealed_snapshot,
)

ROWS = st.integers(1, 500)
AUCS = st.floats(0, 1)
SLICES = st.lists(st.tuples(ROWS, AUCS), min_size=1, max_size=6)
COMPARISONS = st.sampled_from(Comparison)


def parts(slices: Sequence[tuple[int, float]]) -> tuple[SliceScores, ...]:
    return tuple(
        SliceScores("origin", str(index), rows, {"auc": auc})
        for index, (rows, auc) in enumerate(slices)
    )


def verdict(
    rule: GateRule, candidate: Measurements, baseline: Measurements | None = None
) -> RuleVerdict:
    (found,) = judge([rule], candidate, baseline)
    return found


@given(SLICES, ROWS, AUCS, COMPARISONS)
def test_every_and_worst_agree_with_a_look_at_each_large_slice(
    slices: list[tuple[int, float]], min_rows: int, bar: float, comparison: Comparison
) -> None:
    counting = [auc for rows, auc in slices if rows >= min_rows]
    wanted = bool(counting) and all(comparison.holds(auc, bar) for auc in counting)
    for reduction in (Reduction.EVERY, Reduction.WORST):
        scope = SlicesOf("origin", reduction, min_rows)
        rule = GateRule("auc", comparison, FixedBar(bar), scope)
        found = verdict(rule, Measurements({"auc": 1.0}, slices=parts(slices)))
        assert found.passed == wanted
        if counting:
            assert found.value == (min if comparison is Comparison.AT_LEAST else max)(counting)
        else:
            assert found.value is None


@given(SLICES, ROWS, AUCS)
def test_the_gap_is_between_the_best_and_the_worst_large_slice(
    slices: list[tuple[int, float]], min_rows: int, bar: float
) -> None:
    scope = SlicesOf("origin", Reduction.GAP, min_rows)
    rule = GateRule("auc", Comparison.AT_MOST, FixedBar(bar), scope)
    found = verdict(rule, Measurements({}, slices=parts(slices)))
    counting = [auc for rows, auc in slices if rows >= min_rows]
    if counting:
        assert found.value == max(counting) - min(counting)
        assert found.passed == (found.value <= bar)
    else:
        assert not found.passed


@given(SLICES, st.data())
def test_every_slice_is_held_against_the_same_slice_of_the_baseline(
    slices: list[tuple[int, float]], data: st.DataObject
) -> None:
    others = [(rows, data.draw(AUCS)) for rows, _ in slices]
    rule = GateRule(
        "auc", Comparison.AT_LEAST, BaselineBar(0.0), SlicesOf("origin", Reduction.EVERY, 0)
    )
    found = verdict(
        rule, Measurements({}, slices=parts(slices)), Measurements({}, slices=parts(others))
    )
    assert found.passed == all(
        mine >= theirs for (_, mine), (_, theirs) in zip(slices, others, strict=True)
    )
    lacking = verdict(
        rule, Measurements({}, slices=parts(slices)), Measurements({}, slices=parts(others)[1:])
    )
    assert not lacking.passed


SCOPES = [
    None,
    NamedSlice("origin", "JFK", 0),
    *(SlicesOf("origin", reduction, 0) for reduction in Reduction),
]


@pytest.mark.parametrize("scope", SCOPES, ids=str)
@pytest.mark.parametrize("bar", [FixedBar(0.0), BaselineBar(-1.0), BaselineBar(-1.0, -3.0)])
@pytest.mark.parametrize(
    "known",
    [
        Measurements({}),
        Measurements({"log_loss": 0.1}),
        Measurements({}, slices=(SliceScores("carrier", "JFK", 100, {"auc": 0.9}),)),
        Measurements({}, slices=(SliceScores("origin", "JFK", 100, {"log_loss": 0.9}),)),
    ],
)
def test_an_unknown_metric_or_slice_fails_with_words_and_never_passes(
    scope: NamedSlice | SlicesOf | None, bar: FixedBar | BaselineBar, known: Measurements
) -> None:
    rule = GateRule("auc", Comparison.AT_LEAST, bar, scope)
    full = Measurements(
        {"auc": 0.5},
        {"auc": 0.01},
        (SliceScores("origin", "JFK", 100, {"auc": 0.5}, {"auc": 0.1}),),
    )
    for candidate, baseline in ((known, full), (known, None)):
        found = verdict(rule, candidate, baseline)
        assert not found.passed
        assert found.value is None
        assert "not measured" in found.explanation
    if isinstance(bar, BaselineBar):
        found = verdict(rule, full, known)
        assert not found.passed
        assert "of the baseline was not measured" in found.explanation


def test_a_named_slice_of_too_few_rows_is_not_judged() -> None:
    rule = GateRule("auc", Comparison.AT_LEAST, FixedBar(0.5), NamedSlice("origin", "JFK", 50))
    small = SliceScores("origin", "JFK", 49, {"auc": 0.9})
    found = verdict(rule, Measurements({}, slices=(small,)))
    assert (found.passed, found.rule.subject) == (False, "auc[origin=JFK]")
    assert "49 rows are under 50" in found.explanation
    assert verdict(rule, Measurements({}, slices=(replace(small, rows=50),))).passed


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 0.1),
    st.floats(0, 0.1),
    st.floats(-5, 5).filter(bool),
    COMPARISONS,
)
def test_the_noise_multiplier_moves_the_bar_by_standard_errors_of_the_difference(
    value: float,
    reference: float,
    error: float,
    other: float,
    multiplier: float,
    comparison: Comparison,
) -> None:
    rule = GateRule("m", comparison, BaselineBar(0.0, multiplier))
    found = verdict(
        rule, Measurements({"m": value}, {"m": error}), Measurements({"m": reference}, {"m": other})
    )
    stricter = multiplier * math.sqrt(error**2 + other**2)
    wanted = reference + stricter if comparison is Comparison.AT_LEAST else reference - stricter
    assert found.bar == pytest.approx(wanted)
    assert found.passed == comparison.holds(value, found.bar or 0.0)


@pytest.mark.parametrize("multiplier", [-2.0, 2.0])
def test_within_noise_is_forgiven_below_zero_and_not_enough_above(multiplier: float) -> None:
    rule = GateRule("auc", Comparison.AT_LEAST, BaselineBar(0.0, multiplier))
    champion = Measurements({"auc": 0.700}, {"auc": 0.005})
    luck = (
        Measurements({"auc": 0.698}, {"auc": 0.005})
        if multiplier < 0
        else Measurements({"auc": 0.702}, {"auc": 0.005})
    )
    assert verdict(rule, luck, champion).passed == (multiplier < 0)
    unknown = verdict(rule, Measurements({"auc": 0.9}), champion)
    assert not unknown.passed
    assert "no standard error" in unknown.explanation


READY = tuple(ReadinessItem)
COMPLETE = Accountability("flights-team", "https://runbooks/flights", Money("EUR", 300, 0), True)


def readiness_of(tx: MemoryRegistryTx, version: ModelVersion) -> dict[str, bool]:
    result = gated(tx, version)
    return {str(each.rule): each.passed for each in result.verdicts}


def gated(tx: MemoryRegistryTx, version: ModelVersion) -> GateResult:
    rows = digest_of_bytes(tx.new_uid().encode())
    return promotion.evaluate_gate(tx, evaluated(tx, version, split_digest=rows).meta.name, "")


def test_each_item_of_the_checklist_has_its_own_verdict() -> None:
    tx = MemoryRegistryTx()
    create_model(tx, PromotionPolicy(protected_aliases=("champion",), readiness=READY))
    bare = ready_version(tx)
    result = gated(tx, bare)
    assert not any(each.passed for each in result.verdicts)
    assert [fault.subject for fault in result.failures()] == [
        "readiness.model_card",
        "readiness.owner",
        "readiness.runbook",
        "readiness.rollback_target",
        "readiness.budget",
    ]
    models.update_model(tx, MODEL, models.ModelChange(accountability=lambda _: COMPLETE), etag="")
    assert readiness_of(tx, bare) == {item: item is not ReadinessItem.MODEL_CARD for item in READY}
    assert all(readiness_of(tx, ready_version(tx, card=b"# Delays")).values())
    assert not readiness_of(tx, ready_version(tx, card=b""))[ReadinessItem.MODEL_CARD]


def test_the_rollback_target_is_the_last_other_holder_of_a_protected_alias() -> None:
    tx = MemoryRegistryTx()
    asked = (ReadinessItem.ROLLBACK_TARGET,)
    create_model(tx, PromotionPolicy(protected_aliases=("champion",), readiness=asked))
    models.update_model(tx, MODEL, models.ModelChange(accountability=lambda _: COMPLETE), etag="")
    first, second = ready_version(tx), ready_version(tx, b"other")
    passed = gated(tx, first)
    assert (passed.passed, "first version" in passed.verdicts[0].explanation) == (True, True)
    approval = approvals.request_approval(
        tx, first.meta.name, gate_result=passed.meta.name, requester="ann", expire_time=None
    )
    approvals.decide_approval(
        tx,
        approval.meta.name,
        Decision.APPROVE,
        approver="bob",
        comment="",
        etag="",
    )
    move_aliases(tx, [MoveOrder(CHAMPION, first.meta.name, "")], actor="ann", reason="")
    found = gated(tx, second)
    assert found.passed
    assert first.meta.name in found.verdicts[0].explanation
    # A champion that holds the alias alone is still the first.
    assert gated(tx, first).passed
    tx.versions.replace(
        replace(first, state=versions.VersionState.DEPRECATED, meta=first.meta.touched(tx.now))
    )
    unusable = gated(tx, second)
    assert not unusable.passed
    assert "not READY" in unusable.verdicts[0].explanation


def test_evidence_changes_with_the_readiness_that_was_found() -> None:
    tx = MemoryRegistryTx()
    create_model(tx, PromotionPolicy(readiness=(ReadinessItem.OWNER,)))
    evaluation = evaluated(tx, ready_version(tx)).meta.name
    digests = []
    for owner in ("", "ann", "bob", "bob"):
        change = models.ModelChange(accountability=lambda _, owner=owner: Accountability(owner))
        models.update_model(tx, MODEL, change, etag="")
        digests.append(promotion.evaluate_gate(tx, evaluation, "").evidence_digest)
    assert len(set(digests)) == 3
    assert digests[2] == digests[3]


def test_evidence_grows_too_old() -> None:
    tx = MemoryRegistryTx()
    hour = GateRule("evidence.evaluation_age_s", Comparison.AT_MOST, FixedBar(3600.0))
    data = GateRule("evidence.snapshot_age_s", Comparison.AT_MOST, FixedBar(86_400.0))
    create_model(tx, PromotionPolicy((hour, data)))
    evaluation = evaluated(tx, ready_version(tx)).meta.name
    fresh, timeless = promotion.evaluate_gate(tx, evaluation, "").verdicts
    assert (fresh.passed, timeless.passed) == (True, False)
    assert "no time column" in timeless.explanation
    tx.pass_time(seconds=3601)
    stale, _ = promotion.evaluate_gate(tx, evaluation, "").verdicts
    assert (stale.passed, stale.value) == (False, 3601.0)


def test_the_age_of_a_snapshot_counts_from_its_last_event() -> None:
    tx = MemoryRegistryTx()
    data = GateRule("evidence.snapshot_age_s", Comparison.AT_MOST, FixedBar(86_400.0))
    create_model(tx, PromotionPolicy((data,)))
    snapshot = sealed_snapshot(tx)
    window = TimeWindow(EPOCH - timedelta(days=9), EPOCH - timedelta(hours=1))
    (file,) = snapshot.files
    dated = replace(file, table=replace(file.table, window=window))
    tx.snapshots.replace(replace(snapshot, files=(dated,), meta=snapshot.meta.touched(tx.now)))
    (found,) = promotion.evaluate_gate(tx, evaluated(tx, ready_version(tx)).meta.name, "").verdicts
    assert (found.passed, found.value) == (True, 3600.0)
    assert tx.snapshots.get(SNAPSHOT) is not None


@pytest.mark.parametrize("purpose", sorted(set(Purpose) - {Purpose.TEST}))
def test_the_gate_judges_only_what_was_made_to_test(purpose: Purpose) -> None:
    tx = MemoryRegistryTx()
    version, other = ready_version(tx), ready_version(tx, b"other")
    watched = evaluated(tx, version, purpose=purpose, split_digest=digest_of_bytes(b"w"))
    with pytest.raises(EvaluationNotATest):
        promotion.evaluate_gate(tx, watched.meta.name, "")
    candidate = evaluated(tx, other).meta.name
    if purpose is Purpose.SELECTION:
        return
    baseline = evaluated(tx, version, purpose=purpose).meta.name
    if purpose is Purpose.BASELINE:
        assert promotion.evaluate_gate(tx, candidate, baseline).passed
    else:
        with pytest.raises(EvaluationNotATest):
            promotion.evaluate_gate(tx, candidate, baseline)


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (
            GateRule(
                "bundle.size_bytes", Comparison.AT_MOST, FixedBar(1.0), NamedSlice("a", "b", 0)
            ),
            "model.promotion_policy.rules[0].slices",
        ),
        (
            GateRule("evidence.evaluation_age_s", Comparison.AT_MOST, BaselineBar(0.0)),
            "model.promotion_policy.rules[0].baseline_margin",
        ),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: GateRule, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        create_model(MemoryRegistryTx(), PromotionPolicy((rule,)))
    assert [fault.field for fault in refused.value.violations] == [field]


@pytest.mark.parametrize(
    ("budget", "field"),
    [
        (Money("euro", 1, 0), "model.monthly_budget.currency_code"),
        (Money("EUR", 0, 0), "model.monthly_budget"),
        (Money("EUR", -1, 0), "model.monthly_budget"),
        (Money("EUR", 1, 10**9), "model.monthly_budget"),
    ],
)
def test_a_budget_is_an_amount_above_zero(budget: Money, field: str) -> None:
    tx = MemoryRegistryTx()
    create_model(tx)
    change = models.ModelChange(accountability=lambda _: Accountability(monthly_budget=budget))
    with pytest.raises(InvalidRequest) as refused:
        models.update_model(tx, MODEL, change, etag="")
    assert [fault.field for fault in refused.value.violations] == [field]
