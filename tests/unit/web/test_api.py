"""The JSON API that is read."""

from __future__ import annotations

from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate
from pydantic import SecretStr

from tests.unit.web.documents import Source
from tests.unit.web.fakes import Worker
from worker_agents.web.actions import action_routes
from worker_agents.web.api import api_routes

JsonObject = dict[str, Any]


async def test_the_status_is_one_document(site: httpx.AsyncClient) -> None:
    response = await site.get("/api/v1/status")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    document = response.json()
    assert document["summary"] == "Working: 1 running; 2 tickets, oldest 1 min"
    assert document["running"][0]["log_tail"] == ["checked out", "compiling"]
    assert document["waiting"][0]["reason"] == "dependency_unavailable"


async def test_tickets_are_chosen_by_type_and_phase(site: httpx.AsyncClient, source: Source) -> None:
    response = await site.get("/api/v1/tickets?type=build&phase=running&phase=parked&limit=5")
    assert response.json()["total"] == 1
    assert source.asked == [("BUILD", ("running", "parked"), 5)]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("limit=0", "limit: Input should be greater than or equal to 1"),
        ("limit=many", "limit: Input should be a valid integer"),
        ("phase=asleep", "phase.0: Input should be 'parked'"),
        ("colour=red", "colour: Extra inputs are not permitted"),
    ],
)
async def test_a_wrong_query_is_one_sentence_that_names_the_parameter(
    site: httpx.AsyncClient, source: Source, query: str, problem: str
) -> None:
    response = await site.get(f"/api/v1/tickets?{query}")
    assert response.status_code == 422
    assert response.json()["detail"].startswith(problem)
    assert source.asked == []


@pytest.mark.parametrize("ticket_id", ["t-1", "plan/7#a b", "ä&<>\"'", "../../etc/passwd"])
async def test_a_ticket_may_have_any_id(site: httpx.AsyncClient, source: Source, ticket_id: str) -> None:
    source.details[ticket_id] = source.details["t-1"].model_copy(update={"ticket_id": ticket_id})
    response = await site.get("/api/v1/tickets/" + _quoted(ticket_id))
    assert response.status_code == 200
    assert response.json()["ticket_id"] == ticket_id


async def test_an_unknown_ticket_is_404_and_says_who_may_know(site: httpx.AsyncClient) -> None:
    response = await site.get("/api/v1/tickets/nobody")
    assert response.status_code == 404
    assert "worker-agents tickets" in response.json()["detail"]


async def test_the_configuration_is_told_with_its_secrets_masked(site: httpx.AsyncClient) -> None:
    (setting,) = (await site.get("/api/v1/config")).json()
    assert (setting["variable"], setting["value"]) == ("ADMIN_TOKEN", "********")


async def test_the_openapi_document_is_valid_and_true(site: httpx.AsyncClient) -> None:
    document = (await site.get("/api/v1/openapi.json")).json()
    validate(document)
    for path in (
        "/api/v1/status",
        "/api/v1/tickets",
        "/api/v1/tickets/{ticket_id}",
        "/api/v1/config",
        "/health",
        "/ready",
    ):
        answer = await site.get(path.replace("{ticket_id}", "t-1"))
        jsonschema.validate(answer.json(), _schema_of(document, path), cls=jsonschema.Draft202012Validator)


async def test_every_route_of_the_api_is_in_the_openapi_document(site: httpx.AsyncClient, worker: Worker) -> None:
    paths = (await site.get("/api/v1/openapi.json")).json()["paths"]
    routes = [*action_routes(worker.actions, SecretStr("x")), *api_routes(worker.source)]
    known = {(path, method.upper()) for path, operations in paths.items() for method in operations}
    served = {
        (route.path.replace(":path", ""), method)
        for route in routes
        for method in (route.methods or set()) - {"HEAD"}
        if not route.path.endswith("openapi.json")
    }
    assert served == {(path, method) for path, method in known if path.startswith("/api/")}


def _schema_of(document: JsonObject, path: str) -> JsonObject:
    answer = document["paths"][path]["get"]["responses"]["200"]
    return {**answer["content"]["application/json"]["schema"], "components": document["components"]}


def _quoted(text: str) -> str:
    return str(httpx.QueryParams({"": text}))[1:].replace("+", "%20")
