"""A real browser (Debian's Chromium, driven by Playwright), and axe-core, which finds what keeps people out."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from tests.support.tools import tool

SERIOUS = ("serious", "critical")


def chromium() -> str:
    """The path of the browser; skips the test that asks where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed: `make tools` does it where it may")
    return path


@asynccontextmanager
async def browser_page(**options: object) -> AsyncIterator[Page]:
    """A page of a fresh browser; ``options`` are those of a Playwright context, such as ``java_script_enabled``."""
    path = chromium()
    async with async_playwright() as playwright:
        # The sandbox needs rights that root in a container has not; only pages of our own are opened.
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        context = await browser.new_context(viewport={"width": 1400, "height": 900}, **options)  # type: ignore[arg-type] # passed on
        try:
            yield await context.new_page()
        finally:
            await browser.close()


def complaints(page: Page) -> list[str]:
    """Fills with what the page writes to its console as an error or a warning, and with errors that nobody caught."""
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: heard.append(str(error)))
    return heard


async def accessibility_problems(page: Page) -> list[str]:
    """What axe-core finds that is serious or worse."""
    script = tool("axe.min.js")
    # Evaluated by the browser's debugger, so that the page's own policy on scripts stands.
    await page.evaluate(Path(script).read_text())
    found = await page.evaluate("axe.run()")
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]}"
        for violation in found["violations"]
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]
