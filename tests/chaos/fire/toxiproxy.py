"""Network links that can be cut, silenced, slowed and reset: a toxiproxy process and its HTTP interface."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.tools import TOOLS
from tests.support.waiting import listening
from worker_agents.devkit.child_process import ChildProcess
from worker_agents.devkit.ports import free_ports

HOST = "127.0.0.1"


class ToxiproxyMissing(RuntimeError):
    """`make tools` installs it."""


@dataclass(frozen=True)
class Link:
    """One listening port and where it leads."""

    name: str
    port: int
    upstream: str

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


class Toxiproxy:
    """Runs the links. The effects last as long as the ``async with`` block that asks for them."""

    def __init__(self, folder: Path) -> None:
        self._program = TOOLS / "toxiproxy-server"
        if not self._program.exists():
            raise ToxiproxyMissing("toxiproxy-server is not installed: `make tools` does it")
        self._port = free_ports(1)[0]
        command = [str(self._program), "-host", HOST, "-port", str(self._port)]
        self._process = ChildProcess(command, log=folder / "toxiproxy.log")
        # Its own client: not through a proxy that the environment may name.
        self._http = httpx.AsyncClient(base_url=f"http://{HOST}:{self._port}", timeout=30, trust_env=False)

    async def start(self) -> None:
        self._process.start()
        await listening(HOST, self._port)

    async def stop(self) -> None:
        await self._http.aclose()
        self._process.kill()

    async def add(self, links: Iterable[Link]) -> None:
        for link in links:
            await self._post(
                "/proxies", {"name": link.name, "listen": link.address, "upstream": link.upstream, "enabled": True}
            )

    @asynccontextmanager
    async def cut(self, links: Iterable[Link]) -> AsyncIterator[None]:
        """Connections end, and new ones are refused."""
        links = list(links)
        try:
            for link in links:
                await self._post(f"/proxies/{link.name}", {"enabled": False})
            yield
        finally:
            for link in links:
                await self._post(f"/proxies/{link.name}", {"enabled": True})

    @asynccontextmanager
    async def led_to(self, links: Iterable[Link], upstream: str) -> AsyncIterator[None]:
        """Another server answers."""
        links = list(links)
        try:
            for link in links:
                await self._post(f"/proxies/{link.name}", {"upstream": upstream})
            yield
        finally:
            for link in links:
                await self._post(f"/proxies/{link.name}", {"upstream": link.upstream})

    @asynccontextmanager
    async def poisoned(self, links: Iterable[Link], kind: str, **attributes: int) -> AsyncIterator[None]:
        """A toxic in both directions: ``timeout``, ``latency``, ``bandwidth``, ``reset_peer`` (see toxiproxy)."""
        links = list(links)
        try:
            for link in links:
                for stream in ("upstream", "downstream"):
                    toxic = {"name": f"{kind}-{stream}", "type": kind, "stream": stream, "attributes": attributes}
                    await self._post(f"/proxies/{link.name}/toxics", toxic)
            yield
        finally:
            for link in links:
                for stream in ("upstream", "downstream"):
                    await self._delete(f"/proxies/{link.name}/toxics/{kind}-{stream}")

    async def _post(self, path: str, body: Mapping[str, Any]) -> None:
        (await self._http.post(path, json=body)).raise_for_status()

    async def _delete(self, path: str) -> None:
        answer = await self._http.delete(path)
        if answer.status_code != httpx.codes.NOT_FOUND:
            answer.raise_for_status()
