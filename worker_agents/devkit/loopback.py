"""An ASGI application on a loopback port, served from the running event loop; it can be stopped and started again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

_BACKLOG = 2048
# Longer than any pause between polls: uvicorn's own 5 s would drop idle connections under a test's feet.
_KEEP_ALIVE_SECONDS = 75


class LoopbackServer:
    """Serves ``application``; port 0 takes a free one at the first start. Installs no signal handlers.

    :meth:`stop` is an outage: connections are reset and new ones refused until :meth:`start`, on the same port.
    """

    def __init__(self, application: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._application = application
        self._host = host
        self._port = port
        self._reservation: socket.socket | None = None
        self._listener: asyncio.Server | None = None
        self._state = ServerState()
        self._config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            http="auto",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        self._config.load()

    @property
    def url(self) -> str:
        """Base URL; known once the server has been started."""
        return f"http://{self._host}:{self.port}"

    @property
    def port(self) -> int:
        """Port in use, the same after every :meth:`start`."""
        if self._reservation is None:
            raise RuntimeError("the server has not been started")
        return self._port

    async def start(self) -> None:
        """Listen; nothing happens if it does already. Raises ``OSError`` where the port is taken."""
        if self._listener is not None:
            return
        if self._reservation is None:
            self._reservation = _bound(self._host, self._port)
            self._port = self._reservation.getsockname()[1]
        listening = _bound(self._host, self._port)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connection, sock=listening, backlog=_BACKLOG)

    async def stop(self) -> None:
        """Refuse new connections, reset all others and end what was still being answered."""
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

    def drop(self, scope: Scope) -> None:
        """Reset the connection that a call came over."""
        for connection in tuple(self._state.connections):
            if connection.transport.get_extra_info("peername") == scope["client"]:
                connection.transport.abort()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if self._reservation is not None:
            self._reservation.close()
            self._reservation = None

    def _connection(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self._config.http_protocol_class(  # type: ignore[call-arg]
            config=self._config, server_state=self._state, app_state={}
        )
        return protocol

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._application(scope, receive, send)
        except asyncio.CancelledError:
            if self._listener is not None:
                raise
            # `stop()` cancels. uvicorn would report an answer that nobody can receive any more as a fault of ours, unless
            # it already knows that the connection is gone.
            await until_disconnected(receive)


async def until_disconnected(receive: Receive) -> None:
    """Return when the client, or the server, has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _bound(host: str, port: int) -> socket.socket:
    """A socket that holds the port without listening.

    The server keeps one of them all its life: during an outage connections are refused, and yet nobody else - not even
    a client's own outgoing connection - can be given the port meanwhile.
    """
    with contextlib.ExitStack() as on_error:
        # Only sockets that say TCP get TCP_NODELAY from asyncio; without it every answer takes 40 ms.
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        on_error.callback(bound.close)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.setblocking(False)
        bound.bind((host, port))
        on_error.pop_all()
    return bound
