"""The JSON API that is read: what the status page shows, for programs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker_agents.dispatch.job import JobPhase
from worker_agents.model.ticket import describe_problems
from worker_agents.web.openapi import openapi_document
from worker_agents.web.responses import document, json_answer, problem
from worker_agents.web.views import StatusSource

MOST_TICKETS = 1_000


class TicketsQuery(BaseModel):
    """The query of ``GET /api/v1/tickets``; ``phase`` may be given several times."""

    model_config = ConfigDict(extra="forbid")

    type: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    phase: tuple[JobPhase, ...] = ()
    limit: int = Field(100, ge=1, le=MOST_TICKETS)


def api_routes(source: StatusSource) -> list[Route]:
    """Everything under ``/api/v1`` that changes nothing."""

    async def status(_: Request) -> Response:
        return document(source.status())

    async def tickets(request: Request) -> Response:
        try:
            query = _query(request)
        except ValidationError as error:
            return problem(422, describe_problems(error))
        task_type = query.type.upper() if query.type else None
        return document(source.tickets(task_type=task_type, phases=query.phase, limit=query.limit))

    async def ticket(request: Request) -> Response:
        ticket_id = request.path_params["ticket_id"]
        detail = source.ticket(ticket_id)
        if detail is None:
            return problem(
                404, "it is in no partition of this worker, or was not read yet; 'worker-agents tickets' asks Kafka"
            )
        return document(detail)

    async def config(_: Request) -> Response:
        return json_answer([setting.model_dump() for setting in source.configuration()])

    async def openapi(_: Request) -> Response:
        return json_answer(openapi_document())

    return [
        Route("/api/v1/status", status),
        Route("/api/v1/tickets", tickets),
        Route("/api/v1/tickets/{ticket_id:path}", ticket),
        Route("/api/v1/config", config),
        Route("/api/v1/openapi.json", openapi),
    ]


def _query(request: Request) -> TicketsQuery:
    given = request.query_params
    return TicketsQuery.model_validate({**given, "phase": given.getlist("phase")})
