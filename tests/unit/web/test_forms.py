"""Signing in and acting by clicking, as a browser sends it."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.unit.dispatch.fakes import record
from tests.unit.web.fakes import TOKEN, Worker, letter, serving
from worker_agents.web.page.sessions import COOKIE


async def sign_in(worker: Worker, token: str = TOKEN, by: str = "ada") -> httpx.Response:
    return await worker.http.post("/sign-in", data={"by": by, "token": token})


async def csrf_of(worker: Worker) -> str:
    (value,) = re.findall(r'name="csrf" value="([^"]+)"', (await worker.http.get("/")).text)
    return str(value)


async def act(worker: Worker, action: str, **fields: str | list[str]) -> httpx.Response:
    return await worker.http.post(f"/act/{action}", data={"csrf": await csrf_of(worker), **fields})


async def test_with_the_token_one_is_signed_in_for_an_hour(worker: Worker) -> None:
    response = await sign_in(worker)
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in response.headers["set-cookie"]
    assert "Signed in as <strong>ada</strong>" in (await worker.http.get("/")).text
    worker.world.clock.advance(3_601)
    assert "Signed in as" not in (await worker.http.get("/")).text
    assert [(event.action, event.by, event.outcome) for event in worker.audited] == [("sign_in", "ada", "signed_in")]


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "ä" * 20])
async def test_with_another_token_one_is_not(worker: Worker, token: str) -> None:
    response = await sign_in(worker, token)
    assert response.status_code == 401
    assert "that is not the admin token" in response.text
    assert "set-cookie" not in response.headers
    assert [event.status for event in worker.audited] == [401]


async def test_without_an_admin_token_nobody_can_sign_in() -> None:
    async with serving(token="") as worker:
        assert "Actions are off" in (await worker.http.get("/sign-in")).text
        response = await sign_in(worker, "")
        assert response.status_code == 401
        assert "set-cookie" not in response.headers


async def test_guessing_is_stopped_and_then_not_even_the_right_token_helps_for_a_minute(worker: Worker) -> None:
    for _ in range(10):
        assert (await sign_in(worker, "guess")).status_code == 401
    barred = await sign_in(worker)
    assert (barred.status_code, "set-cookie" in barred.headers) == (429, False)
    worker.world.clock.advance(61)
    assert (await sign_in(worker)).status_code == 303


async def test_who_signs_out_is_out_wherever_the_cookie_went(worker: Worker) -> None:
    await sign_in(worker)
    cookie = worker.http.cookies[COOKIE]
    await worker.http.post("/sign-out")
    worker.http.cookies.set(COOKIE, cookie)
    assert "Signed in as" not in (await worker.http.get("/")).text


async def test_a_waiting_ticket_is_cancelled_after_a_second_question(worker: Worker) -> None:
    await worker.world.accept(record(1, "t-1", "BUILD", dependencies=["never"]))
    await sign_in(worker)

    asked = await act(worker, "cancel", ticket_id="t-1", reason="wrong branch", back="/tickets/t-1")
    assert "Give this ticket up?" in asked.text
    assert 'value="wrong branch"' in asked.text
    assert "t-1" in worker.world.lane.jobs

    done = await act(worker, "cancel", ticket_id="t-1", reason="wrong branch", back="/tickets/t-1", confirmed="yes")
    assert (done.status_code, done.headers["location"]) == (303, "/tickets/t-1")
    await worker.world.work()
    assert "t-1" not in worker.world.lane.jobs
    page = (await worker.http.get("/")).text
    assert "t-1: it had not begun and is being settled" in page
    assert "is being settled" not in (await worker.http.get("/")).text, "told once"
    order = worker.audited[-1]
    assert (order.action, order.target, order.by, order.why) == ("cancel", "t-1", "ada", "wrong branch")


async def test_a_type_is_paused_and_resumed(worker: Worker) -> None:
    await sign_in(worker)
    await act(worker, "pause", task_type="BUILD", for_seconds="900", reason="upgrade")
    pause = worker.world.dispatcher.pauses.get("BUILD")
    assert pause is not None
    assert (pause.by, pause.why, pause.until - pause.since) == ("ada", "upgrade", 900_000)
    await act(worker, "resume", task_type="BUILD")
    assert worker.world.dispatcher.pauses.get("BUILD") is None


async def test_the_worker_is_drained_after_a_second_question(worker: Worker) -> None:
    await sign_in(worker)
    assert "Drain this worker?" in (await act(worker, "drain")).text
    assert worker.drains == 0
    await act(worker, "drain", confirmed="yes")
    assert worker.drains == 1


async def test_dead_letters_are_shown_and_those_chosen_sent_again(worker: Worker) -> None:
    worker.letters.letters = [letter("0-1", "t-1"), letter("0-2", "t-2"), letter("0-3", None, "undecodable")]
    assert (await worker.http.get("/dead-letters")).headers["location"] == "/sign-in"
    await sign_in(worker)
    page = (await worker.http.get("/dead-letters")).text
    assert page.index("letter 0-3") < page.index("letter 0-1"), "the newest first"
    asked = await act(worker, "replay", letter=["0-1", "0-2"], back="/dead-letters")
    assert "Send these dead letters again?" in asked.text
    assert worker.letters.sent == []
    await act(worker, "replay", letter=["0-1", "0-2"], back="/dead-letters", confirmed="yes")
    assert worker.letters.sent == ["0-1", "0-2"]
    assert "2 of 2 dead letters were sent again" in (await worker.http.get("/dead-letters")).text


@pytest.mark.parametrize(
    ("action", "fields", "problem"),
    [
        ("pause", {"task_type": "BUILD", "for_seconds": "ever"}, "for_seconds: Input should be a valid number"),
        ("pause", {"task_type": ""}, "at least 1 character"),
        ("resume", {"task_type": "BREW"}, "BREW: tickets of that type do not run on this worker"),
        ("retry", {"ticket_id": "nobody"}, "nobody: it is not in a partition of this worker"),
        ("retry", {"ticket_id": "a\r\nSet-Cookie: b=c"}, "must not contain control characters"),
        ("replay", {"confirmed": "yes"}, "say which: letters"),
        ("replay", {"confirmed": "yes", "letter": "../1"}, "String should match pattern"),
    ],
)
async def test_what_cannot_be_done_is_told_on_the_next_page(
    worker: Worker, action: str, fields: dict[str, str], problem: str
) -> None:
    await sign_in(worker)
    response = await act(worker, action, **fields)
    assert response.status_code == 303
    assert problem in (await worker.http.get("/")).text


async def test_without_a_session_nothing_is_done(worker: Worker) -> None:
    for headers in ({}, {"Cookie": f"{COOKIE}=guess"}, {"Authorization": f"Bearer {TOKEN}"}):
        response = await worker.http.post("/act/drain", data={"csrf": "x", "confirmed": "yes"}, headers=headers)
        assert response.status_code == 401
        assert "you are not signed in" in response.text
    assert worker.drains == 0


async def test_a_form_of_another_site_does_nothing(worker: Worker) -> None:
    await sign_in(worker)
    csrf = await csrf_of(worker)
    for fields in ({}, {"csrf": ""}, {"csrf": "x" + csrf}):
        assert (await worker.http.post("/act/drain", data={"confirmed": "yes", **fields})).status_code == 403
    elsewhere = {"Origin": "https://evil.example"}
    right = {"csrf": csrf, "confirmed": "yes"}
    assert (await worker.http.post("/act/drain", data=right, headers=elsewhere)).status_code == 403
    assert worker.drains == 0


@pytest.mark.parametrize(
    "back", ["https://evil.example", "//evil.example", "/\\evil.example", "/\r\nX: y", "javascript:x", ""]
)
async def test_one_is_never_led_elsewhere(worker: Worker, back: str) -> None:
    await sign_in(worker)
    response = await act(worker, "resume", task_type="BUILD", back=back)
    assert response.headers["location"] == "/"


async def test_an_address_says_nothing_to_a_get(worker: Worker) -> None:
    await sign_in(worker)
    for action in ("cancel", "drain", "pause", "resume", "retry", "replay"):
        assert (await worker.http.get(f"/act/{action}?ticket_id=t-1&confirmed=yes")).status_code == 405


async def test_a_huge_form_is_refused(worker: Worker) -> None:
    await sign_in(worker)
    response = await act(worker, "retry", ticket_id="x" * 20_000)
    assert response.status_code == 413


async def test_old_sessions_make_room(worker: Worker) -> None:
    await sign_in(worker)
    first = worker.http.cookies[COOKIE]
    for _ in range(100):
        worker.http.cookies.clear()
        await sign_in(worker)
    worker.http.cookies.clear()
    worker.http.cookies.set(COOKIE, first)
    assert "Signed in as" not in (await worker.http.get("/")).text
