"""A reference server as a process of its own: ``python -m worker_agents.devkit.code_forge`` and the like."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

from pydantic import ValidationError

from worker_agents.devkit.loopback import LoopbackServer


class Behaviour(Protocol):
    """How a server behaves."""

    def changed_by_json(self, changes: Mapping[str, Any]) -> Self:
        """With some fields changed; raises ``pydantic.ValidationError`` for what cannot be."""
        ...


B_contra = TypeVar("B_contra", bound=Behaviour, contravariant=True)
B = TypeVar("B", bound=Behaviour)


class ServerOf(Protocol[B_contra]):
    """Makes the server."""

    def __call__(self, behaviour: B_contra, *, host: str, port: int) -> LoopbackServer: ...


def run_program(module: str, server: ServerOf[B], default: B, arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the first line of output is the URL. Exit codes: 0 done, 1 port taken, 2 usage."""
    options = _options(module, default, arguments)
    try:
        asyncio.run(_serve(server(options.behaviour, host=options.host, port=options.port)))
    except OSError as error:
        print(f"cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _options(module: str, default: Behaviour, arguments: Sequence[str] | None) -> argparse.Namespace:
    def behaviour(text: str) -> Behaviour:
        try:
            return default.changed_by_json(json.loads(text))
        except (ValidationError, ValueError, TypeError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=run_program.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument(
        "--behaviour", type=behaviour, default=default, metavar="JSON", help="fields that differ from the default"
    )
    return parser.parse_args(arguments)


async def _serve(server: LoopbackServer) -> None:
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop.set)
    async with server:
        print(server.url, flush=True)
        await told_to_stop.wait()
