"""Code Forge's pipelines: what its server's answers become (contracts 1.9)."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.clients.code_forge import MAX_STAGES, CodeForgeClient, PipelineStatus
from worker_agents.clients.http import IDEMPOTENCY_KEY, HttpClient
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable

URL = "http://code-forge.test"
PIPELINES = f"{URL}/api/v1/pipelines"
TRIGGERED = httpx.Response(201, json={"pipeline_id": "p-1", "status": "queued", "ticket_id": "another"})


@pytest.fixture
async def forge() -> AsyncIterator[CodeForgeClient]:
    client = CodeForgeClient(HttpClient(URL, integration="code_forge", emit=lambda _: None, clock=VirtualClock()))
    yield client
    await client.aclose()


async def trigger(forge: CodeForgeClient) -> str:
    headers = {IDEMPOTENCY_KEY: "t-1:pipeline"}
    return await forge.trigger_pipeline(artifact_id="a-1", parameters={"branch": "main"}, headers=headers)


def read(**body: Any) -> PipelineStatus:
    return PipelineStatus.model_validate({"pipeline_id": "p-1", "status": "running"} | body)


@respx.mock
async def test_a_trigger_names_the_artifact_and_carries_the_key(forge: CodeForgeClient) -> None:
    route = respx.post(PIPELINES).mock(side_effect=[httpx.ReadTimeout("lost"), httpx.Response(409), TRIGGERED])

    assert await trigger(forge) == "p-1"

    assert json.loads(route.calls.last.request.content) == {"artifact_id": "a-1", "parameters": {"branch": "main"}}
    assert [call.request.headers[IDEMPOTENCY_KEY] for call in route.calls] == ["t-1:pipeline"] * 3


@respx.mock
@pytest.mark.parametrize("body", [{}, {"pipeline_id": "None"}, {"pipeline_id": None}, []])
async def test_a_trigger_without_an_id_is_no_answer(forge: CodeForgeClient, body: object) -> None:
    respx.post(PIPELINES).mock(return_value=httpx.Response(201, json=body))

    with pytest.raises(IntegrationUnavailable, match="not the interface's"):
        await trigger(forge)


@respx.mock
@pytest.mark.parametrize("status", [404, 408, 425, 429])
async def test_what_means_not_yet_is_the_pollers_to_judge(forge: CodeForgeClient, status: int) -> None:
    route = respx.get(f"{PIPELINES}/p-1").mock(return_value=httpx.Response(status, headers={"Retry-After": "7"}))

    seen = await forge.get_pipeline_status("p-1", {})

    assert (seen.status, seen.http_status, seen.retry_after, seen.is_missing) == ("unknown", status, 7, status == 404)
    assert route.call_count == 1


@respx.mock
async def test_a_5xx_is_an_outage_and_a_refusal_a_refusal(forge: CodeForgeClient) -> None:
    respx.get(f"{PIPELINES}/p-1").mock(return_value=httpx.Response(500))
    with pytest.raises(IntegrationUnavailable):
        await forge.get_pipeline_status("p-1", {})

    respx.get(f"{PIPELINES}/p-1").mock(return_value=httpx.Response(403))
    with pytest.raises(IntegrationRejected):
        await forge.get_pipeline_status("p-1", {})


@respx.mock
async def test_the_server_cannot_forge_what_the_client_notes(forge: CodeForgeClient) -> None:
    body = {"status": "queued", "pipeline_id": "other", "http_status": 404, "retry_after": 1e9}
    respx.get(f"{PIPELINES}/..%2Fp").mock(return_value=httpx.Response(200, json=body))

    seen = await forge.get_pipeline_status("../p", {})

    assert (seen.pipeline_id, seen.http_status, seen.retry_after) == ("../p", 200, None)


def test_absent_values_may_be_the_text_none() -> None:
    seen = read(stage="None", error="None", artifacts="None", sbom="None", signature="None", duration_ms="None")

    assert (seen.stage, seen.error, seen.sbom, seen.signature, seen.duration_ms) == (None,) * 5
    assert seen.artifacts == ()
    assert read(status="None").status == "unknown"
    assert read(status=" \n").status == "unknown"


@pytest.mark.parametrize(
    ("stage", "present"),
    [
        ("BUILDING", "BUILDING"),
        (["QUEUED", "BUILDING"], "BUILDING"),
        (["QUEUED", None], "QUEUED"),
        ([{"name": "QUEUED"}, {"name": "BUILDING", "status": "running"}], "BUILDING"),
        ({"name": "BUILDING"}, "BUILDING"),
        ([], None),
        (None, None),
        (3, "3"),
    ],
)
def test_stage_as_a_word_or_a_list(stage: object, present: str | None) -> None:
    assert read(stage=stage).stage == present


@pytest.mark.parametrize(
    "stages",
    [
        [{"name": "build", "status": "completed", "duration_ms": 5}, "test", {"status": "no name"}, None],
        '[{"name": "build", "status": "completed", "duration_ms": "5"}, {"name": "test"}]',
    ],
)
def test_the_servers_own_history_in_its_forms(stages: object) -> None:
    assert [stage.model_dump() for stage in read(stages=stages).stages] == [
        {"name": "build", "status": "completed", "duration_ms": 5.0},
        {"name": "test", "status": None, "duration_ms": None},
    ]


def test_a_history_without_end_is_cut() -> None:
    assert len(read(stages=["x"] * 10_000).stages) == MAX_STAGES


def test_sbom_and_signature_are_read_where_a_server_shows_them() -> None:
    seen = read(sbom='{"format": "CycloneDX"}', signature="MEUC")

    assert (seen.sbom, seen.signature) == ({"format": "CycloneDX"}, "MEUC")


@pytest.mark.parametrize(
    ("status", "completed", "over"),
    [
        *((status, True, True) for status in ("completed", "Succeeded", " COMPLETED ", "requires_review")),
        *((status, False, True) for status in ("failed", "cancelled", "timeout", "error", "partial")),
        *((status, False, False) for status in ("queued", "running", "unknown", "brand new", None)),
    ],
)
def test_which_words_end_a_pipeline(status: str | None, completed: bool, over: bool) -> None:
    seen = read(status=status)

    assert (seen.is_completed, seen.is_over) == (completed, over)


def test_a_failure_to_store_the_artifacts_is_told_apart() -> None:
    error = "Object of type datetime is not JSON serializable"

    assert read(status="failed", error=error).is_false_failure
    assert not read(status="failed", error="2 tests failed").is_false_failure
    assert not read(status="failed").is_false_failure
    assert not read(status="completed", error=error).is_false_failure


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "status", "x"]), inner),
    max_leaves=8,
)
FIELDS = ("status", "stage", "stages", "duration_ms", "artifacts", "sbom", "signature", "error")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, json_values)))
def test_any_json_is_read_or_refused_as_nonsense(body: dict[str, Any]) -> None:
    try:
        seen = PipelineStatus.model_validate({"pipeline_id": "p-1", **body})
    except ValueError:
        return
    assert seen.status == seen.status.strip().lower()
    assert all(stage.name not in ("", "None") for stage in seen.stages)


def test_values_nested_beyond_what_json_can_write_again() -> None:
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]

    assert read(stage=deep, error=deep).error == "(nested too deeply)"
