"""The control API, by which tests in other processes change the behaviour and read the call log.

    GET    /_control/behaviour                        the behaviour in force
    POST   /_control/behaviour  {field: value, ...}   change these fields (peculiarities, templates: merged by name)
    PUT    /_control/behaviour  {field: value, ...}   these fields and the defaults for the rest
    GET    /_control/calls      ?since= &operation= &ticket_id= &method=
    DELETE /_control/calls                            forget the calls
    GET    /_control/starts     ?operation=           {ticket id: {posts, request_ids}}

Calls of the control API are not logged, and no fault, token or outage applies to them.
"""

import dataclasses
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker_agents.devkit.code_forge.behaviour import Behaviour
from worker_agents.devkit.code_forge.forge import Forge
from worker_agents.devkit.code_forge.operations import Operation
from worker_agents.devkit.conversation import CONTROL


class Control:
    """Handlers of the control API."""

    def __init__(self, forge: Forge) -> None:
        """Control `forge`."""
        self._forge = forge

    def routes(self) -> list[Route]:
        """Return the routes of the control API."""
        return [
            Route(f"{CONTROL}/behaviour", self._behaviour, methods=["GET"]),
            Route(f"{CONTROL}/behaviour", self._change, methods=["POST"]),
            Route(f"{CONTROL}/behaviour", self._replace, methods=["PUT"]),
            Route(f"{CONTROL}/calls", self._calls, methods=["GET"]),
            Route(f"{CONTROL}/calls", self._clear, methods=["DELETE"]),
            Route(f"{CONTROL}/starts", self._starts, methods=["GET"]),
        ]

    async def _behaviour(self, _: Request) -> Response:
        return _json(self._forge.behaviour.to_json())

    async def _change(self, request: Request) -> Response:
        changes = await _changes(request)
        try:
            self._forge.change_by_json(changes)
        except ValidationError as error:
            raise HTTPException(422, str(error)) from error
        return _json(self._forge.behaviour.to_json())

    async def _replace(self, request: Request) -> Response:
        changes = await _changes(request)
        try:
            self._forge.behaviour = Behaviour().changed_by_json(changes)
        except ValidationError as error:
            raise HTTPException(422, str(error)) from error
        return _json(self._forge.behaviour.to_json())

    async def _calls(self, request: Request) -> Response:
        query = request.query_params
        try:
            since = int(query.get("since", "0"))
        except ValueError as error:
            raise HTTPException(422, "since is the number of a call") from error
        calls = self._forge.log.find(
            since=since,
            operation=_operation(request),
            ticket_id=query.get("ticket_id"),
            method=query.get("method"),
        )
        return _json({"calls": [call.to_json() for call in calls], "received": len(self._forge.log)})

    async def _clear(self, _: Request) -> Response:
        self._forge.log.clear()
        return Response(status_code=204)

    async def _starts(self, request: Request) -> Response:
        starts = self._forge.log.starts_by_ticket(_operation(request))
        return _json({ticket: dataclasses.asdict(each) for ticket, each in starts.items()})


async def _changes(request: Request) -> dict[str, Any]:
    try:
        changes = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise HTTPException(422, str(error)) from error
    if not isinstance(changes, dict):
        raise HTTPException(422, "a JSON object of fields to change is needed")
    return changes


def _operation(request: Request) -> Operation | None:
    name = request.query_params.get("operation")
    try:
        return Operation(name) if name else None
    except ValueError as error:
        raise HTTPException(422, f"operations are {', '.join(Operation)}") from error


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
