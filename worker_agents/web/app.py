"""The HTTP application: liveness, readiness, metrics, and whatever routes it is given."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from worker_agents.web.responses import NOT_CACHED, json_answer
from worker_agents.web.status import Liveness, MetricsSource, Readiness, ServiceStatus


def create_app(status: ServiceStatus, metrics: MetricsSource, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """The application; :class:`HttpServer` serves it. ``routes`` are those of ``web.actions``, ``web.api``, ``web.page``."""

    async def health(_: Request) -> Response:
        return _answer(status.liveness(), well="alive", ill="stuck")

    async def ready(_: Request) -> Response:
        return _answer(status.readiness(), well="ready", ill="not_ready")

    async def metrics_text(request: Request) -> Response:
        body, content_type = metrics.expose(request.headers.get("Accept", ""))
        return Response(body, media_type=content_type, headers={**NOT_CACHED, "Vary": "Accept"})

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", metrics_text),
            *routes,
        ],
    )
    # It would send whoever asked on to an address of the caller's choice: that in the Host header.
    app.router.redirect_slashes = False
    return app


def _answer(finding: Liveness | Readiness, *, well: str, ill: str) -> Response:
    body = {
        "status": well if finding.ok else ill,
        "reasons": finding.reasons,
        "details": finding.details,
    }
    return json_answer(body, 200 if finding.ok else 503)
