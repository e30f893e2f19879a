"""TCP ports on loopback for servers that are started here."""

import asyncio
import contextlib
import random
import socket

_HOST = "127.0.0.1"

# Below the ephemeral range: while a server is down, a client that keeps reconnecting to an ephemeral port can be given
# that very port as its own end, connect to itself and so keep the server from coming back.
_PORTS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return different ports that nobody listens on now; somebody may by the time they are used, so choose late.

    Raises:
        OSError: too few were found.
    """
    free = [port for port in random.sample(_PORTS, k=count + 100) if _can_listen(port)]
    if len(free) < count:
        raise OSError(f"no {count} free ports found from {_PORTS.start} to {_PORTS.stop}")
    return free[:count]


def _can_listen(port: int) -> bool:
    with socket.socket() as candidate:
        try:
            candidate.bind((_HOST, port))
        except OSError:
            return False
    return True


async def accepts_connections(host: str, port: int) -> bool:
    """Tell whether somebody listens there."""
    try:
        _reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
