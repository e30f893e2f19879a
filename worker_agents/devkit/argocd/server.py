"""The reference Argo CD on a loopback port."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp

from worker_agents.devkit.argocd.api import Api
from worker_agents.devkit.argocd.behaviour import Behaviour
from worker_agents.devkit.argocd.calls import CallLog
from worker_agents.devkit.argocd.control import Control
from worker_agents.devkit.argocd.controller import Controller
from worker_agents.devkit.argocd.conversation import ArgoCdConversation
from worker_agents.devkit.argocd.errors import Refused, as_answer
from worker_agents.devkit.argocd.records import Json
from worker_agents.devkit.conversation import controlled
from worker_agents.devkit.loopback import LoopbackServer
from worker_agents.model.clock import Clock


class ArgoCdServer(LoopbackServer):
    """An Argo CD: ``async with ArgoCdServer() as argocd: argocd.url``. Applications and log outlive an outage.

    Everything moves on with ``clock``; with a :class:`~worker_agents.devkit.executor_kit.VirtualClock` that the client
    shares, a rollout of minutes takes no time.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self._controller = Controller(behaviour, clock=clock)
        super().__init__(self._asgi(), host=host, port=port)

    @property
    def log(self) -> CallLog:
        """Every call since the beginning, outages notwithstanding."""
        return self._controller.log

    @property
    def behaviour(self) -> Behaviour:
        return self._controller.behaviour

    def change(self, **changes: Any) -> None:
        """Change some fields of the behaviour; all faults have their full number again."""
        self._controller.behaviour = replace(self._controller.behaviour, **changes)

    def application(self, name: str) -> Json:
        """The application as the API would show it now."""
        self._controller.catch_up()
        return self._controller.applications[name].view(self.behaviour.namespace)

    def sync(self, name: str, username: str = "admin") -> None:
        """Start a sync of the application, as somebody else would."""
        self._controller.catch_up()
        self._controller.sync(self._controller.applications[name], {"username": username})

    def forget(self, name: str) -> None:
        """Make the application vanish at once."""
        self._controller.forget(name)

    def _asgi(self) -> ASGIApp:
        routes = Api(self._controller).routes()
        api = Starlette(routes=routes, exception_handlers={Refused: as_answer})
        control = Starlette(routes=Control(self._controller).routes())
        return controlled(ArgoCdConversation(self._controller, api, routes, self.drop), control)
