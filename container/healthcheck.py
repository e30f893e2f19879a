"""The image's HEALTHCHECK: ends with 0 if the worker of this container says that it is alive.

It runs twice a minute beside the worker, so it takes a socket and nothing else: starting the program itself would cost more.
"""

import os
import socket
import sys

TIMEOUT_SECONDS = 4.0


def main() -> int:
    """Ask ``/health`` where the settings say that the worker listens; Linux takes 0.0.0.0 for this very machine."""
    host = os.environ.get("HTTP_HOST", "").strip() or "0.0.0.0"  # noqa: S104
    port = os.environ.get("HTTP_PORT", "").strip() or "8080"
    try:
        with socket.create_connection((host, int(port)), TIMEOUT_SECONDS) as connection:
            connection.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = connection.recv(1024)
    except (OSError, ValueError) as error:
        print(f"{host}:{port}/health: {error}")
        return 1
    status = answer.partition(b"\r\n")[0].decode(errors="replace")
    print(status)
    return 0 if " 200 " in status else 1


if __name__ == "__main__":
    sys.exit(main())
