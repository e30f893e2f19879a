"""The two APIs of Code Forge (contracts 1.9) as starlette routes."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from worker_agents.devkit.code_forge import views
from worker_agents.devkit.code_forge.calls import Call
from worker_agents.devkit.code_forge.forge import Forge
from worker_agents.devkit.code_forge.operations import Operation
from worker_agents.devkit.code_forge.work import WorkKind
from worker_agents.devkit.conversation import CALL


class Api:
    """Handlers of the API; every one is answered from memory at once."""

    def __init__(self, forge: Forge) -> None:
        """Serve the work of `forge`."""
        self._forge = forge

    def routes(self) -> list[Route]:
        """Return the routes, each named after its operation."""
        return [
            Route("/api/v1/generate", self._start_generation, methods=["POST"], name=Operation.START_GENERATION),
            Route("/api/v1/generate", self._list_generations, methods=["GET"], name=Operation.LIST_GENERATIONS),
            Route("/api/v1/generate/{id}", self._poll_generation, methods=["GET"], name=Operation.POLL_GENERATION),
            Route("/api/v1/pipelines", self._start_pipeline, methods=["POST"], name=Operation.START_PIPELINE),
            Route("/api/v1/pipelines/{id}", self._poll_pipeline, methods=["GET"], name=Operation.POLL_PIPELINE),
            Route("/api/v1/webhooks/pipeline-completed", self._webhook, methods=["POST"], name=Operation.WEBHOOK),
            Route("/health", self._health, methods=["GET"], name=Operation.HEALTH),
            Route("/ready", self._ready, methods=["GET"], name=Operation.READY),
            Route("/metrics", self._metrics, methods=["GET"], name=Operation.METRICS),
        ]

    async def _start_generation(self, request: Request) -> Response:
        call = _call(request)
        body = _object(call)
        _require(body, "ticket_id")
        template_id = _require(body, "template_id")
        work = self._forge.begin(WorkKind.GENERATION, call, template_id, body.get("parameters"))
        message = "Generation request accepted and processing"
        return JSONResponse({"request_id": work.id, "status": "queued", "message": message}, 202)

    async def _list_generations(self, _: Request) -> Response:
        peculiarities = self._forge.behaviour.peculiarities
        works = self._forge.generations()
        return JSONResponse(
            views.generations(
                (work, views.generation_status(work, self._forge.script_of(work), peculiarities)) for work in works
            )
        )

    async def _poll_generation(self, request: Request) -> Response:
        request_id = request.path_params["id"]
        work = self._forge.polled(WorkKind.GENERATION, request_id)
        if work is None:
            raise HTTPException(404, f"Generation request {request_id} not found")
        peculiarities = self._forge.behaviour.peculiarities
        body = views.generation(work, self._forge.script_of(work), peculiarities)
        if peculiarities.empty_artifacts_500 and not body["artifacts"]:
            # The peer's own answer does not pass its validation, which its framework reports like this.
            return PlainTextResponse("Internal Server Error", 500)
        return JSONResponse(body)

    async def _start_pipeline(self, request: Request) -> Response:
        call = _call(request)
        body = _object(call)
        artifact_id = _require(body, "artifact_id")
        work = self._forge.begin(WorkKind.PIPELINE, call, artifact_id, body.get("parameters"))
        return JSONResponse(views.started_pipeline(work, self._forge.behaviour.peculiarities), 201)

    async def _poll_pipeline(self, request: Request) -> Response:
        work = self._forge.polled(WorkKind.PIPELINE, request.path_params["id"])
        if work is None:
            raise HTTPException(404, "Pipeline not found")
        peculiarities = self._forge.behaviour.peculiarities
        return JSONResponse(
            views.pipeline(work, self._forge.script_of(work), peculiarities, now=self._forge.clock.now())
        )

    async def _webhook(self, request: Request) -> Response:
        # As at a peer without a webhook secret: the signature is not looked at.
        body = _object(_call(request))
        return JSONResponse({"status": "processed", "pipeline_id": body.get("pipeline_id"), "ticket_updated": False})

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "healthy", "service": "code-forge"})

    async def _ready(self, _: Request) -> Response:
        return JSONResponse({"status": "ready", "ready": True, "dependencies": {}})

    async def _metrics(self, _: Request) -> Response:
        return PlainTextResponse(f"code_forge_works_created_total {self._forge.log.works_created}\n")


def as_detail(_: Request, error: Exception) -> Response:
    """Answer an `HTTPException` as FastAPI does; an exception handler for starlette."""
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)


def _call(request: Request) -> Call:
    call: Call = request.scope[CALL]
    return call


def _object(call: Call) -> dict[str, Any]:
    if not isinstance(call.body, dict):
        raise HTTPException(422, "Input should be a valid dictionary")
    return call.body


def _require(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    if not value:
        raise HTTPException(400, f"{field} is required")
    return str(value)
