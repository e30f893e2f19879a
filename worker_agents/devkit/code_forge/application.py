"""Puts the reference Code Forge together as one ASGI application."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from worker_agents.devkit.code_forge.api import Api, as_detail
from worker_agents.devkit.code_forge.control import PREFIX, Control
from worker_agents.devkit.code_forge.conversation import Conversation, DropConnection
from worker_agents.devkit.code_forge.forge import Forge


def application(forge: Forge, *, drop: DropConnection) -> ASGIApp:
    """Return the API of `forge` and its control API; `drop` resets the connection of a call."""
    handlers = {HTTPException: as_detail}
    routes = Api(forge).routes()
    api = Conversation(forge, Starlette(routes=routes, exception_handlers=handlers), routes, drop)
    control = Starlette(routes=Control(forge).routes(), exception_handlers=handlers)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        is_control = scope["path"] == PREFIX or scope["path"].startswith(f"{PREFIX}/")
        await (control if is_control else api)(scope, receive, send)

    return serve
