"""The client of Argo CD, against answers as contracts 2 tells of them."""

import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import respx
from pydantic import SecretStr

from worker_agents.clients.argocd import Application, ApplicationKey, ArgoCdClient, Refusal, SyncUnanswered
from worker_agents.clients.http import HttpClient
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable

BASE = "https://proxy.example/argo"
KEY = ApplicationKey("shop", "team a")
HEADERS = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
KEYED = {**HEADERS, "Idempotency-Key": "t-1:sync"}
SHOWN = {"metadata": {"name": "shop"}, "spec": {}, "status": {}}


@pytest.fixture
def argocd() -> respx.MockRouter:
    with respx.mock(base_url=BASE, assert_all_called=False) as router:
        yield router


@pytest.fixture
async def client() -> AsyncIterator[ArgoCdClient]:
    http = HttpClient(
        BASE,
        integration="argocd",
        emit=lambda _: None,
        token=SecretStr("jwt"),
        clock=VirtualClock(),
        rng=random.Random(1),
    )
    client = ArgoCdClient(http)
    yield client
    await client.aclose()


def said(status: int, code: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"error": message, "code": code, "message": message})


async def test_every_call_names_the_project_below_the_root_path_and_with_the_token(
    argocd: respx.MockRouter, client: ArgoCdClient
) -> None:
    route = argocd.get("/api/v1/applications/shop").respond(json=SHOWN)

    await client.get_application(ApplicationKey("shop", "team a", "other"), HEADERS, refresh="normal")

    request = route.calls.last.request
    assert str(request.url) == (f"{BASE}/api/v1/applications/shop?project=team+a&appNamespace=other&refresh=normal")
    assert request.headers["Authorization"] == "Bearer jwt"
    assert request.headers["traceparent"] == HEADERS["traceparent"]
    assert "Content-Type" not in request.headers


async def test_whatever_changes_something_says_json_and_nothing_more(
    argocd: respx.MockRouter, client: ArgoCdClient
) -> None:
    argocd.post("/api/v1/applications/shop/sync").respond(json=SHOWN)
    argocd.post("/api/v1/applications").respond(json=SHOWN)
    argocd.delete("/api/v1/applications/shop/operation").respond(json={})

    await client.upsert_application(SHOWN, HEADERS)
    await client.sync_application(KEY, KEYED, infos={"who": "me"}, prune=True)
    await client.terminate_operation(KEY, HEADERS)

    assert [call.request.headers.get_list("Content-Type") for call in argocd.calls] == [["application/json"]] * 3


async def test_a_name_cannot_leave_its_place_in_the_path(argocd: respx.MockRouter, client: ArgoCdClient) -> None:
    route = argocd.route().respond(json=SHOWN)

    await client.get_application(ApplicationKey("../../account?x=#", "a&b=c"), HEADERS)

    url = route.calls.last.request.url
    assert url.raw_path == b"/argo/api/v1/applications/..%2F..%2Faccount%3Fx%3D%23?project=a%26b%3Dc"


@pytest.mark.parametrize("answer", [{}, [], {"metadata": {}}, {**SHOWN, "status": {"health": 5}}, "<html>"])
async def test_nonsense_is_an_outage(argocd: respx.MockRouter, client: ArgoCdClient, answer: Any) -> None:
    argocd.get("/api/v1/applications/shop").respond(json=answer)

    with pytest.raises(IntegrationUnavailable, match="not the interface's"):
        await client.get_application(KEY, HEADERS)


async def test_null_is_absent(argocd: respx.MockRouter, client: ArgoCdClient) -> None:
    argocd.get("/api/v1/applications/shop").respond(
        json={
            "metadata": {"name": "shop", "finalizers": None},
            "spec": {},
            "operation": None,
            "status": {
                "history": None,
                "conditions": None,
                "summary": {"images": None},
                "operationState": {"phase": "Running", "operation": {"info": None}, "syncResult": None},
            },
        }
    )
    argocd.get("/api/v1/applications/shop/resource-tree").respond(json={"nodes": None})

    application = await client.get_application(KEY, HEADERS)

    assert isinstance(application, Application)
    assert application.is_operating
    assert application.status.health.status == "Unknown"
    assert list(await client.resource_tree(KEY, HEADERS)) == []


@pytest.mark.parametrize(
    ("answer", "is_missing", "is_forbidden"),
    [(said(404, 5, "not found"), True, False), (said(403, 7, "permission denied"), False, True)],
)
async def test_an_application_that_is_not_shown_is_an_answer(
    argocd: respx.MockRouter, client: ArgoCdClient, answer: httpx.Response, is_missing: bool, is_forbidden: bool
) -> None:
    argocd.get("/api/v1/applications/shop").mock(return_value=answer)

    refusal = await client.get_application(KEY, HEADERS)

    assert isinstance(refusal, Refusal)
    assert (refusal.is_missing, refusal.is_forbidden) == (is_missing, is_forbidden)


@pytest.mark.parametrize("status", [404, 400, 415, 302])
async def test_what_is_no_answer_of_argo_cd_says_nothing_of_the_application(
    argocd: respx.MockRouter, client: ArgoCdClient, status: int
) -> None:
    argocd.get("/api/v1/applications/shop").respond(status, text="default backend")

    with pytest.raises(IntegrationRejected):
        await client.get_application(KEY, HEADERS)


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (said(409, 10, "the object has been modified"), 5),
        (said(409, 6, "already exists"), 5),
        (said(503, 14, "transport is closing"), 5),
        (said(500, 2, "etcdserver: request timed out"), 3),
        (said(400, 3, "InvalidSpecError: rpc error: code = Unavailable desc = repo server is down"), 3),
        (httpx.Response(502, text="<html>"), 5),
    ],
)
async def test_an_upsert_that_meets_a_fault_is_sent_again(
    argocd: respx.MockRouter, client: ArgoCdClient, answer: httpx.Response, tries: int
) -> None:
    route = argocd.post("/api/v1/applications").mock(return_value=answer)

    with pytest.raises(IntegrationUnavailable):
        await client.upsert_application(SHOWN, KEYED)

    assert route.call_count == tries
    assert route.calls.last.request.url.query == b"upsert=true&validate=true"


@pytest.mark.parametrize(
    "answer",
    [
        said(500, 2, "namespace 'x' is not permitted"),
        said(400, 3, "application spec for shop is invalid: InvalidSpecError: repository not accessible"),
        said(403, 7, "permission denied: applications, create"),
    ],
)
async def test_an_upsert_that_is_refused_is_not(
    argocd: respx.MockRouter, client: ArgoCdClient, answer: httpx.Response
) -> None:
    route = argocd.post("/api/v1/applications").mock(return_value=answer)

    with pytest.raises(IntegrationRejected, match=answer.json()["message"]):
        await client.upsert_application(SHOWN, KEYED)

    assert route.call_count == 1


@pytest.mark.parametrize(
    ("answer", "is_busy", "is_sync_window"),
    [
        (said(400, 9, "another operation is already in progress"), True, False),
        (said(400, 9, "error setting app operation: Another operation is already in progress"), True, False),
        (said(400, 9, "application is deleting"), False, False),
        (said(400, 3, "another operation is already in progress"), False, False),
        (said(403, 7, "Cannot sync: Blocked by sync window"), False, True),
        (said(403, 7, "permission denied: applications, sync"), False, False),
    ],
)
async def test_why_a_sync_is_refused(
    argocd: respx.MockRouter, client: ArgoCdClient, answer: httpx.Response, is_busy: bool, is_sync_window: bool
) -> None:
    argocd.post("/api/v1/applications/shop/sync").mock(return_value=answer)

    refusal = await client.sync_application(KEY, KEYED, infos={}, prune=False)

    assert isinstance(refusal, Refusal)
    assert (refusal.is_busy, refusal.is_sync_window) == (is_busy, is_sync_window)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(503),
        httpx.Response(500, json={"code": 2, "message": "x"}),
        httpx.Response(200, text="?"),
        httpx.ReadError("lost"),
        httpx.ConnectError("refused"),
    ],
)
async def test_a_sync_is_never_repeated_blindly(
    argocd: respx.MockRouter, client: ArgoCdClient, answer: httpx.Response | Exception
) -> None:
    route = argocd.post("/api/v1/applications/shop/sync").mock(
        **{"side_effect" if isinstance(answer, Exception) else "return_value": answer}
    )

    with pytest.raises(SyncUnanswered):
        await client.sync_application(KEY, KEYED, infos={}, prune=False)

    assert route.call_count == 1


async def test_nothing_to_terminate_is_no_error(argocd: respx.MockRouter, client: ArgoCdClient) -> None:
    route = argocd.delete("/api/v1/applications/shop/operation")
    route.mock(return_value=said(400, 3, "no operation is in progress"))
    await client.terminate_operation(KEY, HEADERS)

    route.mock(return_value=said(403, 7, "permission denied"))
    with pytest.raises(IntegrationRejected):
        await client.terminate_operation(KEY, HEADERS)


async def test_a_message_is_told_on_one_line_and_not_without_end(
    argocd: respx.MockRouter, client: ArgoCdClient
) -> None:
    argocd.post("/api/v1/applications").mock(return_value=said(400, 3, "a\nb\x1b[31m" + "x" * 5000))

    with pytest.raises(IntegrationRejected) as raised:
        await client.upsert_application(SHOWN, HEADERS)

    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("message", ["", " ", "\n"])
async def test_a_refusal_without_a_word_says_so(argocd: respx.MockRouter, client: ArgoCdClient, message: str) -> None:
    argocd.post("/api/v1/applications/shop/sync").mock(return_value=said(403, 7, message))

    refusal = await client.sync_application(KEY, KEYED, infos={}, prune=False)

    assert isinstance(refusal, Refusal)
    assert refusal.message == "no reason given"
