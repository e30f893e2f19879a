"""The routes of what operators may do over HTTP, with the admin token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import SecretStr, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker_agents.web import audit, bodies
from worker_agents.web.audit import Caller
from worker_agents.web.guards import Refused, read_name, read_order, read_query, refuse_other_sites, require_token
from worker_agents.web.operator_actions import ActionOutcome, OperatorActions
from worker_agents.web.responses import document

O = TypeVar("O", bound=bodies.Order)  # noqa: E741 # an order


def action_routes(actions: OperatorActions, token: SecretStr) -> list[Route]:
    """The routes of all actions. Without a token they are there and say that they are off."""
    routes = _Routes(actions, token)
    return [
        routes.named("/api/v1/tickets/{ticket_id:path}/cancel", bodies.TICKET_NAME, bodies.CancelOrder, actions.cancel),
        routes.named("/api/v1/tickets/{ticket_id:path}/retry", bodies.TICKET_NAME, bodies.RetryOrder, actions.retry),
        routes.named(
            "/api/v1/task-types/{task_type:path}/pause", bodies.TASK_TYPE_NAME, bodies.PauseOrder, actions.pause
        ),
        routes.named(
            "/api/v1/task-types/{task_type:path}/resume", bodies.TASK_TYPE_NAME, bodies.ResumeOrder, actions.resume
        ),
        routes.general("/api/v1/drain", bodies.DrainOrder, actions.drain),
        routes.general("/api/v1/dead-letters/replay", bodies.ReplayOrder, actions.replay),
        routes.preview("/api/v1/dead-letters"),
    ]


class _Routes:
    """Makes routes that take an order from whoever has the token, and refuse everybody else alike."""

    def __init__(self, actions: OperatorActions, token: SecretStr) -> None:
        self._actions = actions
        self._token = token

    def named(
        self,
        path: str,
        kind: TypeAdapter[str],
        model: type[O],
        act: Callable[[str, O, Caller], Awaitable[ActionOutcome]],
    ) -> Route:
        """An action on what the path names."""
        field = path.partition("{")[2].partition(":")[0]

        async def take(request: Request) -> ActionOutcome:
            name = read_name(request, field, kind)
            return await act(name, await read_order(request, model), caller_of(request))

        return self._route(path, "POST", take)

    def general(self, path: str, model: type[O], act: Callable[[O, Caller], Awaitable[ActionOutcome]]) -> Route:
        async def take(request: Request) -> ActionOutcome:
            return await act(await read_order(request, model), caller_of(request))

        return self._route(path, "POST", take)

    def preview(self, path: str) -> Route:
        async def take(request: Request) -> ActionOutcome:
            query = read_query(request, bodies.LetterQuery)
            return await self._actions.preview_dead_letters(query, caller_of(request))

        return self._route(path, "GET", take)

    def _route(self, path: str, method: str, take: Callable[[Request], Awaitable[ActionOutcome]]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                refuse_other_sites(request)
                require_token(request, self._token)
                outcome = await take(request)
            except Refused as refusal:
                asked = audit.Request(f"{method} {path}", ",".join(request.path_params.values()))
                self._actions.audit.refused(asked, caller_of(request), refusal.detail, refusal.status)
                return document(bodies.Problem(detail=refusal.detail), refusal.status, dict(refusal.headers))
            return document(outcome.data, outcome.status)

        return Route(path, endpoint, methods=[method])


def caller_of(request: Request) -> Caller:
    return Caller(request.client.host if request.client else "")
