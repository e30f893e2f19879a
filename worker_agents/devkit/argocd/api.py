"""Argo CD's REST API (contracts 2.1 to 2.6) as starlette routes; every call is answered from memory at once."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker_agents.devkit.argocd.calls import Call
from worker_agents.devkit.argocd.controller import Controller, operation
from worker_agents.devkit.argocd.errors import Code, Refused
from worker_agents.devkit.argocd.operations import Operation
from worker_agents.devkit.argocd.records import Json, Record
from worker_agents.devkit.conversation import CALL

_APPLICATIONS: Final = "/api/v1/applications"
_USER: Final = "worker-agents"


class Api:
    """Handlers of the API over ``controller``."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[Route]:
        """The routes, each named after its operation."""
        one = f"{_APPLICATIONS}/{{name}}"
        return [
            Route(_APPLICATIONS, self._create, methods=["POST"], name=Operation.CREATE),
            Route(_APPLICATIONS, self._list, methods=["GET"], name=Operation.LIST),
            Route(one, self._get, methods=["GET"], name=Operation.GET),
            Route(one, self._delete, methods=["DELETE"], name=Operation.DELETE),
            Route(f"{one}/sync", self._sync, methods=["POST"], name=Operation.SYNC),
            Route(f"{one}/operation", self._terminate, methods=["DELETE"], name=Operation.TERMINATE),
            Route(f"{one}/resource-tree", self._tree, methods=["GET"], name=Operation.RESOURCE_TREE),
            Route("/api/v1/session", self._session, methods=["POST"], name=Operation.SESSION),
            Route("/api/v1/session/userinfo", self._userinfo, methods=["GET"], name=Operation.USERINFO),
            Route("/api/version", self._version, methods=["GET"], name=Operation.VERSION),
        ]

    async def _create(self, request: Request) -> Response:
        document = _object(request)
        metadata, spec = _part(document, "metadata"), _part(document, "spec")
        name = metadata.get("name")
        if not isinstance(name, str) or not name:
            raise Refused(Code.INVALID_ARGUMENT, "application: metadata.name is required")
        self._check_project(name, spec)
        self._permit("create", f"{spec['project']}/{name}")
        self._check_namespace(metadata.get("namespace"))
        if request.query_params.get("validate", "true") != "false":
            self._validate(name, spec)
        known = self._controller.applications.get(name)
        if known is not None and _is_same(known, metadata, spec):
            return self._shown(known)
        if known is not None:
            if request.query_params.get("upsert") != "true":
                raise Refused(
                    Code.INVALID_ARGUMENT,
                    "existing application spec is different, use upsert flag to force update",
                )
            self._permit("update", f"{spec['project']}/{name}")
        return self._shown(self._controller.write(name, metadata, spec))

    async def _list(self, request: Request) -> Response:
        wanted = request.query_params.getlist("projects")
        found = [each for each in self._controller.applications.values() if not wanted or each.project in wanted]
        namespace = self._controller.behaviour.namespace
        return JSONResponse({"metadata": {}, "items": [each.view(namespace) for each in found] or None})

    async def _get(self, request: Request) -> Response:
        record = self._found(request, "get", request.query_params.get("project"))
        if request.query_params.get("refresh"):
            # The real server answers only when the controller has compared.
            record.version += 1
            self._controller.compare(record, self._controller.now())
        return self._shown(record)

    async def _delete(self, request: Request) -> Response:
        self._controller.delete(self._found(request, "delete", request.query_params.get("project")))
        return JSONResponse({})

    async def _sync(self, request: Request) -> Response:
        body = _object(request)
        record = self._found(request, "sync", body.get("project"))
        revision = self._syncable(record, body.get("revision"))
        requested = operation(
            record.source,
            revision,
            prune=bool(body.get("prune")),
            initiator={"username": _USER},
            info=body.get("infos"),
            syncOptions=record.spec.get("syncPolicy", {}).get("syncOptions"),
        )
        if record.operation is not None:
            raise Refused(
                Code.FAILED_PRECONDITION, "error setting app operation: another operation is already in progress"
            )
        self._controller.begin(record, requested, _call(request))
        return self._shown(record)

    async def _terminate(self, request: Request) -> Response:
        record = self._found(request, "sync", request.query_params.get("project"))
        if record.operation is None:
            raise Refused(Code.INVALID_ARGUMENT, "Unable to terminate operation. No operation is in progress")
        self._controller.terminate(record)
        return JSONResponse({})

    async def _tree(self, request: Request) -> Response:
        record = self._found(request, "get", request.query_params.get("project"))
        return JSONResponse(record.tree(self._controller.script(record), self._controller.now()))

    async def _session(self, request: Request) -> Response:
        if not _object(request).get("password"):
            raise Refused(Code.UNAUTHENTICATED, "Invalid username or password")
        return JSONResponse({"token": self._controller.behaviour.token or "token"})

    async def _userinfo(self, _: Request) -> Response:
        return JSONResponse({"loggedIn": True, "username": _USER, "iss": "argocd", "groups": None})

    async def _version(self, _: Request) -> Response:
        return JSONResponse({"Version": "v3.6.0+reference"})

    def _found(self, request: Request, action: str, project: str | None) -> Record:
        """The application that a call names.

        Without a project, one that is missing is denied like one that may not be seen: its absence is a secret too.
        """
        name = request.path_params["name"]
        record = self._controller.applications.get(name)
        if not project:
            if record is None:
                raise Refused(Code.PERMISSION_DENIED, "permission denied")
        else:
            self._permit(action, f"{project}/{name}", known_project=project)
            if record is None or record.project != project:
                raise Refused(Code.NOT_FOUND, f'applications.argoproj.io "{name}" not found')
        self._permit(action, f"{record.project}/{name}")
        return record

    def _permit(self, action: str, what: str, *, known_project: str | None = None) -> None:
        behaviour = self._controller.behaviour
        if known_project is not None and known_project not in behaviour.projects:
            raise Refused(Code.PERMISSION_DENIED, "permission denied")
        if action not in behaviour.actions:
            raise Refused(Code.PERMISSION_DENIED, f"permission denied: applications, {action}, {what}, sub: {_USER}")

    def _check_project(self, name: str, spec: Json) -> None:
        project = spec.setdefault("project", "default") or "default"
        if project not in self._controller.behaviour.projects:
            raise Refused(
                Code.INVALID_ARGUMENT,
                f"application spec for {name} is invalid: InvalidSpecError: "
                f"Application referencing project {project} which does not exist",
            )

    def _check_namespace(self, namespace: str | None) -> None:
        if namespace not in (None, "", self._controller.behaviour.namespace):
            raise Refused(Code.UNKNOWN, f"namespace '{namespace}' is not permitted")

    def _validate(self, name: str, spec: Json) -> None:
        behaviour = self._controller.behaviour
        source, destination = _part(spec, "source"), _part(spec, "destination")
        problems = []
        if not source.get("repoURL") or source["repoURL"] in behaviour.broken_repositories:
            problems.append("InvalidSpecError: repository not accessible: repository not found")
        if bool(source.get("path")) == bool(source.get("chart")):
            problems.append("InvalidSpecError: spec.source.path or spec.source.chart is required")
        if bool(destination.get("server")) == bool(destination.get("name")):
            problems.append("InvalidSpecError: application destination can't have both name and server defined")
        elif (destination.get("server") or destination.get("name")) not in behaviour.clusters:
            problems.append("InvalidSpecError: there are no clusters with this address")
        if problems:
            raise Refused(Code.INVALID_ARGUMENT, f"application spec for {name} is invalid: {'; '.join(problems)}")
        _check_values(source)

    def _syncable(self, record: Record, revision: str | None) -> str:
        """The commit to sync to; refuses in the order of the real server."""
        behaviour = self._controller.behaviour
        if record.deleting:
            raise Refused(Code.FAILED_PRECONDITION, "application is deleting")
        if behaviour.sync_window_closed:
            raise Refused(Code.PERMISSION_DENIED, "cannot sync: blocked by sync window")
        target = record.source.get("targetRevision") or "HEAD"
        if record.is_automated and revision and revision != target:
            raise Refused(Code.FAILED_PRECONDITION, f"Cannot sync to {revision}: auto-sync currently set to {target}")
        wanted = revision or target
        if wanted in behaviour.unknown_revisions:
            raise Refused(Code.FAILED_PRECONDITION, f"unable to resolve '{wanted}' to a commit SHA")
        return self._controller.resolve(wanted)

    def _shown(self, record: Record) -> Response:
        return JSONResponse(record.view(self._controller.behaviour.namespace))


def _call(request: Request) -> Call:
    call: Call = request.scope[CALL]
    return call


def _object(request: Request) -> Json:
    body = _call(request).body
    if not isinstance(body, dict):
        raise Refused(Code.INVALID_ARGUMENT, "invalid character looking for beginning of value")
    return body


def _part(document: Json, name: str) -> dict[str, Any]:
    part = document.get(name)
    if not isinstance(part, dict):
        raise Refused(Code.INVALID_ARGUMENT, f"application: {name} is required")
    return part


def _check_values(source: Json) -> None:
    for each in (source.get("helm") or {}).get("parameters") or []:
        if not isinstance(each.get("value"), str):
            raise Refused(
                Code.INVALID_ARGUMENT,
                "json: cannot unmarshal number into Go struct field HelmParameter.value of type string",
            )


def _is_same(known: Record, metadata: Json, spec: Json) -> bool:
    return known.spec == spec and all(
        (known.metadata.get(each) or None) == (metadata.get(each) or None)
        for each in ("labels", "annotations", "finalizers")
    )
