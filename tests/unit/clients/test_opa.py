"""The OPA client against answers that a real OPA gives seldom or never."""

from typing import Any

import httpx
import pytest
import respx

from worker_agents.clients.http import HttpClient
from worker_agents.clients.opa import Decision, OpaClient, policy_segments
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable

URL = "http://opa:8181"


async def decide(answer: httpx.Response, path: str = "policy/allow") -> tuple[Decision, httpx.Request]:
    http = HttpClient(URL, integration="opa", emit=lambda _: None, clock=VirtualClock())
    try:
        with respx.mock(base_url=URL) as router:
            router.post(url__startswith=f"{URL}/v1/data/").mock(return_value=answer)
            decision = await OpaClient(http).decide(path, {"user": "root"}, {"traceparent": "00-1"})
            return decision, router.calls.last.request
    finally:
        await http.aclose()


async def test_the_question_as_opa_reads_it() -> None:
    _, request = await decide(httpx.Response(200, json={"result": True}), "team a/größe/al%low")

    assert request.url.raw_path == b"/v1/data/team%20a/gr%C3%B6%C3%9Fe/al%25low"
    assert request.content == b'{"input":{"user":"root"}}'
    assert request.headers["content-type"] == "application/json"
    assert request.headers["traceparent"] == "00-1"


@pytest.mark.parametrize(
    ("body", "decision"),
    [
        ({}, Decision(defined=False)),
        ({"decision_id": "d-1"}, Decision(defined=False, decision_id="d-1")),
        ({"result": None}, Decision(defined=False)),
        ({"result": False}, Decision(defined=True, result=False)),
        ({"result": []}, Decision(defined=True, result=[])),
        (
            {"result": {}, "decision_id": "d-1", "warning": {"code": "api_usage_warning", "message": "no input"}},
            Decision(defined=True, result={}, decision_id="d-1", warning="no input"),
        ),
    ],
)
async def test_what_is_defined_and_what_is_not(body: dict[str, Any], decision: Decision) -> None:
    assert (await decide(httpx.Response(200, json=body)))[0] == decision


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[True]),
        httpx.Response(500, text="oops"),
        httpx.Response(500, json={"code": "internal_error", "message": "bundle not activated"}),
        httpx.Response(500, json={"errors": "many"}),
        httpx.Response(503),
    ],
)
async def test_nonsense_and_trouble_are_outages(answer: httpx.Response) -> None:
    with pytest.raises(IntegrationUnavailable):
        await decide(answer)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413])
async def test_a_refusal_is_not_an_outage(status: int) -> None:
    with pytest.raises(IntegrationRejected, match=f"HTTP {status}"):
        await decide(httpx.Response(status, json={"code": "invalid_parameter", "message": "no"}))


async def test_errors_of_the_policy_are_told_on_one_short_line() -> None:
    errors = [{"code": "eval_builtin_error", "message": f"line 1\nline 2 {'x' * 1000}"}] * 20

    with pytest.raises(IntegrationRejected) as raised:
        await decide(httpx.Response(500, json={"code": "internal_error", "errors": errors}))

    assert "eval_builtin_error: line 1 line 2" in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_a_path_is_its_segments() -> None:
    assert policy_segments("/policy/allow/") == ("policy", "allow")
    assert policy_segments("policy") == ("policy",)


@pytest.mark.parametrize("path", ["", "/", "a//b", "../secret", "a/../b", "a/./b", "a/b\n", "a\x00", "a/" * 300])
def test_a_path_that_is_none(path: str) -> None:
    with pytest.raises(ValueError, match=r"must be names separated by slashes|is longer than"):
        policy_segments(path)
