"""The OpenAPI 3.1 document of everything that the worker answers over HTTP."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from worker_agents import __version__
from worker_agents.dispatch.job import JobPhase
from worker_agents.web.views import Problem, SettingView, StatusDocument, TicketDetail, TicketList

JsonObject = dict[str, Any]

_ANSWERS: tuple[type[BaseModel], ...] = (StatusDocument, TicketList, TicketDetail, SettingView, Problem)


@cache
def openapi_document() -> JsonObject:
    _, schemas = models_json_schema(
        [(model, "serialization") for model in _ANSWERS], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "worker-agents",
            "version": __version__,
            "description": "What one worker tells of itself. Times are epoch milliseconds, durations seconds.",
        },
        "paths": _paths(),
        "components": {"schemas": schemas["$defs"]},
    }


def _paths() -> JsonObject:
    return {
        "/health": {"get": _probe("Liveness: does the process make progress?")},
        "/ready": {"get": _probe("Readiness: does the worker take tickets?")},
        "/metrics": {
            "get": {
                "summary": "Metrics for Prometheus",
                "responses": {"200": {"description": "The text format", "content": {"text/plain": {}}}},
            }
        },
        "/api/v1/status": {"get": _reading("The whole worker in one document", _ref(StatusDocument))},
        "/api/v1/tickets": {
            "get": _reading(
                "Unsettled tickets, most pressing first",
                _ref(TicketList),
                parameters=[
                    _query("type", {"type": "string"}, "Only those of one task type"),
                    _query(
                        "phase",
                        {"type": "array", "items": {"enum": [phase.value for phase in JobPhase]}},
                        "Only those in one of these phases; may be repeated",
                    ),
                    _query(
                        "limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, "At most so many"
                    ),
                ],
                errors={"422": "A parameter of the query is wrong"},
            )
        },
        "/api/v1/tickets/{ticket_id}": {
            "get": _reading(
                "One ticket with its history",
                _ref(TicketDetail),
                parameters=[ticket_id_parameter()],
                errors={"404": "This worker knows nothing of it"},
            )
        },
        "/api/v1/config": {
            "get": _reading("The effective settings, secrets masked", {"type": "array", "items": _ref(SettingView)})
        },
    }


def ticket_id_parameter() -> JsonObject:
    return {"name": "ticket_id", "in": "path", "required": True, "schema": {"type": "string"}}


def _probe(summary: str) -> JsonObject:
    body = {
        "type": "object",
        "required": ["status", "reasons", "details"],
        "properties": {
            "status": {"type": "string"},
            "reasons": {"type": "array", "items": {"type": "string"}},
            "details": {"type": "object"},
        },
    }
    return {
        "summary": summary,
        "responses": {"200": _content("It does", body), "503": _content("It does not; the reasons say why", body)},
    }


def _reading(
    summary: str,
    schema: JsonObject,
    *,
    parameters: list[JsonObject] | None = None,
    errors: dict[str, str] | None = None,
) -> JsonObject:
    refused = {status: _content(why, _ref(Problem)) for status, why in (errors or {}).items()}
    operation: JsonObject = {"summary": summary, "responses": {"200": _content("The document", schema), **refused}}
    if parameters:
        operation["parameters"] = parameters
    return operation


def _content(description: str, schema: JsonObject) -> JsonObject:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _query(name: str, schema: JsonObject, description: str) -> JsonObject:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _ref(model: type[BaseModel]) -> JsonObject:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
