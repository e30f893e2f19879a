"""The image's health check, run as the container runs it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from worker_agents.devkit.loopback import LoopbackServer
from worker_agents.devkit.ports import free_ports

SCRIPT = Path(__file__).parents[2] / "container" / "healthcheck.py"


async def checked(**environment: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-IS", str(SCRIPT)),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


def server(status: int) -> LoopbackServer:
    async def health(request: Request) -> PlainTextResponse:
        assert request.url.path == "/health"
        return PlainTextResponse("as told", status)

    return LoopbackServer(Starlette(routes=[Route("/health", health)]))


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
@pytest.mark.parametrize("host", ["", "0.0.0.0", "127.0.0.1"])
async def test_it_ends_with_0_only_if_the_worker_says_that_it_is_alive(host: str, status: int, code: int) -> None:
    async with server(status) as listening:
        found, said = await checked(HTTP_HOST=host, HTTP_PORT=str(listening.port))

    assert found == code
    assert f" {status} " in said


@pytest.mark.parametrize("port", ["", "none of them", "99999", "0"])
async def test_where_nobody_listens_it_says_so(port: str) -> None:
    code, said = await checked(HTTP_HOST="127.0.0.1", HTTP_PORT=port or str(free_ports(1)[0]))

    assert code == 1
    assert said.startswith("127.0.0.1:")
    assert "Traceback" not in said
