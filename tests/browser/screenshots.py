"""Takes the pictures in docs/images: `python -m tests.browser.screenshots`."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from playwright.async_api import Browser, expect

from tests.support.chromium import running_chromium
from tests.support.dashboard_scene import Scene, dashboard_scene

IMAGES = Path(__file__).resolve().parents[2] / "docs/images"


async def main() -> None:
    """Take one picture of each view; the debug view on a phone in dark mode besides."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with dashboard_scene(Path(folder)) as scene, running_chromium() as browser:
            for view in ("loop", "executive", "oncall", "debug"):
                await _take(browser, scene, view, IMAGES / f"dashboard-{view}.png")
            await _take(
                browser,
                scene,
                "loop",
                IMAGES / "dashboard-phone.png",
                viewport={"width": 375, "height": 720},
                color_scheme="dark",
            )


async def _take(browser: Browser, scene: Scene, view: str, path: Path, **options: object) -> None:
    page = await browser.new_page(**{"viewport": {"width": 1000, "height": 760}, **options})
    await page.goto(f"{scene.url}#{view}")
    await expect(page.locator("#live")).to_have_text("live")
    await expect(page.locator("#panel")).to_have_attribute("aria-busy", "false")
    await page.screenshot(path=path)
    await page.close()


if __name__ == "__main__":
    asyncio.run(main())
