"""A real Chromium without a window, from the environment that tools/isolated_env.py makes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright

INSTALLATION = Path(__file__).resolve().parents[2] / ".environments/chromium"


class BrowserNotInstalled(RuntimeError):
    """There is no Chromium to test with."""

    def __init__(self) -> None:
        super().__init__(
            "Chromium is not installed: run `python tools/isolated_env.py chromium`, "
            "as `make test` does."
        )


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    """A browser that ends with the block.

    Raises:
        BrowserNotInstalled: The message says what to run.
    """
    if not (INSTALLATION / "installed.sha256").exists():
        raise BrowserNotInstalled
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=INSTALLATION / "chromium",
            # Containers lack what the sandbox stands on; only pages of our own are opened.
            chromium_sandbox=False,
        )
        try:
            yield browser
        finally:
            await browser.close()
