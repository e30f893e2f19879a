"""Server-sent events: sections of a page, whenever their HTML changes.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import orjson
from starlette.responses import Response, StreamingResponse

from worker_agents.web.responses import problem

INTERVAL_SECONDS = 2.0
# Each costs a rendering every two seconds, and a connection.
_MOST_LISTENERS = 20

Sections = Mapping[str, str]
"""The HTML of each section by its id."""


class LiveFeed:
    """Streams to everyone who looks; ``close`` ends the streams, so that the server can stop at once."""

    def __init__(self, interval: float = INTERVAL_SECONDS) -> None:
        self._interval = interval
        self._closed = asyncio.Event()
        self._listeners = 0

    def close(self) -> None:
        self._closed.set()

    def stream(self, render: Callable[[], Sections]) -> Response:
        """What ``render`` gives, now and whenever it changed. 503 for one listener too many."""
        if self._listeners >= _MOST_LISTENERS:
            return problem(503, f"{_MOST_LISTENERS} pages are live already", {"Retry-After": "30"})
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(render), media_type="text/event-stream", headers=headers)

    async def _events(self, render: Callable[[], Sections]) -> AsyncIterator[bytes]:
        self._listeners += 1
        shown: Sections = {}
        try:
            while not self._closed.is_set():
                sections = render()
                yield _event({name: html for name, html in sections.items() if shown.get(name) != html})
                shown = sections
                await self._pause()
        finally:
            self._listeners -= 1

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._interval):
                await self._closed.wait()
        except TimeoutError:
            return


def _event(changed: Sections) -> bytes:
    """A comment where nothing changed: it keeps proxies from closing the stream, and finds out who has gone."""
    return b"event: sections\ndata: " + orjson.dumps(changed) + b"\n\n" if changed else b": nothing new\n\n"
