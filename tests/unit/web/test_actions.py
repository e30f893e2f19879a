"""What operators may do over HTTP, asked over real connections: who may, what comes of it, and what the log says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.dispatch.fakes import NOW_MS, record
from tests.unit.web.fakes import BEARER, TOKEN, Worker, letter, serving
from worker_agents.model.errors import IntegrationUnavailable, KafkaRefused, KafkaUnreachable
from worker_agents.model.letters import Holder
from worker_agents.telemetry.events import OperatorAction

ACTIONS = [
    ("POST", "/api/v1/tickets/t/cancel"),
    ("POST", "/api/v1/tickets/t/retry"),
    ("POST", "/api/v1/task-types/BUILD/pause"),
    ("POST", "/api/v1/task-types/BUILD/resume"),
    ("POST", "/api/v1/drain"),
    ("POST", "/api/v1/dead-letters/replay"),
    ("GET", "/api/v1/dead-letters"),
]
JSON = {"Content-Type": "application/json"}


def nothing_was_done(worker: Worker) -> bool:
    return not (worker.drains or worker.probes or worker.letters.sent or list(worker.world.dispatcher.pauses))


# --- who may -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), ACTIONS)
async def test_without_the_token_nothing_is_done(worker: Worker, method: str, path: str) -> None:
    wrong = ["", "Bearer", "Bearer wrong", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"]
    for headers in ({}, *({"Authorization": given} for given in wrong)):
        answer = await worker.http.request(method, path, headers=JSON | headers, content=b'{"letters":["0-1"]}')
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json() == {"detail": "Authorization: Bearer ADMIN_TOKEN is missing or wrong"}
    assert nothing_was_done(worker)
    assert [event.status for event in worker.audited] == [401] * 8


@pytest.mark.parametrize(("method", "path"), ACTIONS)
async def test_a_token_anywhere_else_is_none(worker: Worker, method: str, path: str) -> None:
    answer = await worker.http.request(
        method,
        path,
        params={"access_token": TOKEN, "token": TOKEN},
        headers=JSON | {"X-Admin-Token": TOKEN, "Cookie": f"token={TOKEN}", "Proxy-Authorization": f"Bearer {TOKEN}"},
    )
    assert answer.status_code == 401
    assert nothing_was_done(worker)


@pytest.mark.parametrize(("method", "path"), ACTIONS)
async def test_without_an_admin_token_actions_are_off(method: str, path: str) -> None:
    async with serving(token="") as worker:
        for headers in (JSON, JSON | {"Authorization": "Bearer"}, JSON | BEARER):
            answer = await worker.http.request(method, path, headers=headers)
            assert answer.status_code == 403
            assert answer.json() == {"detail": "actions are off: ADMIN_TOKEN is not set"}
        assert nothing_was_done(worker)


async def test_the_schemes_name_may_be_in_any_case(worker: Worker) -> None:
    answer = await worker.http.post("/api/v1/drain", json={}, headers={"Authorization": f"bearer {TOKEN}"})
    assert answer.status_code == 202


# --- pages of other sites ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "x"]
)
async def test_what_a_form_can_send_is_refused(worker: Worker, content_type: str | None) -> None:
    headers = BEARER | ({} if content_type is None else {"Content-Type": content_type})
    answer = await worker.http.post("/api/v1/drain", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (415, "Content-Type: application/json is required")
    assert not worker.drains


@pytest.mark.parametrize(("method", "path"), ACTIONS)
async def test_pages_of_other_sites_are_refused(worker: Worker, method: str, path: str) -> None:
    origins = ("https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:1@evil.example")
    fetched = ({"Sec-Fetch-Site": site} for site in ("cross-site", "same-site"))
    for headers in (*({"Origin": origin} for origin in origins), *fetched):
        answer = await worker.http.request(
            method, path, headers=BEARER | JSON | headers, content=b'{"letters":["0-1"]}'
        )
        assert (answer.status_code, answer.json()["detail"]) == (403, "pages of other sites may not act here")
    assert nothing_was_done(worker)


async def test_our_own_page_may(worker: Worker) -> None:
    headers = BEARER | {"Origin": f"http://127.0.0.1:{worker.server.port}", "Sec-Fetch-Site": "same-origin"}
    assert (await worker.http.post("/api/v1/drain", json={}, headers=headers)).status_code == 202


async def test_no_other_site_is_given_leave_to_send_json(worker: Worker) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = await worker.http.options("/api/v1/drain", headers=asked)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


# --- bodies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("/drain", {"by": 7}, "by: Input should be a valid string"),
        ("/drain", {"by": ""}, "by: String should have at least 1 character"),
        ("/drain", {"by": "x" * 101}, "by: String should have at most 100 characters"),
        ("/drain", {"reason": "x" * 501}, "reason: String should have at most 500 characters"),
        ("/drain", {"reason": "a\r\nSet-Cookie: b=c"}, "reason: Value error, must not contain control characters"),
        ("/drain", {"by": "\x1b[2J"}, "by: Value error, must not contain control characters"),
        ("/drain", {"why": "x"}, "why: Extra inputs are not permitted"),
        ("/task-types/BUILD/pause", {"for_seconds": 0}, "for_seconds: Input should be greater than or equal to 1"),
        (
            "/task-types/BUILD/pause",
            {"for_seconds": 86_401},
            "for_seconds: Input should be less than or equal to 86400",
        ),
        ("/task-types/BUILD/pause", {"for_seconds": "ever"}, "for_seconds: Input should be a valid number"),
        ("/dead-letters/replay", {}, "value: Value error, say which: letters, such as 0-17, or tickets"),
        ("/dead-letters/replay", {"letters": ["../1"]}, "letters.0: String should match pattern"),
        ("/dead-letters/replay", {"letters": ["0-1"] * 101}, "letters: Tuple should have at most 100 items"),
        ("/dead-letters/replay", {"tickets": ["x" * 201]}, "tickets.0: String should have at most 200 characters"),
    ],
)
async def test_one_clear_error_names_the_field(worker: Worker, path: str, body: dict[str, Any], detail: str) -> None:
    answer = await worker.post(path, **body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(detail)
    assert nothing_was_done(worker)
    assert [event.outcome for event in worker.audited] == [answer.json()["detail"]]


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 8_000, b'{"by":NaN}'])
async def test_what_is_not_json_is_refused(worker: Worker, body: bytes) -> None:
    answer = await worker.http.post("/api/v1/drain", content=body, headers=BEARER | JSON)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("the body is not JSON")
    assert not worker.drains


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"7"])
async def test_a_body_must_be_an_object(worker: Worker, body: bytes) -> None:
    answer = await worker.http.post("/api/v1/drain", content=body, headers=BEARER | JSON)
    assert answer.status_code == 422
    assert not worker.drains


async def test_an_empty_body_is_an_order_without_a_note(worker: Worker) -> None:
    answer = await worker.http.post("/api/v1/drain", headers=BEARER | JSON)
    assert answer.status_code == 202
    assert worker.audited[0].by == "operator"


# --- tickets -----------------------------------------------------------------------------------------------------


async def test_a_waiting_ticket_is_tried_at_once_also_behind_a_breaker(worker: Worker) -> None:
    await worker.world.accept(record(0, "t", "BUILD"))
    await worker.world.finish("t", IntegrationUnavailable("down", retry_after=100.0))
    answer = await worker.post("/tickets/t/retry", by="ana", reason="it is back")
    assert answer.status_code == 202
    assert answer.json() == {
        "detail": "its next attempt begins as soon as there is a slot",
        "ticket_id": "t",
        "outcome": "now",
        "owner": None,
    }
    assert worker.probes == 1
    await worker.world.work()
    assert worker.world.run("t").context.attempt == 2
    assert worker.audited == [OperatorAction("retry", "t", "ana", "it is back", "now", 202, "127.0.0.1")]


async def test_what_does_not_wait_for_a_retry_is_a_conflict_that_says_what_it_does(worker: Worker) -> None:
    await worker.world.accept(record(0, "t", "BUILD", dependencies=["a"]), record(1, "u", "TEST"))
    for ticket_id, outcome in (("t", "waits_for_dependency"), ("u", "running")):
        answer = await worker.post(f"/tickets/{ticket_id}/retry")
        assert (answer.status_code, answer.json()["outcome"]) == (409, outcome)
    assert not worker.probes


@pytest.mark.parametrize("action", ["cancel", "retry"])
async def test_a_ticket_of_another_worker_is_not_found_and_the_answer_says_where_it_is(
    worker: Worker, action: str
) -> None:
    worker.holders.known["t"] = Holder(3, "worker-2#ab", "http://worker-2:8080")
    answer = await worker.post(f"/tickets/t/{action}")
    assert answer.status_code == 404
    assert answer.json()["owner"] == {"worker": "worker-2#ab", "url": "http://worker-2:8080", "partition": 3}
    assert "http://worker-2:8080" in answer.json()["detail"]


async def test_without_an_answer_of_kafka_a_ticket_is_only_not_found(worker: Worker) -> None:
    worker.holders.trouble = KafkaUnreachable("no broker")
    answer = await worker.post("/tickets/t/cancel")
    assert (answer.status_code, answer.json()["owner"]) == (404, None)


async def test_ids_may_hold_slashes_and_what_other_routes_are_called(worker: Worker) -> None:
    for number, ticket_id in enumerate(["a/b", "x/cancel", "../../health", "c d", "\u00e9\U0001f3ab", "100%"]):
        await worker.world.accept(record(number, ticket_id, "BUILD"))
        path = "".join(f"%{byte:02X}" for byte in ticket_id.encode())
        answer = await worker.post(f"/tickets/{path}/cancel")
        assert (answer.status_code, answer.json()["ticket_id"]) == (202, ticket_id)


# --- task types --------------------------------------------------------------------------------------------------


async def test_a_type_is_paused_and_resumed(worker: Worker) -> None:
    paused = await worker.post("/task-types/build/pause", by="ana", reason="upgrade", for_seconds=60)
    assert paused.status_code == 200
    assert paused.json() == {
        "detail": "none of its tickets starts on this worker; those that run go on",
        "task_type": "BUILD",
        "outcome": "paused",
        "paused_until": NOW_MS + 60_000,
    }
    await worker.world.accept(record(0, "t", "BUILD"), record(1, "u", "TEST"))
    assert set(worker.world.live()) == {"u"}
    assert (await worker.post("/task-types/BUILD/pause")).json()["outcome"] == "changed"
    resumed = await worker.post("/task-types/BUILD/resume", by="ben")
    assert (resumed.status_code, resumed.json()["outcome"], resumed.json()["paused_until"]) == (200, "resumed", None)
    await worker.world.work()
    assert set(worker.world.live()) == {"t", "u"}
    assert (await worker.post("/task-types/BUILD/resume")).json()["outcome"] == "not_paused"
    assert [(event.action, event.target, event.outcome) for event in worker.audited] == [
        ("pause", "BUILD", "paused"),
        ("pause", "BUILD", "changed"),
        ("resume", "BUILD", "resumed"),
        ("resume", "BUILD", "not_paused"),
    ]


@pytest.mark.parametrize("action", ["pause", "resume"])
async def test_a_type_that_does_not_run_here_is_not_found(worker: Worker, action: str) -> None:
    answer = await worker.post(f"/task-types/DANCE/{action}")
    assert (answer.status_code, answer.json()["outcome"]) == (404, "unknown_task_type")


# --- draining ----------------------------------------------------------------------------------------------------


async def test_draining_may_be_asked_for_again(worker: Worker) -> None:
    first, again = await worker.post("/drain", by="ana"), await worker.post("/drain")
    assert (first.status_code, first.json()["outcome"]) == (202, "draining")
    assert (again.status_code, again.json()["outcome"]) == (202, "already_draining")


# --- dead letters ------------------------------------------------------------------------------------------------


async def test_the_newest_letters_are_shown_first(worker: Worker) -> None:
    worker.letters.letters = [letter("0-1", "a"), letter("0-2", "b", "timeout"), letter("0-3", None)]
    shown = await worker.http.get("/api/v1/dead-letters", headers=BEARER, params={"limit": 2})
    assert shown.status_code == 200
    assert [each["letter"] for each in shown.json()["letters"]] == ["0-3", "0-2"]
    assert shown.json()["letters"][1]["original"] == {"topic": "tickets", "partition": 0, "offset": 7}
    some = await worker.http.get("/api/v1/dead-letters", headers=BEARER, params={"reason": "timeout"})
    assert [each["ticket_id"] for each in some.json()["letters"]] == ["b"]
    assert [event.target for event in worker.audited] == ["", "timeout"]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"limit": "all"}, {"reason": "weather"}, {"x": 1}])
async def test_a_preview_is_bounded(worker: Worker, query: dict[str, Any]) -> None:
    answer = await worker.http.get("/api/v1/dead-letters", headers=BEARER, params=query)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(next(iter(query)))


async def test_what_strangers_wrote_into_a_letter_is_shown_up_to_a_length(worker: Worker) -> None:
    worker.letters.letters = [replace(letter("0-1", "a"), message="x" * 100_000, reason="y" * 100_000)]
    shown = await worker.http.get("/api/v1/dead-letters", headers=BEARER)
    assert shown.status_code == 200
    assert len(shown.content) < 5_000


async def test_letters_are_replayed_by_place_and_by_ticket(worker: Worker) -> None:
    worker.letters.letters = [letter("0-1", "a"), letter("0-2", "b")]
    tried = await worker.post("/dead-letters/replay", letters=["0-1"], tickets=["b"], dry_run=True)
    assert (tried.status_code, tried.json()["outcome"], worker.letters.sent) == (200, "dry_run", [])
    done = await worker.post("/dead-letters/replay", letters=["0-1", "0-9"], tickets=["b"], by="ana")
    assert (done.status_code, worker.letters.sent) == (202, ["0-1", "0-2"])
    assert done.json()["detail"] == "2 of 3 dead letters were sent again"
    assert {each["letter"]: each["problem"] for each in done.json()["letters"]}["0-9"] == "no such letter"
    none = await worker.post("/dead-letters/replay", letters=["0-9"])
    assert (none.status_code, none.json()["outcome"]) == (404, "none")
    assert worker.audited[1].target == "0-1,0-9,b"


@pytest.mark.parametrize(
    ("trouble", "status"),
    [(KafkaUnreachable("no broker"), 503), (KafkaRefused("forbidden"), 502), (TimeoutError(), 504)],
)
async def test_trouble_with_kafka_is_a_sentence(worker: Worker, trouble: Exception, status: int) -> None:
    worker.letters.trouble = trouble
    for answer in (
        await worker.http.get("/api/v1/dead-letters", headers=BEARER),
        await worker.post("/dead-letters/replay", letters=["0-1"]),
    ):
        assert answer.status_code == status
        assert answer.json()["detail"]
    assert [event.status for event in worker.audited] == [status] * 2


# --- the audit ---------------------------------------------------------------------------------------------------


async def test_whoever_guesses_tokens_cannot_fill_the_log(worker: Worker) -> None:
    for _ in range(50):
        await worker.http.post("/api/v1/drain", headers={"Authorization": "Bearer guess"})
    assert len(worker.audited) == 10
    worker.world.clock.advance(6.0)
    await worker.http.post("/api/v1/drain")
    assert [event.withheld for event in worker.audited] == [0] * 10 + [40]
    assert {event.action for event in worker.audited} == {"POST /api/v1/drain"}
    await worker.post("/drain")
    assert len(worker.audited) == 12, "who may act is always told"


async def test_a_client_cannot_choose_the_address_that_is_audited(worker: Worker) -> None:
    headers = BEARER | {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7", "X-Real-IP": "203.0.113.7"}
    await worker.http.post("/api/v1/drain", json={}, headers=headers)
    assert worker.audited[0].client == "127.0.0.1"


async def test_answers_are_not_kept_nor_taken_for_pages(worker: Worker) -> None:
    answer = await worker.post("/tickets/%3Cscript%3E/cancel")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
