"""What no request may be, whatever it asks for."""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class RequestRules:
    """Refuses heads of more than ``head_bytes``, and requests that say twice where they end.

    Uvicorn's own limit only holds for a head that comes in pieces. With two ends, a proxy and this server could take different
    bytes for the next request.
    """

    def __init__(self, app: ASGIApp, head_bytes: int) -> None:
        self._app = app
        self._head_bytes = head_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._fault(scope) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        status, sentence = fault
        await PlainTextResponse(sentence, status, {"Connection": "close"})(scope, receive, send)

    def _fault(self, scope: Scope) -> tuple[int, str] | None:
        headers = scope["headers"]
        target = len(scope["raw_path"]) + len(scope["query_string"])
        if target + sum(len(name) + len(value) for name, value in headers) > self._head_bytes:
            return 431, f"address and headers are longer than {self._head_bytes} bytes"
        names = {name for name, _ in headers}
        if b"content-length" in names and b"transfer-encoding" in names:
            return 400, "Content-Length and Transfer-Encoding exclude each other"
        return None
