"""The whole demo, shrunken to a month and one algorithm, as a person runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from roundhouse.cli.failures import Exit

pytestmark = pytest.mark.real

DONE_S = 280
REPORT_KEYS = {
    "stages",
    "candidates",
    "versions",
    "months",
    "decisions",
    "rollouts",
    "causal_record",
}
MONTH_KEYS = {
    "month",
    "n",
    "auc",
    "log_loss",
    "calibration_error",
    "drifted_features",
    "serving",
    "frozen_auc",
    "frozen_log_loss",
}


def started_demo(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "roundhouse.cli.app", "demo", "--last-month", "3"),
            *("--days-per-second", "30", "--algorithm", "logistic_regression"),
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_demo_reports_what_happened(tmp_path: Path) -> None:
    process = started_demo(tmp_path)
    printed = process.communicate(timeout=DONE_S)[0]
    assert process.returncode == Exit.OK, printed
    report = json.loads((tmp_path / "demo-report.json").read_text())
    assert report.keys() == REPORT_KEYS
    (march,) = report["months"]
    assert march.keys() >= MONTH_KEYS
    assert (march["month"], march["n"]) == ("2013-03", 28_834)
    assert march["auc"] == pytest.approx(march["frozen_auc"], abs=0.05)
    assert [each["algorithm"] for each in report["candidates"]] == ["logistic_regression"]
    assert report["versions"][0]["digest"].startswith("sha256:")
    seen_in_validation = {each["validation_auc"] for each in report["candidates"]}
    assert 0.5 < report["versions"][0]["test_auc"] < 1
    assert report["versions"][0]["test_auc"] not in seen_in_validation
    assert report["causal_record"]["kind"] == "endpoint"
    assert not children_in(tmp_path)


@pytest.mark.parametrize("sign", ["start the four services", "train 1", "replay 2013-03"])
def test_an_interrupt_at_any_point_leaves_nothing_behind(tmp_path: Path, sign: str) -> None:
    process = started_demo(tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if sign in line:
            break
    else:
        pytest.fail(f"it never came to: {sign}")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == Exit.INTERRUPTED
    deadline = time.monotonic() + 10
    while children_in(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def children_in(folder: Path) -> list[psutil.Process]:
    """Processes that still stand in the demo's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
