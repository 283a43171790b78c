"""How soon the dashboard shows itself and its data, in a real Chromium, with a year behind it."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from playwright.async_api import Browser

from benchmarks.harness import Bar, Row
from services.monitor.core.loop.episodes import Episode
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import (
    ChangeKind,
    DriftPoint,
    DriftReport,
    HistogramBin,
    PerformanceReport,
    Severity,
)
from services.monitor.core.use_cases.identities import new_meta
from tests.support.chromium import running_chromium
from tests.support.dashboard_peers import FIRST_WEEK
from tests.support.dashboard_scene import WEEKS, dashboard_scene, write_history
from tests.support.monitor_values import CHAMPION, MONITOR

VIEWS: Final = ("loop", "executive", "oncall", "debug")
DAYS: Final = 365
FEATURES: Final = 50
DETECTORS: Final = ("numeric", "missing", "out_of_range")

_GOAL_MS: Final = 1000.0
_BINS: Final = 20
_PATIENCE_MS: Final = 60_000
_FILLED: Final = """() => document.querySelector("#panel")?.getAttribute("aria-busy") === "false"
    && performance.now()"""
_PAINTED: Final = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def first_paints(folder: Path, rounds: int) -> list[Row]:
    """A row per view: milliseconds from the navigation until the page is painted."""
    return asyncio.run(_first_paints(folder, rounds))


def bars(rows: Sequence[Row]) -> list[Bar]:
    """The slowest view, when it is first painted and when its data is there."""
    filled = max(row.facts["filled_ms"] for row in rows)
    return [
        Bar.at_most("first paint, slowest view", max(row.value for row in rows), _GOAL_MS, "ms"),
        Bar.at_most("painted with its data, slowest view", filled, _GOAL_MS, "ms"),
    ]


def write_year(tx: MonitorTx) -> Episode:
    """Half a year of weeks with episodes, and then a year of days, each with its reports."""
    waiting = write_history(tx)
    start = FIRST_WEEK + timedelta(weeks=WEEKS)
    for day in range(DAYS):
        _write_day(tx, start + timedelta(days=day), day)
    return waiting


async def _first_paints(folder: Path, rounds: int) -> list[Row]:
    samples: dict[str, list[tuple[float, float]]] = {view: [] for view in VIEWS}
    async with (
        dashboard_scene(folder, write_year) as scene,
        running_chromium() as browser,
    ):
        for _ in range(rounds):
            for view, taken in samples.items():
                taken.append(await _opened(browser, f"{scene.url}#{view}"))
    return [row_of(view, taken) for view, taken in samples.items()]


def row_of(view: str, taken: Sequence[tuple[float, float]]) -> Row:
    """The row of one view, from what each round took until painted and until filled."""
    painted = tuple(each[0] for each in taken)
    filled_ms = statistics.median(each[1] for each in taken)
    name = f"dashboard, {view} view, first paint"
    return Row(name, "ms", statistics.median(painted), painted, {"filled_ms": filled_ms})


async def _opened(browser: Browser, url: str) -> tuple[float, float]:
    """Milliseconds until first painted and until the data is there, with nothing cached."""
    context = await browser.new_context()
    try:
        page = await context.new_page()
        await page.goto(url)
        filled = await page.wait_for_function(_FILLED, timeout=_PATIENCE_MS)
        return float(await page.evaluate(_PAINTED)), float(await filled.json_value())
    finally:
        await context.close()


def _write_day(tx: MonitorTx, start: datetime, day: int) -> None:
    key = f"{start:%Y%m%dt%H%M%Sz}"
    end = start + timedelta(days=1)
    tx.drift_reports.add(
        DriftReport(
            meta=new_meta(tx, f"{MONITOR}/driftReports/{key}"),
            baseline_version=CHAMPION,
            window_start=start,
            window_end=end,
            rows=20_000,
            points=tuple(
                _point(detector, f"feature_{number:02}", 0.2 * abs(math.sin(day + number)))
                for detector in DETECTORS
                for number in range(FEATURES)
            ),
            change=ChangeKind.NONE,
            severity=Severity.NONE,
            reason="Nothing goes further than it did in training.",
        )
    )
    for version, suffix in (("", ""), (CHAMPION, "-serving")):
        tx.performance_reports.add(
            PerformanceReport(
                meta=new_meta(tx, f"{MONITOR}/performanceReports/{key}{suffix}"),
                version=version,
                window_start=start,
                window_end=end,
                predictions=20_000,
                outcomes=19_000,
                metrics={"auc": 0.73 + 0.01 * math.sin(day), "log_loss": 0.44},
                auc_half_width=0.01,
                log_loss_half_width=0.01,
            )
        )


def _point(detector: str, feature: str, effect: float) -> DriftPoint:
    bins = (HistogramBin(f"[{place}, {place + 1})", 2_000, 1_000 + place) for place in range(_BINS))
    return DriftPoint(
        feature=feature,
        statistic=100 * effect,
        effect_size=effect,
        p_value=0.5,
        q_value=0.7,
        baseline_rows=40_000,
        window_rows=20_000,
        threshold=0.1,
        algorithm=detector,
        significant=False,
        drifted=False,
        bins=tuple(bins) if detector == "numeric" else (),
        reason=f"No alarm: the effect {effect:.3f} is below the floor 0.1.",
    )
