"""The status page of a real worker in a real browser."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import PATIENCE
from tests.support.browser import accessibility_problems, browser_page, complaints
from tests.support.fleet import Fleet, probe


async def test_the_page_loads_and_follows_what_happens(page: Page, url: str, ships: Fleet) -> None:
    heard = complaints(page)
    await page.goto(url)
    await expect(page.locator("#summary")).to_contain_text("Idle: no tickets in 2 partitions")
    await expect(page.locator("#connection")).to_have_text("live")

    await ships.submit([probe("long", sleep_ms=600_000, log="step 1 of 9"), probe("bad", fail=True)])

    await expect(page.locator("#running")).to_contain_text("step 1 of 9", timeout=PATIENCE)
    await expect(page.locator("#summary")).to_contain_text("Working: 1 running; 1 ticket", timeout=PATIENCE)
    await expect(page.locator("#results")).to_contain_text("verdict failed", timeout=PATIENCE)
    await expect(page.locator("#failures")).to_contain_text("verdict failed", timeout=PATIENCE)
    assert heard == []


async def test_open_details_and_the_focus_survive_an_update(page: Page, url: str, ships: Fleet) -> None:
    await ships.submit([probe("long", sleep_ms=600_000, log="step 1 of 9")])
    await page.goto(url)
    await page.locator("#running summary").click(timeout=PATIENCE)
    await page.locator("#running a", has_text="long").focus()
    await ships.submit([probe("other", sleep_ms=600_000, log="more")])
    await expect(page.locator("#running")).to_contain_text("other", timeout=PATIENCE)
    await expect(page.locator("#running details[open] pre")).to_have_text("step 1 of 9")
    assert await page.evaluate("document.activeElement.textContent") == "long"


async def test_a_ticket_is_found_and_tells_its_story(page: Page, url: str, ships: Fleet) -> None:
    heard = complaints(page)
    await ships.submit([probe("again/1", errors=1, retry_after=600)])
    await page.goto(url)
    await expect(page.locator("#waiting")).to_contain_text("error 1 of 1", timeout=PATIENCE)
    await page.get_by_label("Ticket").fill("again/1")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Ticket again/1")
    await expect(page.locator(".timeline")).to_contain_text("ticket retry scheduled")
    assert heard == []


async def test_dead_letters_are_counted_and_lead_to_where_they_are(page: Page, url: str, ships: Fleet) -> None:
    await page.goto(url)
    await ships.submit([probe(ticket_id, sleep_ms="not a number") for ticket_id in ("broken", "broken-too")])
    await page.get_by_role("link", name="2 dead letters").click(timeout=PATIENCE)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(url: str, ships: Fleet, scheme: str) -> None:
    await ships.submit(
        [
            probe("long", sleep_ms=600_000, log="step 1 of 9"),
            probe("again", errors=1, retry_after=600),
            probe("bad", fail=True),
            probe("broken", sleep_ms="not a number"),
            {**probe("later"), "dependencies": ["long"]},
        ],
        key=lambda _: b"one-plan",
    )
    async with browser_page(color_scheme=scheme) as page:
        await page.goto(url)
        await expect(page.locator("#failures")).to_contain_text("verdict failed", timeout=PATIENCE)
        await expect(page.locator("#waiting")).to_contain_text("error 1 of 1", timeout=PATIENCE)
        await expect(page.locator("#summary")).to_contain_text("1 dead letter", timeout=PATIENCE)
        assert await accessibility_problems(page) == []
        await page.goto(f"{url}/tickets/long")
        assert await accessibility_problems(page) == []


async def test_it_is_of_use_without_javascript(url: str, ships: Fleet) -> None:
    await ships.submit([probe("long", sleep_ms=600_000, log="step 1 of 9")])
    await ships.probe_says("start", 1)
    async with browser_page(java_script_enabled=False) as page:
        await page.goto(url)
        await expect(page.locator("#running")).to_contain_text("step 1 of 9")
        await page.get_by_role("link", name="long").first.click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Ticket long")
