"""How rollouts are written and shown on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from roundhouse.cli.failures import UsageFault
from roundhouse.cli.output import OUT
from roundhouse.cli.views.rollouts import (
    latest_tested,
    phase_name,
    phase_of,
    print_rollout,
    print_shadow_report,
    print_timeline,
)
from roundhouse.common.v1.verdicts_pb2 import EvidenceVerdict, Finding, Measure
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


def finding(measure: Measure, reason: str, **fields) -> Finding:
    return Finding(
        measure=measure,
        verdict=EvidenceVerdict.EVIDENCE_VERDICT_INCONCLUSIVE,
        reason=reason,
        **fields,
    )


def test_the_guide_shows_what_is_printed():
    guide = (Path(__file__).parents[2] / "docs" / "rollouts.md").read_text()
    model = "projects/default/models/flights/versions"
    rollout = Rollout(
        name="projects/default/endpoints/flights/rollouts/r-5f0c2d9e81ab",
        version=f"{model}/2",
        previous_version=f"{model}/1",
        state=Rollout.STATE_RUNNING,
        phases=[phase_of(each) for each in ("shadow:10:1000:98", "0.1", "5:200", "100")],
        outcomes=[outcome(0, 0, 252), outcome(1, 252, 462), outcome(2, 462, None)],
    )
    present = rollout.outcomes[2]
    present.reason = "Too early to tell: 131 outcomes are known of one version; 200 are asked for."
    present.numbers["alpha"] = 0.0125
    present.findings.extend(
        [
            finding(
                Measure.MEASURE_FAILED_SHARE,
                "The share of failed requests is 0.0024 over 412 requests of the new version and "
                "0.0020 over 7,834 of the old one, +0.0004 (always-valid interval -0.0044 to "
                "+0.0262): more than 0.01 is neither proven nor excluded.",
                candidate_n=412,
                champion_n=7_834,
                candidate_value=0.0024,
                champion_value=0.0020,
                effect=0.0004,
                lower=-0.0044,
                upper=0.0262,
                tolerance=0.01,
            ),
            finding(
                Measure.MEASURE_LOG_LOSS,
                "The log loss is 0.4210 over 131 outcomes of the new version and 0.4388 over 2,490 "
                "of the old one, -0.0178 (always-valid interval -0.1357 to +0.1001): more "
                "than 0.02 is neither proven nor excluded.",
                candidate_n=131,
                champion_n=2_490,
                candidate_value=0.4210,
                champion_value=0.4388,
                effect=-0.0178,
                lower=-0.1357,
                upper=0.1001,
                tolerance=0.02,
            ),
        ]
    )
    with OUT.capture() as capture:
        print_rollout(rollout, latest_tested(rollout.outcomes), [], T0 + timedelta(seconds=1122))
    printed = capture.get()
    for line in printed.splitlines():
        assert line.rstrip() in guide, printed


def test_the_tests_of_the_phase_before_are_told_until_there_are_newer_ones():
    tested = outcome(1, 60, 90)
    tested.findings.add()
    outcomes = [outcome(0, 0, 60), tested, outcome(2, 90, None)]
    assert [each.phase for each in latest_tested(outcomes)] == [1, 2]
    assert [each.phase for each in latest_tested(outcomes[:1])] == [0]
    assert latest_tested([]) == []
