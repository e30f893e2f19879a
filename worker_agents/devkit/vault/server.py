"""Serves the reference Vault from the running event loop; it can be stopped and started again on its port."""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType
from typing import Any, Self

import orjson
import uvicorn
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from worker_agents.devkit.vault.answers import Refused, errors
from worker_agents.devkit.vault.api import Condition, VaultApi
from worker_agents.devkit.vault.faults import Fault
from worker_agents.devkit.vault.kubernetes import KubernetesAuth
from worker_agents.devkit.vault.kv import KeyValueEngine
from worker_agents.devkit.vault.log import Call, CallLog
from worker_agents.devkit.vault.policies import Policy
from worker_agents.devkit.vault.tokens import Tokens
from worker_agents.model.clock import Clock, SystemClock

_HOST = "127.0.0.1"
_PREFIX = "/v1/"


class VaultServer:
    """A Vault on a loopback port: ``async with VaultServer() as vault: vault.url``. See the package for an example.

    It begins unsealed, with an empty key-value engine at ``secret`` and no token. ``clock`` decides when tokens end.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self._now = lambda: clock.now_ms() / 1000
        self.api = VaultApi(self._now)
        self.log = CallLog()
        self.kv("secret")
        self._held: socket.socket | None = None
        self._listener: asyncio.Server | None = None
        self._state = ServerState()
        self._config = uvicorn.Config(
            self._serve, interface="asgi3", http="auto", ws="none", lifespan="off", log_config=None, access_log=False
        )
        self._config.load()

    @property
    def url(self) -> str:
        """The address; the same after every :meth:`start`."""
        if self._held is None:
            raise RuntimeError("the server has not been started")
        return f"http://{_HOST}:{self._held.getsockname()[1]}"

    @property
    def tokens(self) -> Tokens:
        return self.api.tokens

    @property
    def policies(self) -> dict[str, Policy]:
        return self.api.policies

    @property
    def condition(self) -> Condition:
        return self.api.condition

    @condition.setter
    def condition(self, condition: Condition) -> None:
        self.api.condition = condition

    def kv(self, mount: str) -> KeyValueEngine:
        """The engine at ``mount``, new when there is none."""
        return self.api.engines.setdefault(mount, KeyValueEngine(self._now))

    def kubernetes(self, mount: str = "kubernetes") -> KubernetesAuth:
        """The Kubernetes login at ``mount``, new when there is none."""
        return self.api.logins.setdefault(mount, KubernetesAuth(mount, self.tokens))

    def fail(self, *faults: Fault) -> None:
        """Play these faults from now on, in place of earlier ones."""
        self.api.faults = list(faults)

    async def start(self) -> None:
        """Listen; nothing happens if it does already."""
        if self._listener is not None:
            return
        # One socket holds the port for ever, so that nobody else is given it during an outage.
        self._held = self._held or _bound(0)
        listening = _bound(self._held.getsockname()[1])
        self._listener = await asyncio.get_running_loop().create_server(self._connection, sock=listening)

    async def stop(self) -> None:
        """An outage: connections are reset, new ones refused; secrets and tokens stay."""
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        listener.close()
        for connection in tuple(self._state.connections):
            connection.transport.abort()
        tasks = tuple(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if self._held is not None:
            self._held.close()
            self._held = None

    def _connection(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self._config.http_protocol_class(  # type: ignore[call-arg]
            config=self._config, server_state=self._state, app_state={}
        )
        return protocol

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._converse(scope, receive, send)
        except asyncio.CancelledError:
            if self._listener is not None:
                raise
            # `stop()` cancels; uvicorn would report an answer that nobody can receive any more as a fault of ours.
            await _until_disconnected(receive)

    async def _converse(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = _call(scope, await _body(receive))
        self.log.received(call)
        fault = next((fault for fault in self.api.faults if fault.strikes(call.path)), None)
        response = self._answer(call, fault, is_ours=scope["path"].startswith(_PREFIX))
        if response is None:
            if fault is not None and fault.kind == "drop":
                self._drop(scope)
            await _until_disconnected(receive)
            return
        self.log.answered(call, response.status_code)
        await response(scope, receive, send)

    def _answer(self, call: Call, fault: Fault | None, *, is_ours: bool) -> Response | None:
        if not is_ours:
            return errors(Refused(404))
        if fault is None:
            return self.api.answer(call)
        if fault.after_work:
            self.api.answer(call)
        match fault.kind:
            case "status":
                return errors(Refused(fault.status, *fault.errors))
            case "raw":
                return Response(fault.body, fault.status, headers={"Content-Type": fault.content_type})
            case "drop" | "hang":
                return None

    def _drop(self, scope: Scope) -> None:
        for connection in tuple(self._state.connections):
            if connection.transport.get_extra_info("peername") == scope["client"]:
                connection.transport.abort()


def _call(scope: Scope, body: bytes) -> Call:
    headers = Headers(scope=scope)
    return Call(
        method=scope["method"],
        path=scope["path"].removeprefix(_PREFIX),
        query=dict(QueryParams(scope["query_string"])),
        token=headers.get("x-vault-token"),
        namespace=headers.get("x-vault-namespace"),
        request_header=headers.get("x-vault-request") == "true",
        body=_parsed(body),
    )


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return None


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _bound(port: int) -> socket.socket:
    # Only sockets that say TCP get TCP_NODELAY from asyncio; without it every answer takes 40 ms.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.setblocking(False)
    bound.bind((_HOST, port))
    return bound
