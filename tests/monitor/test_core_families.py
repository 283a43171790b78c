"""Quality of models of different kinds on one scale."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.resources import Meta
from services.monitor.core.families import (
    HeldOutScore,
    Histories,
    Service,
    families_of,
    skill_of,
)
from services.monitor.core.resources import PerformanceReport
from tests.support.monitor_values import CHAMPION, ENDPOINT, MARCH, MONITOR

DELAYS = "projects/default/models/delays"
FARES = "projects/default/models/fares"
SECOND = f"{DELAYS}/versions/2"


@pytest.mark.parametrize(
    ("metrics", "metric", "share"),
    [
        ({"auc": 0.5, "log_loss": 0.7}, "auc", 0.0),
        ({"auc": 0.75}, "auc", 0.5),
        ({"auc": 0.4}, "auc", -0.2),
        ({"rmse": 3.0, "r2": 0.6}, "r2", 0.6),
        ({"balanced_accuracy": 0.7, "recall.a": 1, "recall.b": 0.6, "recall.c": 0.5}, None, 0.55),
        ({"balanced_accuracy": 0.25, "recall.a": 0, "recall.b": 0.5}, None, -0.5),
    ],
)
def test_skill_is_nothing_at_the_trivial_baseline_and_one_without_error(metrics, metric, share):
    found = skill_of(metrics, {})
    assert found.metric == (metric or "balanced_accuracy")
    assert found.share == pytest.approx(share)
    assert found.half_width == 0.0


@pytest.mark.parametrize("metrics", [{}, {"rmse": 3.0}, {"balanced_accuracy": 0.7}])
def test_a_metric_whose_baseline_is_not_known_has_no_skill(metrics):
    assert skill_of(metrics, {}) is None


@given(auc=st.floats(0, 1), half_width=st.floats(0, 0.5))
def test_an_interval_of_an_auc_holds_the_same_values_on_the_scale(auc, half_width):
    found = skill_of({"auc": auc}, {"auc": half_width})
    assert (found.share - found.half_width) / 2 + 0.5 == pytest.approx(auc - half_width)
    assert found.share <= 1


def report(version, week, auc=0.7):
    start = MARCH + timedelta(weeks=week)
    return PerformanceReport(
        meta=Meta(f"{MONITOR}/performanceReports/{week}", "r", 1, start, start),
        version=version,
        window_start=start,
        window_end=start + timedelta(weeks=1),
        predictions=10,
        outcomes=9,
        metrics={} if auc is None else {"auc": auc},
        auc_half_width=0.1,
        log_loss_half_width=0.0,
    )


def test_versions_stand_in_the_order_in_which_they_served_with_their_windows_and_tests():
    services = [
        Service(CHAMPION, ENDPOINT, MARCH),
        Service(SECOND, ENDPOINT, MARCH + timedelta(days=1)),
        Service(CHAMPION, f"{ENDPOINT}-2", MARCH + timedelta(days=2)),
    ]
    tests = {SECOND: HeldOutScore("e", {"auc": 0.8}, {"auc": 0.02})}
    never = "projects/default/models/never"
    histories = Histories([FARES, DELAYS, never], services, tests, 0)
    reports = [report(SECOND, 2), report(SECOND, 1, 0.6), report(SECOND, 0, None)]

    delays, *others = families_of(histories, [*reports, report(f"{FARES}/versions/9", 1)])

    assert [(each.model, each.versions) for each in others] == [(FARES, ()), (never, ())]
    first, second = delays.versions
    assert (first.version, first.skill, first.live) == (CHAMPION, None, ())
    assert [each.endpoint for each in first.services] == [ENDPOINT, f"{ENDPOINT}-2"]
    assert (second.skill.share, second.skill.half_width) == pytest.approx((0.6, 0.04))
    assert [each.skill.share for each in second.live] == pytest.approx([0.2, 0.4])
