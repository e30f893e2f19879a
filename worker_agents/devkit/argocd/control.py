"""The control API, by which tests in other processes change the behaviour and read the call log.

    GET    /_control/behaviour                        the behaviour in force
    POST   /_control/behaviour  {field: value, ...}   change these fields
    GET    /_control/calls      ?since= &operation= &application=
    DELETE /_control/calls                            forget the calls
    GET    /_control/syncs                            {ticket id: {posts, begun}}
    GET    /_control/applications                     every application as the API shows it

Calls of the control API are not logged, and no fault, token or outage applies to them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker_agents.devkit.argocd.controller import Controller
from worker_agents.devkit.argocd.operations import Operation
from worker_agents.devkit.conversation import CONTROL


class Control:
    """Handlers of the control API."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[Route]:
        return [
            Route(f"{CONTROL}/behaviour", self._behaviour, methods=["GET"]),
            Route(f"{CONTROL}/behaviour", self._change, methods=["POST"]),
            Route(f"{CONTROL}/calls", self._calls, methods=["GET"]),
            Route(f"{CONTROL}/calls", self._clear, methods=["DELETE"]),
            Route(f"{CONTROL}/syncs", self._syncs, methods=["GET"]),
            Route(f"{CONTROL}/applications", self._applications, methods=["GET"]),
        ]

    async def _behaviour(self, _: Request) -> Response:
        return _json(self._controller.behaviour.to_json())

    async def _change(self, request: Request) -> Response:
        try:
            changes = orjson.loads(await request.body())
            self._controller.behaviour = self._controller.behaviour.changed_by_json(dict(changes))
        except (ValidationError, ValueError, TypeError) as error:
            raise HTTPException(422, str(error)) from error
        return _json(self._controller.behaviour.to_json())

    async def _calls(self, request: Request) -> Response:
        query = request.query_params
        try:
            since = int(query.get("since", "0"))
            operation = Operation(query["operation"]) if "operation" in query else None
        except ValueError as error:
            raise HTTPException(422, f"since is a number, operation one of {', '.join(Operation)}") from error
        calls = self._controller.log.find(operation, query.get("application"), since)
        return _json({"calls": [call.to_json() for call in calls], "received": len(self._controller.log)})

    async def _clear(self, _: Request) -> Response:
        self._controller.log.clear()
        return Response(status_code=204)

    async def _syncs(self, _: Request) -> Response:
        syncs = self._controller.log.syncs_by_ticket()
        return _json({ticket: dataclasses.asdict(each) for ticket, each in syncs.items()})

    async def _applications(self, _: Request) -> Response:
        self._controller.catch_up()
        namespace = self._controller.behaviour.namespace
        return _json({name: each.view(namespace) for name, each in self._controller.applications.items()})


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
