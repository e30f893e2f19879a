"""What stands for the Kubernetes API server where a worker only patches its pod: HTTPS, and a note of every call."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

from worker_agents.clients.kubernetes import POD_DELETION_COST


@dataclass(frozen=True)
class Patch:
    path: str
    token: str
    cost: str


@dataclass
class ApiServer:
    """``status`` is what it answers. ``service_account`` is what the kubelet mounts; a worker in this pod has ``environment``."""

    service_account: Path
    port: int = 0
    status: HTTPStatus = HTTPStatus.OK
    patches: list[Patch] = field(default_factory=list)

    @property
    def costs(self) -> list[str]:
        return [patch.cost for patch in self.patches]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "POD_DELETION_COST_ENABLED": "true",
            "POD_NAME": "worker-0",
            "POD_NAMESPACE": "flow",
            "KUBERNETES_API_URL": f"https://127.0.0.1:{self.port}",
            "SERVICE_ACCOUNT_DIRECTORY": str(self.service_account),
        }

    def rotate_token(self, token: str) -> None:
        """In place of the old one at once, as the kubelet does it."""
        fresh = self.service_account / "..token"
        fresh.write_text(token)
        fresh.rename(self.service_account / "token")

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        document = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        cost = document["metadata"]["annotations"][POD_DELETION_COST]
        self.patches.append(Patch(handler.path, handler.headers["Authorization"].removeprefix("Bearer "), cost))
        body = json.dumps(
            {"kind": "Status", "message": "pods is forbidden"} if self.status >= HTTPStatus.BAD_REQUEST else {}
        )
        handler.send_response(self.status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body.encode())


@contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    server = ApiServer(folder)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    server.rotate_token("first")

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:  # the library's name
            server.answer(self)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server.port = listener.server_port
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
        serving = threading.Thread(target=listener.serve_forever)
        serving.start()
        try:
            yield server
        finally:
            listener.shutdown()
            serving.join()
