"""What an operator does by clicking, on a real worker in a real browser."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.browser.conftest import PATIENCE, TOKEN
from tests.support.browser import accessibility_problems, browser_page, complaints
from tests.support.fleet import Fleet, probe


async def sign_in(page: Page, url: str, token: str = TOKEN) -> None:
    await page.goto(url)
    await page.get_by_role("link", name="Sign in to act").click()
    await page.get_by_label("Your name").fill("ada")
    await page.get_by_label("Admin token").fill(token)
    await page.get_by_role("button", name="Sign in").click()


async def test_without_the_token_nothing_can_be_clicked(page: Page, url: str, ships: Fleet) -> None:
    await ships.submit([probe("long", sleep_ms=600_000)])
    await page.goto(url)
    await expect(page.locator("#running")).to_contain_text("long", timeout=PATIENCE)
    await expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    await sign_in(page, url, "a guess")
    await expect(page.get_by_role("alert")).to_have_text("that is not the admin token")
    await page.goto(f"{url}/dead-letters")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_a_running_ticket_is_cancelled_by_clicking(page: Page, url: str, ships: Fleet) -> None:
    heard = complaints(page)
    await ships.submit([probe("long", sleep_ms=600_000)])
    await sign_in(page, url)
    await page.get_by_role("button", name="Cancel long").click(timeout=PATIENCE)
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Give this ticket up?")
    await page.get_by_role("main").get_by_label("Note").fill("wrong branch")
    await page.get_by_role("button", name="Yes, cancel").click()
    await expect(page.get_by_role("alert")).to_contain_text("long: its executor has been told and ends soon")
    await expect(page.locator("#results")).to_contain_text("cancelled", timeout=PATIENCE)

    (result,) = await ships.results(1)
    assert result["error_message"] == "cancelled by ada: wrong branch"
    (line,) = ships.workers[0].events("operator_action", action="cancel")
    assert (line["by"], line["target"], line["outcome"]) == ("ada", "long", "running")
    assert heard == []


async def test_a_dead_letter_is_replayed_by_clicking(page: Page, url: str, ships: Fleet) -> None:
    heard = complaints(page)
    await ships.submit([probe("broken", sleep_ms="not a number")])
    await ships.results(1)
    await sign_in(page, url)
    await page.get_by_role("link", name="Dead letters", exact=True).click()
    row = page.get_by_role("row").filter(has_text="broken")
    await expect(row).to_contain_text("invalid parameters")
    assert await accessibility_problems(page) == []
    await row.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Send the chosen ones again").click()
    await page.get_by_role("button", name="Yes, replay").click()
    await expect(page.get_by_role("alert")).to_have_text("1 of 1 dead letters were sent again")

    results = await ships.read("results", lambda records: len(records) >= 2, timeout=30)
    assert [record.key for record in results] == [b"broken"] * 2
    assert heard == []


async def test_a_type_is_paused_and_resumed_by_clicking(page: Page, url: str, ships: Fleet) -> None:
    await sign_in(page, url)
    await page.get_by_label("Note").fill("cluster upgrade")
    await page.get_by_role("button", name="Pause PROBE").click()
    await expect(page.get_by_role("alert")).to_contain_text("PROBE: none of its tickets starts on this worker")
    await ships.submit([probe("held")])
    await expect(page.locator("#summary")).to_contain_text("PROBE paused by ada", timeout=PATIENCE)
    await expect(page.locator("#waiting")).to_contain_text("paused", timeout=PATIENCE)
    await expect(page.locator("#slots")).to_contain_text("cluster upgrade")
    await page.get_by_role("button", name="Resume PROBE").click()
    await expect(page.locator("#results")).to_contain_text("held", timeout=PATIENCE)


async def test_a_waiting_ticket_is_tried_at_once(page: Page, url: str, ships: Fleet) -> None:
    await ships.submit([probe("again", errors=1, retry_after=600)])
    await sign_in(page, url)
    await page.get_by_role("button", name="Retry now again").click(timeout=PATIENCE)
    await expect(page.get_by_role("alert")).to_contain_text("again: its next attempt begins")
    await expect(page.locator("#results")).to_contain_text("COMPLETED", timeout=PATIENCE)


async def test_a_worker_is_drained_without_javascript(url: str, ships: Fleet) -> None:
    async with browser_page(java_script_enabled=False) as page:
        await sign_in(page, url)
        await page.get_by_role("button", name="Drain this worker").click()
        await page.get_by_role("button", name="Yes, drain").click()
    assert await ships.workers[0].ended() == 0
