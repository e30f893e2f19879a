"""The OpenAPI 3.1 document of everything that the worker answers over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from worker_agents import __version__
from worker_agents.dispatch.job import JobPhase
from worker_agents.model.errors import Reason
from worker_agents.web import bodies
from worker_agents.web.bodies import Problem
from worker_agents.web.views import SettingView, StatusDocument, TicketDetail, TicketList

JsonObject = dict[str, Any]

_ANSWERS: tuple[type[BaseModel], ...] = (
    *(StatusDocument, TicketList, TicketDetail, SettingView, Problem),
    *(bodies.TicketAnswer, bodies.TaskTypeAnswer, bodies.DrainAnswer, bodies.LettersAnswer, bodies.ReplayAnswer),
)
_ORDERS: tuple[type[BaseModel], ...] = (
    *(bodies.CancelOrder, bodies.RetryOrder, bodies.PauseOrder, bodies.ResumeOrder, bodies.DrainOrder),
    bodies.ReplayOrder,
)
_REFUSALS = {
    "400": "The body is not JSON",
    "401": "The token is missing or wrong",
    "403": "Actions are off, or a page of another site asks",
    "413": "The body is too long",
    "415": "The body is not announced as JSON",
    "422": "A field is wrong",
}


@cache
def openapi_document() -> JsonObject:
    _, schemas = models_json_schema(
        [*((model, "serialization") for model in _ANSWERS), *((model, "validation") for model in _ORDERS)],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "worker-agents",
            "version": __version__,
            "description": "What one worker tells of itself. Times are epoch milliseconds, durations seconds.",
        },
        "paths": _paths() | _actions(),
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"adminToken": {"type": "http", "scheme": "bearer", "description": "ADMIN_TOKEN"}},
        },
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
                parameters=[_in_path("ticket_id")],
                errors={"404": "This worker knows nothing of it"},
            )
        },
        "/api/v1/config": {
            "get": _reading("The effective settings, secrets masked", {"type": "array", "items": _ref(SettingView)})
        },
    }


def _actions() -> JsonObject:
    of_ticket, of_type = [_in_path("ticket_id")], [_in_path("task_type")]
    ticket, task_type = bodies.TicketAnswer, bodies.TaskTypeAnswer
    tickets = "/api/v1/tickets/{ticket_id}"
    types = "/api/v1/task-types/{task_type}"
    letters = "/api/v1/dead-letters"
    return {
        f"{tickets}/cancel": {"post": _order("Give a ticket up", bodies.CancelOrder, ticket, "202", of_ticket)},
        f"{tickets}/retry": {"post": _order("Try a waiting ticket now", bodies.RetryOrder, ticket, "202", of_ticket)},
        f"{types}/pause": {"post": _order("Start no tickets of a type", bodies.PauseOrder, task_type, "200", of_type)},
        f"{types}/resume": {"post": _order("Start them again", bodies.ResumeOrder, task_type, "200", of_type)},
        "/api/v1/drain": {"post": _order("End in good order", bodies.DrainOrder, bodies.DrainAnswer, "202")},
        letters: {"get": _letters()},
        f"{letters}/replay": {
            "post": _order("Send dead letters again", bodies.ReplayOrder, bodies.ReplayAnswer, "202")
        },
    }


def _order(
    summary: str,
    order: type[BaseModel],
    answer: type[BaseModel],
    status: str,
    parameters: Sequence[JsonObject] = (),
) -> JsonObject:
    """An action: 404 and 409 are answers too, and say why nothing was done."""
    not_done = {"404": "There is no such thing here", "409": "It cannot be done now"} if parameters else {}
    return {
        "summary": summary,
        "security": [{"adminToken": []}],
        "parameters": list(parameters),
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(order)}}},
        "responses": {
            status: _content("It is done, or begun", _ref(answer)),
            **{code: _content(why, _ref(answer)) for code, why in not_done.items()},
            **{code: _content(why, _ref(Problem)) for code, why in _REFUSALS.items()},
        },
    }


def _letters() -> JsonObject:
    limit = {"type": "integer", "minimum": 1, "maximum": bodies.MAX_LETTERS, "default": 20}
    operation = _reading(
        "The newest dead letters",
        _ref(bodies.LettersAnswer),
        parameters=[
            _query("limit", limit, "At most so many"),
            _query("reason", {"enum": [reason.value for reason in Reason]}, "Only those with this reason"),
        ],
        errors={code: _REFUSALS[code] for code in ("401", "403", "422")},
    )
    return operation | {"security": [{"adminToken": []}]}


def _in_path(name: str) -> JsonObject:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


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
