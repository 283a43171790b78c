"""A report in a real Chromium, on a phone and in dark mode."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from roundhouse.cli.report.building import build_report
from roundhouse.cli.report.gathering import gather
from roundhouse.cli.report.periods import PeriodKind, period_with
from roundhouse.cli.report.rendering import as_html
from roundhouse.client import Addresses, Client

from tests.support.chromium import running_chromium
from tests.support.dashboard_scene import dashboard_scene

pytestmark = pytest.mark.real

PHONE = {"width": 375, "height": 720}
SUMMER = period_with(PeriodKind.QUARTERLY, date(2013, 5, 1), ZoneInfo("Europe/Berlin"))


async def test_a_report_fits_a_phone_is_dark_in_the_dark_and_asks_for_nothing(tmp_path):
    async with dashboard_scene(tmp_path) as scene:

        def made() -> str:
            with Client(Addresses(monitor=scene.monitor, trainer=scene.peers)) as client:
                found = gather(client, "default", [], SUMMER, datetime.now(UTC))
            return as_html(build_report(found, SUMMER))

        file = tmp_path / "report.html"
        file.write_text(await asyncio.to_thread(made))
    async with running_chromium() as browser:
        page = await browser.new_page(viewport=PHONE, color_scheme="dark")
        seen = []
        page.on("request", lambda request: seen.append(request.url))
        page.on("console", lambda line: seen.append(line.text))
        await page.goto(file.as_uri())
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(map(int, re.findall(r"\d+", ground))) < 60
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert await page.get_by_role("heading", name="Drift").is_visible()
        assert await page.get_by_text("Wind goes further").is_visible()
        assert seen == [file.as_uri()]
