"""Uvicorn inside the worker's event loop, without its hold on signals."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

from worker_agents.model.errors import StartupError
from worker_agents.web.protocol import GuardedProtocol, ServerLimits, guarded
from worker_agents.web.rules import RequestRules

# Scrapes and probes answer at once: what still runs after this is a client that does not read.
_SHUTDOWN_SECONDS = 2
_DATE_SECONDS = 1
_BACKLOG = 128

# Uvicorn's own, for what it would say.
_LOG = logging.getLogger("uvicorn.error")


class HttpServer:
    """Serves ``app`` on ``host`` and ``port``; port 0 picks a free one. ``on_stop`` ends what would be answered for ever."""

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        limits: ServerLimits | None = None,
        *,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._app = app
        self._on_stop = on_stop
        self._limits = limits or ServerLimits()
        self._host = host
        self._requested_port = port
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, or asked for before :meth:`start`."""
        if self._socket is None:
            return self._requested_port
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Listen. When this returns, requests are answered.

        Raises :class:`StartupError` when the address or the port cannot be had.
        """
        self._socket = _listen(self._host, self._requested_port)
        self._server = _Server(_config(self._app, self._limits))
        self._serving = asyncio.create_task(self._server.serve([self._socket]), name="http-server")
        await self._server.listening.wait()

    async def stop(self) -> None:
        """Finish the requests that run, then close. Does nothing when it was never started."""
        if self._server is None or self._serving is None:
            return
        self._on_stop()
        self._server.stopping.set()
        await self._serving
        self._server = self._serving = self._socket = None


class _Server(uvicorn.Server):
    """Leaves signals to the application, and is told what uvicorn looks for ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.stopping = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        """Renew the date that answers bear, until it is to stop."""
        while not self.stopping.is_set():
            await self.on_tick(0)
            with suppress(TimeoutError):
                async with asyncio.timeout(_DATE_SECONDS):
                    await self.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in tuple(self.server_state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(_SHUTDOWN_SECONDS):
                await self._ended()
        except TimeoutError:
            tasks = tuple(self.server_state.tasks)
            _LOG.error("answers given up because the server stops: %d", len(tasks))
            for task in tasks:
                task.cancel()

    async def _ended(self) -> None:
        """All connections are closed and all answers complete."""
        while self.server_state.connections:
            connection = next(iter(self.server_state.connections))
            assert isinstance(connection, GuardedProtocol)
            await connection.gone.wait()
        while self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks)
        for server in self.servers:
            await server.wait_closed()


def _config(app: ASGIApp, limits: ServerLimits) -> uvicorn.Config:
    return uvicorn.Config(
        RequestRules(app, limits.head_bytes),
        http=guarded(limits),
        h11_max_incomplete_event_size=limits.head_bytes,
        timeout_keep_alive=limits.keep_alive,
        # What a header says of a client's address may be anybody's words; actions are audited with it.
        proxy_headers=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        is_any = host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=is_any)
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name that is none, such as "a..b"
        raise StartupError(_explain(error, host, port)) from error
    # asyncio sets TCP_NODELAY for sockets only that say TCP, as uvloop does for all: without it each answer but the first of a
    # connection takes 40 ms.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())


def _explain(error: OSError | UnicodeError, host: str, port: int) -> str:
    if isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL:
        return f"HTTP_HOST {host!r} is no address of this machine; 0.0.0.0 listens on all of them"
    match error.errno:
        case errno.EADDRINUSE:
            return f"HTTP_PORT {port} is already in use on {host}; set HTTP_PORT to a free port, or to 0 to have one picked"
        case errno.EACCES:
            return f"HTTP_PORT {port} may not be opened by this user; set HTTP_PORT to one above 1023"
    return f"HTTP_PORT {port} cannot be opened on {host}: {error.strerror}"
