"""The reference Code Forge on a loopback port."""

from typing import Unpack

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from worker_agents.devkit.code_forge.api import Api, as_detail
from worker_agents.devkit.code_forge.behaviour import Behaviour, BehaviourChanges
from worker_agents.devkit.code_forge.calls import CallLog
from worker_agents.devkit.code_forge.clock import Clock
from worker_agents.devkit.code_forge.control import Control
from worker_agents.devkit.code_forge.conversation import CodeForgeConversation
from worker_agents.devkit.code_forge.forge import Forge
from worker_agents.devkit.conversation import controlled
from worker_agents.devkit.loopback import LoopbackServer


class CodeForgeServer(LoopbackServer):
    """A Code Forge: `async with CodeForgeServer(behaviour=...) as forge: forge.url`.

    Work, log and behaviour outlive an outage.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """Prepare a server; port 0 takes a free one when it is first started."""
        self._forge = Forge(behaviour, clock=clock)
        super().__init__(self._asgi(), host=host, port=port)

    @property
    def log(self) -> CallLog:
        """Every call since the beginning, outages notwithstanding."""
        return self._forge.log

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour in force; setting it gives all faults their full number again."""
        return self._forge.behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._forge.behaviour = behaviour

    def change(self, **changes: Unpack[BehaviourChanges]) -> None:
        """Change some fields; faults are counted anew only where `faults` or `templates` are among them."""
        self._forge.change(**changes)

    def _asgi(self) -> ASGIApp:
        handlers = {HTTPException: as_detail}
        routes = Api(self._forge).routes()
        api = Starlette(routes=routes, exception_handlers=handlers)
        control = Starlette(routes=Control(self._forge).routes(), exception_handlers=handlers)
        return controlled(CodeForgeConversation(self._forge, api, routes, self.drop), control)
