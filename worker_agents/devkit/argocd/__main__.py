"""`python -m worker_agents.devkit.argocd`: the reference Argo CD as a process of its own."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from worker_agents.devkit.argocd.behaviour import Behaviour
from worker_agents.devkit.argocd.server import ArgoCdServer


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the first line of output is the URL. Exit codes: 0 done, 1 port taken, 2 usage."""
    options = _options(arguments)
    try:
        asyncio.run(_serve(ArgoCdServer(options.behaviour, host=options.host, port=options.port)))
    except OSError as error:
        print(f"cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker_agents.devkit.argocd", description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument(
        "--behaviour", type=_behaviour, default=Behaviour(), metavar="JSON", help="fields that differ from the default"
    )
    return parser.parse_args(arguments)


def _behaviour(text: str) -> Behaviour:
    try:
        return Behaviour().changed_by_json(json.loads(text))
    except (ValidationError, ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


async def _serve(server: ArgoCdServer) -> None:
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop.set)
    async with server:
        print(server.url, flush=True)
        await told_to_stop.wait()


if __name__ == "__main__":
    sys.exit(main())
