"""Code Forge's client: what its server's answers become (contracts 1.9)."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.clients.code_forge import CodeForgeClient, GenerationStatus
from worker_agents.clients.http import IDEMPOTENCY_KEY, HttpClient
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable

URL = "http://code-forge.test/prefix"
GENERATE = f"{URL}/api/v1/generate"
ACCEPTED = httpx.Response(202, json={"request_id": "r-1", "status": "queued", "message": "accepted"})


@pytest.fixture
async def forge() -> AsyncIterator[CodeForgeClient]:
    http = HttpClient(URL, integration="code_forge", emit=lambda _: None, clock=VirtualClock())
    client = CodeForgeClient(http)
    yield client
    await client.aclose()


async def submit(forge: CodeForgeClient, **more: Any) -> str:
    return await forge.submit_generation_request(
        ticket_id="t1", template_id="service", parameters={"language": "go"}, headers={IDEMPOTENCY_KEY: "k"}, **more
    )


async def status(forge: CodeForgeClient) -> GenerationStatus:
    return await forge.get_generation_status("r-1", {})


@respx.mock
async def test_a_submission_says_what_to_generate(forge: CodeForgeClient) -> None:
    route = respx.post(GENERATE).mock(return_value=ACCEPTED)

    assert await submit(forge, target_repo="git@x:y.git") == "r-1"

    assert json.loads(route.calls.last.request.content) == {
        "ticket_id": "t1",
        "template_id": "service",
        "parameters": {"language": "go"},
        "target_repo": "git@x:y.git",
    }


@respx.mock
async def test_a_submission_waits_for_its_own_key_to_be_free(forge: CodeForgeClient) -> None:
    respx.post(GENERATE).mock(side_effect=[httpx.ReadTimeout("lost"), httpx.Response(409), ACCEPTED])

    assert await submit(forge) == "r-1"


@respx.mock
@pytest.mark.parametrize("body", [{}, {"request_id": None}, {"request_id": "None"}, {"request_id": ""}, []])
async def test_a_submission_without_an_id_is_not_accepted(forge: CodeForgeClient, body: object) -> None:
    respx.post(GENERATE).mock(return_value=httpx.Response(202, json=body))

    with pytest.raises(IntegrationUnavailable):
        await submit(forge)


@respx.mock
async def test_a_refused_submission_tells_why(forge: CodeForgeClient) -> None:
    respx.post(GENERATE).mock(return_value=httpx.Response(400, json={"detail": "template_id is required"}))

    with pytest.raises(IntegrationRejected, match="template_id is required"):
        await submit(forge)


@respx.mock
async def test_none_as_text_is_null(forge: CodeForgeClient) -> None:
    body = {
        "request_id": "r-1",
        "status": "Completed",
        "artifacts": [{"type": "code"}],
        "pipeline_id": "None",
        "error": "None",
        "created_at": "None",
    }
    respx.get(f"{GENERATE}/r-1").mock(return_value=httpx.Response(200, json=body))

    seen = await status(forge)

    assert seen.is_completed
    assert seen.is_over
    assert (seen.pipeline_id, seen.error, seen.created_at) == (None, None, None)
    assert seen.artifacts == ({"type": "code"},)


@respx.mock
@pytest.mark.parametrize(
    ("artifacts", "read"), [(None, ()), ("None", ()), ("[]", ()), ('[{"a": 1}]', ({"a": 1},)), ("text", ()), ({}, ())]
)
async def test_artifacts_may_come_as_text(forge: CodeForgeClient, artifacts: object, read: tuple[Any, ...]) -> None:
    body = {"status": "completed", "artifacts": artifacts}
    respx.get(f"{GENERATE}/r-1").mock(return_value=httpx.Response(200, json=body))

    assert (await status(forge)).artifacts == read


@respx.mock
@pytest.mark.parametrize("http_status", [404, 408, 429, 500, 502, 503, 504])
async def test_a_status_that_cannot_be_seen_is_unknown_not_an_error(forge: CodeForgeClient, http_status: int) -> None:
    answer = httpx.Response(http_status, headers={"Retry-After": "7"}, text="Internal Server Error")
    route = respx.get(f"{GENERATE}/r-1").mock(return_value=answer)

    seen = await status(forge)

    assert (seen.status, seen.http_status, seen.retry_after) == ("unknown", http_status, 7)
    assert seen.is_missing == (http_status == 404)
    assert not seen.is_over
    assert route.call_count == 1


@respx.mock
@pytest.mark.parametrize("http_status", [400, 401, 403, 422])
async def test_a_refused_question_is_an_error(forge: CodeForgeClient, http_status: int) -> None:
    respx.get(f"{GENERATE}/r-1").mock(return_value=httpx.Response(http_status))

    with pytest.raises(IntegrationRejected):
        await status(forge)


@respx.mock
async def test_an_unknown_status_is_kept_and_not_taken_for_an_end(forge: CodeForgeClient) -> None:
    respx.get(f"{GENERATE}/r-1").mock(return_value=httpx.Response(200, json={"status": "requires_review"}))

    seen = await status(forge)

    assert seen.status == "requires_review"
    assert not seen.is_over


@respx.mock
@pytest.mark.parametrize("body", [{}, {"status": 3}, "text", {"message": "welcome"}])
async def test_an_answer_without_a_status_is_nonsense(forge: CodeForgeClient, body: object) -> None:
    respx.get(f"{GENERATE}/r-1").mock(return_value=httpx.Response(200, json=body))

    with pytest.raises(IntegrationUnavailable):
        await status(forge)


@respx.mock
async def test_the_server_cannot_forge_what_the_client_notes(forge: CodeForgeClient) -> None:
    body = {"status": "queued", "request_id": "other", "http_status": 404, "retry_after": 1e9}
    respx.get(f"{GENERATE}/r-1").mock(return_value=httpx.Response(200, json=body))

    seen = await status(forge)

    assert (seen.request_id, seen.http_status, seen.retry_after) == ("r-1", 200, None)


@respx.mock
async def test_an_id_cannot_leave_its_place_in_the_path(forge: CodeForgeClient) -> None:
    route = respx.get(url__startswith=GENERATE).mock(return_value=httpx.Response(404))

    await forge.get_generation_status("../../admin?x=1", {})

    assert route.calls.last.request.url.raw_path == b"/prefix/api/v1/generate/..%2F..%2Fadmin%3Fx%3D1"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {"status": st.text() | st.none()},
        optional=dict.fromkeys(["artifacts", "pipeline_id", "error", "created_at", "updated_at"], json_values),
    )
)
def test_any_json_with_a_status_can_be_read(body: dict[str, Any]) -> None:
    seen = GenerationStatus.model_validate({**body, "request_id": "r-1"})

    assert seen.status == seen.status.strip().lower()
    assert seen.error not in ("", "None")
