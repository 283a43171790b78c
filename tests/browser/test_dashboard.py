"""The dashboard in a real Chromium, on a real monitor with half a year behind it."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from services.monitor.core.alerts.escalation import Escalation
from services.monitor.core.use_cases.escalating import escalate_alert
from tests.support.chromium import running_chromium
from tests.support.dashboard_scene import dashboard_scene, end_waiting_episode
from tests.support.monitor_database import written

pytestmark = pytest.mark.real

PATIENCE_MS = 30_000
MODELS = ("delays", "fares")
PHONE = {"width": 375, "height": 720}

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
async def scene(tmp_path):
    async with dashboard_scene(tmp_path) as scene:
        yield scene


@pytest.fixture
async def browser():
    async with running_chromium() as browser:
        yield browser


async def opened(browser, scene, view="loop", **options):
    """A page on a view, and what went wrong in it or went elsewhere."""
    page = await browser.new_page(**options)
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.on(
        "request",
        lambda request: (
            faults.append(request.url)
            if urlsplit(request.url).netloc != urlsplit(scene.url).netloc
            else None
        ),
    )
    await page.goto(f"{scene.url}#{view}")
    await expect(page.locator("#live")).to_have_class(re.compile(r"\bon\b"))
    await expect(page.locator("#panel")).to_have_attribute("aria-busy", "false")
    return page, faults


async def test_the_keyboard_alone_walks_the_four_views_and_nothing_breaks_their_policy(
    browser, scene
):
    page, faults = await opened(browser, scene)
    panel = page.locator("#panel")

    await expect(panel).to_contain_text("awaiting approval")
    causes = page.locator(".causes .kind")
    await expect(causes.first).to_have_text("endpoint")
    kinds = await causes.all_text_contents()
    assert kinds[:3] == ["endpoint", "rollout", "version"]
    assert {"training job", "snapshot", "episode", "decision", "drift report"} <= set(kinds)
    await expect(panel).to_contain_text("column `gust` is gone")

    await page.locator("#tab-loop").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#tab-executive")).to_be_focused()
    quality = page.get_by_role("img", name="auc by window")
    await expect(quality.locator(".dot")).to_have_count(24)
    await expect(panel).to_contain_text("1 of 2")
    await expect(panel).to_contain_text("the last episode ended 7.0 days ago")

    for left, text in (("Budget left of good", "-900.0 %"), ("Costs by model", "9.00 USD")):
        await expect(page.get_by_role("img", name=left)).to_contain_text(text)
    await expect(panel).to_contain_text("freeze training")
    await expect(panel).to_contain_text("The error budget of good was down to -900.0%, below 10.0%")
    burning = page.get_by_role("img", name="Burn rates of good")
    await expect(burning.locator(".bar.bad")).to_have_count(1)
    months = page.get_by_role("img", name="Costs by month").locator("g > text:first-child")
    assert await months.all_text_contents() == ["2013-01", "2013-02", "2013-03"]

    delays = page.get_by_role("img", name="Quality of delays by version")
    await expect(delays.locator(".version")).to_have_text("v1")
    await expect(delays.locator(".dot")).to_have_count(24)
    fares = page.get_by_role("img", name="Quality of fares by version")
    assert await fares.locator(".version").all_text_contents() == ["v1", "v2"]
    await expect(fares.locator(".test")).to_have_count(2)
    marks = [page.get_by_role("img", name=f"of {name} by").locator(".mark") for name in MODELS]
    assert await marks[0].get_attribute("y1") == await marks[1].get_attribute("y1")
    served = page.get_by_role("region", name="Versions of delays that served").locator("tbody")
    await expect(served).to_contain_text("48.0 % ± 2.0 % (0.7400)")
    await expect(served).to_contain_text("evaluations/1")
    await expect(panel).to_contain_text("Never served: refunds.")

    await page.keyboard.press("ArrowRight")
    await expect(panel).to_contain_text("Over 1 monitor.")
    queue = page.locator(".queue li.soon")
    await expect(queue).to_have_count(5)
    incident = queue.filter(has_text="node n7")
    await expect(incident).to_contain_text("Ask ann. docs/runbooks/training/worker-lost.md")
    await incident.get_by_role("button").focus()
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Newest checkpoint: mlp-1, step 2, sha256:ab.")
    await expect(dialog.locator("pre")).to_contain_text("epoch 3 of 40")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("img", name="Burn rates of good")).to_be_visible()
    waiting = page.get_by_role("region", name="Training queue")
    await expect(waiting.locator("tbody tr")).to_have_count(1)
    failed = page.get_by_role("region", name="Failed attempts at training")
    await expect(failed.locator("tbody tr")).to_have_count(3)
    await expect(failed).to_contain_text("worker w-1 is gone")
    await expect(panel).to_contain_text("A person has to decide on")
    await expect(panel).to_contain_text("Wind goes further")

    await page.locator("#tab-oncall").focus()
    await page.keyboard.press("End")
    await expect(page.locator("#tab-debug")).to_be_focused()
    drifted = page.locator(".heat button.drifted")
    await expect(drifted.last).to_be_visible()
    await drifted.last.focus()
    await page.keyboard.press("Enter")
    await expect(dialog.locator("rect.baseline")).to_have_count(12)
    await expect(dialog.locator("rect.window")).to_have_count(12)
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(drifted.last).to_be_focused()

    where = page.get_by_role("region", name="Drift by slice", exact=True)
    await expect(where.locator("tbody tr")).to_have_count(2)
    await expect(where.locator("tbody tr").first).to_contain_text("carrier = HA")
    await expect(where.locator("tbody tr").first).to_contain_text("lasts")
    await expect(
        page.get_by_text("Of 2 columns in slices 1 stand out, 1 of them last.")
    ).to_be_visible()
    column = where.get_by_role("button", name="wind where carrier = HA")
    await column.focus()
    await page.keyboard.press("Enter")
    await expect(
        dialog.get_by_role("img", name="Shares in training and in the window")
    ).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(column).to_be_focused()
    followed = page.get_by_role("region", name="What scores follow", exact=True)
    await expect(followed.locator("tbody tr")).to_have_count(2)
    await expect(followed.locator("tbody tr").first).to_contain_text("wind")
    await expect(followed.locator("tbody tr").first).to_contain_text("lasts")
    await expect(followed.locator("tbody tr").first).to_contain_text("-0.500 ± 0.150")
    await expect(page.get_by_text("Of 2 features 2 moved, 2 of them last")).to_be_visible()
    chosen = page.get_by_role("combobox", name="Drift of the window")
    await chosen.select_option(index=10)
    await expect(where.locator("tbody tr").first).not_to_contain_text("lasts")
    await expect(followed.locator("tbody tr").first).not_to_contain_text("lasts")
    await expect(page.get_by_text("Of 2 features 0 moved, 0 of them last")).to_be_visible()

    sliced = page.get_by_role("region", name="Slices by window").locator("tbody tr")
    await expect(sliced).to_have_count(3)
    await expect(sliced.first).to_contain_text("carrier = HA")
    await expect(sliced.first).to_contain_text("worse")
    await expect(sliced.last).to_contain_text("too few")
    window = page.get_by_role("combobox", name="Window", exact=True)
    names = await window.locator("option").all_text_contents()
    assert len(names) == 48
    await window.select_option(next(name for name in names if "versions/1" in name))
    await expect(sliced.first).to_contain_text("0.7200")
    await page.get_by_role("combobox", name="By", exact=True).select_option("log loss")
    await expect(sliced.first).to_contain_text("carrier = UA")
    found = page.get_by_role("region", name="Slices in the newest rollout")
    await expect(found).to_contain_text("The log loss where carrier is HA rose by 0.08.")

    job = page.get_by_role("region", name="Training jobs").get_by_role("button", name="first-2")
    await job.focus()
    await page.keyboard.press("Enter")
    await expect(dialog.locator("svg.chart .dot")).to_have_count(40)
    await dialog.get_by_role("combobox").select_option("mlp-1: validation auc")
    await expect(dialog.get_by_role("img", name="validation auc of mlp-1 by step")).to_be_visible()
    for known in ("Trace 0af7651916cd43dd8448eb211c80319c", "NaN.", "sha256:abab", "n7"):
        await expect(dialog).to_contain_text(known)
    await expect(dialog.locator("pre")).to_contain_text("epoch 3 of 40")
    await page.keyboard.press("Escape")
    await expect(job).to_be_focused()

    assert faults == []


async def test_what_another_replica_decides_shows_without_a_reload(browser, scene):
    page, faults = await opened(browser, scene, "oncall")
    await expect(page.locator("#panel")).to_contain_text("A person has to decide on")

    await written(scene.database, lambda tx: end_waiting_episode(tx, scene.waiting))

    await expect(page.locator("#panel")).not_to_contain_text("A person has to decide on")
    await expect(page.locator("#live")).to_contain_text("episode rejected")

    def go_up(tx):
        (first, *_) = tx.alerts_since(tx.now)
        managers = Escalation(("managers",))
        escalate_alert(
            tx, first.meta.name, managers, actor="ann", reason="Help.", receiver="managers"
        )

    await written(scene.database, go_up)

    incident = page.locator(".queue li.now").filter(has_text="escalated to managers")
    await incident.get_by_role("button").click()
    await expect(page.get_by_role("dialog")).to_contain_text("escalated to managers by ann: Help.")
    assert faults == []


async def test_what_is_being_read_when_the_page_is_told_of_events_is_not_read_in_vain(
    browser, scene
):
    page = await browser.new_page()
    reading = asyncio.Event()
    readings = []

    async def read(route):
        readings.append(route.request)
        reading.set()
        await expect(page.locator("#live")).to_have_class(re.compile(r"\bon\b"))
        await route.continue_()

    async def tell(route):
        await reading.wait()
        await route.continue_()

    await page.route("**/api/loop*", read)
    await page.route("**/events", tell)
    await page.goto(f"{scene.url}#loop")
    await expect(page.locator("#panel")).to_contain_text("awaiting approval")
    assert (await readings[0].response()).ok


async def test_no_view_is_wider_than_a_phone_nor_light_in_dark_mode(browser, scene):
    page, faults = await opened(browser, scene, viewport=PHONE, color_scheme="dark")
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground))) < 60

    for view, shown in (
        ("loop", ".causes"),
        ("executive", ".chart"),
        ("oncall", ".queue"),
        ("debug", ".heat"),
    ):
        await page.locator(f"#tab-{view}").click()
        await expect(page.locator(shown).first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert faults == []
