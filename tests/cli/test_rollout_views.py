"""How rollouts are written and shown on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from roundhouse.cli.failures import UsageFault
from roundhouse.cli.output import OUT
from roundhouse.cli.views.rollouts import (
    phase_name,
    phase_of,
    print_shadow_report,
    print_timeline,
)
from roundhouse.inference.v1.rollout_pb2 import PhaseOutcome, Rollout
from roundhouse.inference.v1.shadow_pb2 import ShadowReport

T0 = datetime(2013, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0.1", "0.1 %"),
        ("50:200", "50 %"),
        ("dark", "dark"),
        ("shadow:2.5", "shadow of 2.5 %"),
        ("shadow:10:500:99", "shadow of 10 %"),
    ],
)
def test_a_phase_is_written_in_a_word(text, name):
    assert phase_name(phase_of(text)) == name


def test_a_shadow_phase_says_what_has_to_come_of_it():
    plan = phase_of("shadow:10:500:99").shadow
    assert (plan.sample_basis_points, plan.min_requests, plan.min_agreement) == (1_000, 500, 0.99)


@pytest.mark.parametrize(
    "text", ["", "half", "5:x", "5:1:2", "dark:1", "shadow:a", "shadow:1:2:3:4"]
)
def test_what_is_no_phase_is_a_usage_fault(text):
    with pytest.raises(UsageFault):
        phase_of(text)


def outcome(phase: int, start_s: int, end_s: int | None) -> PhaseOutcome:
    made = PhaseOutcome(phase=phase)
    made.start_time.FromDatetime(T0 + timedelta(seconds=start_s))
    if end_s is not None:
        made.end_time.FromDatetime(T0 + timedelta(seconds=end_s))
        made.verdict = PhaseOutcome.VERDICT_PASS
    return made


def test_the_picture_has_a_bar_for_each_phase_after_the_one_before():
    rollout = Rollout(
        phases=[phase_of("shadow:10"), phase_of("5"), phase_of("100")],
        outcomes=[outcome(0, 0, 60), outcome(1, 60, None)],
    )
    with OUT.capture() as capture:
        print_timeline(rollout, T0 + timedelta(seconds=120))
    shadow, canary, whole = capture.get().splitlines()
    assert "pass, 1.0 min" in shadow
    assert "under way" in canary
    assert shadow.rindex("█") < canary.index("█")
    assert "█" not in whole
    assert "to come" in whole


def test_a_report_without_requests_claims_nothing():
    with OUT.capture() as capture:
        print_shadow_report(ShadowReport(version="projects/p/models/m/versions/2"))
    assert capture.get().count("nothing yet") == 4
