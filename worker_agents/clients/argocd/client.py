"""Argo CD's API server (``contracts.md`` 2.1 to 2.7).

Peculiar, and handled here:
- every call that is no GET needs ``Content-Type: application/json``, with nothing after it and even without a body;
- a missing application is answered 403 unless the call names its project, so every call does;
- errors are ``{error, code, message}``; their gRPC code and words tell more than the HTTP status;
- idempotency keys are not honoured, so a sync whose answer was lost is never repeated blindly: see :class:`SyncUnanswered`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn
from urllib.parse import quote, urlencode

import orjson

from worker_agents.clients.argocd.application import Application, ResourceHealth, ResourceTree
from worker_agents.clients.http import Answer, Call, HttpClient
from worker_agents.clients.http_errors import AnswerUnreadable
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable

_APPLICATIONS = "/api/v1/applications"
_JSON: Final = {"Content-Type": "application/json"}
# Answers in which Argo CD says what it minds; 401 is left to the token's refresh.
_EXPLAINED: Final = frozenset({400, 403, 404, 500})
# Two that write at once: the loser may simply try again.
_RACE: Final = frozenset({409})
MAX_MESSAGE = 500

NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION = 5, 7, 9
NO_CODE, NOT_ITS_OWN = 0, -1


class SyncUnanswered(IntegrationUnavailable):
    """A sync was asked for and its answer lost: whether it began can be seen in the application, by its ``infos``."""


@dataclass(frozen=True, slots=True)
class ApplicationKey:
    """Where an application is found. ``namespace`` only if that is not Argo CD's own."""

    name: str
    project: str
    namespace: str | None = None

    @property
    def query(self) -> dict[str, str]:
        own = {} if self.namespace is None else {"appNamespace": self.namespace}
        return {"project": self.project, **own}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Argo CD says no. ``code`` is the gRPC number; 0 where it gave none, -1 where somebody else answered for it."""

    status: int
    code: int
    message: str

    @property
    def is_missing(self) -> bool:
        """Argo CD's own 404; one that is no JSON is a proxy's, and says nothing of the application."""
        return self.status == 404 and self.code in (NOT_FOUND, NO_CODE)

    @property
    def is_forbidden(self) -> bool:
        return self.status == 403

    @property
    def is_busy(self) -> bool:
        """Another operation is under way: the only refusal of a sync that passes by itself."""
        return self.code == FAILED_PRECONDITION and "another operation is already in progress" in self.message.lower()

    @property
    def is_sync_window(self) -> bool:
        return self.code == PERMISSION_DENIED and "sync window" in self.message.lower()

    def raised(self, call: str) -> NoReturn:
        """Raise it as :class:`IntegrationRejected`."""
        raise IntegrationRejected(f"argocd {call}: HTTP {self.status}: {self.message}")


class ArgoCdClient:
    """Applications and their operations. ``http`` is given over: ``aclose`` closes it.

    Every method raises :class:`IntegrationUnavailable` when Argo CD cannot be reached or talks nonsense, and
    :class:`IntegrationRejected` for a refusal that it does not return. ``within`` is the seconds that the caller has left.
    """

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def upsert_application(
        self,
        application: Mapping[str, Any],
        headers: Mapping[str, str],
        before_repeat: Callable[[], object] | None = None,
        *,
        within: float | None = None,
    ) -> Application:
        """Create the application, or give it this spec; Argo CD looks whether the source can be rendered first.

        The same document has the same effect however often it is sent, so it is repeated as ``headers`` carry an
        ``Idempotency-Key``.
        """
        call = Call(
            operation="upsert",
            method="POST",
            path=f"{_APPLICATIONS}?upsert=true&validate=true",
            headers=headers,
            body=application,
            accepted=_EXPLAINED,
            not_yet=_RACE,
            before_repeat=before_repeat,
        )
        answer = await self._http.send(call, _application_or_refusal, within=within)
        return answer if isinstance(answer, Application) else answer.raised("upsert")

    async def get_application(
        self,
        key: ApplicationKey,
        headers: Mapping[str, str],
        *,
        refresh: Literal["normal"] | None = None,
        within: float | None = None,
    ) -> Application | Refusal:
        """The application as it is, or why it is not shown (403, 404).

        With ``refresh`` it is compared with its source first, which may take long: that is asked for once.
        """
        query = key.query if refresh is None else {**key.query, "refresh": refresh}
        call = Call(
            operation="get" if refresh is None else "refresh",
            method="GET",
            path=_path(key, query=query),
            headers=headers,
            accepted=_EXPLAINED,
            polls=refresh is None,
            before_repeat=None if refresh is None else _refresh_lost,
        )
        answer = await self._http.send(call, _application_or_refusal, within=within)
        if isinstance(answer, Refusal) and not (answer.is_missing or answer.is_forbidden):
            answer.raised(call.operation)
        return answer

    async def sync_application(
        self,
        key: ApplicationKey,
        headers: Mapping[str, str],
        *,
        infos: Mapping[str, str],
        prune: bool,
        within: float | None = None,
    ) -> Application | Refusal:
        """Start a sync to the application's own target revision. ``infos`` can be read back in the operation.

        Raises :class:`SyncUnanswered` when it may have begun. A refusal is returned: some of them pass.
        """
        call = Call(
            operation="sync",
            method="POST",
            path=_path(key, "/sync"),
            headers=headers,
            body={
                "prune": prune,
                "infos": [{"name": name, "value": value} for name, value in infos.items()],
                **key.query,
            },
            accepted=_EXPLAINED,
            before_repeat=_look_first,
        )
        return await self._http.send(call, _application_or_refusal, within=within)

    async def terminate_operation(self, key: ApplicationKey, headers: Mapping[str, str]) -> None:
        """End the operation that is under way, whosever it is; none is no error."""
        call = Call(
            operation="terminate",
            method="DELETE",
            path=_path(key, "/operation", query=key.query),
            headers={**headers, **_JSON},
            accepted=_EXPLAINED,
        )
        refusal = await self._http.send(call, lambda answer: None if answer.is_success else _refusal(answer))
        if refusal is not None and refusal.status != 400:
            refusal.raised("terminate")

    async def resource_tree(
        self, key: ApplicationKey, headers: Mapping[str, str], *, within: float | None = None
    ) -> Sequence[ResourceHealth]:
        """The live resources that the application is made of, with their health."""
        call = Call(
            operation="resource_tree",
            method="GET",
            path=_path(key, "/resource-tree", query=key.query),
            headers=headers,
            accepted=_EXPLAINED,
        )
        answer = await self._http.send(call, _tree_or_refusal, within=within)
        return answer.raised("resource_tree") if isinstance(answer, Refusal) else answer

    async def aclose(self) -> None:
        await self._http.aclose()


def _path(key: ApplicationKey, below: str = "", *, query: Mapping[str, str] | None = None) -> str:
    path = f"{_APPLICATIONS}/{quote(key.name, safe='')}{below}"
    return f"{path}?{urlencode(query)}" if query else path


def _look_first() -> NoReturn:
    raise SyncUnanswered("argocd sync: the answer was lost; whether the sync began is to be seen in the application")


def _refresh_lost() -> NoReturn:
    raise IntegrationUnavailable("argocd refresh: no answer")


def _application_or_refusal(answer: Answer) -> Application | Refusal:
    return Application.model_validate(answer.json_object()) if answer.is_success else _refusal(answer)


def _tree_or_refusal(answer: Answer) -> tuple[ResourceHealth, ...] | Refusal:
    return ResourceTree.model_validate(answer.json_object()).nodes if answer.is_success else _refusal(answer)


def _refusal(answer: Answer) -> Refusal:
    """What Argo CD minds; raises :class:`AnswerUnreadable` for what is a fault of its own rather than a refusal."""
    code, message = _words(answer.body)
    if _is_fault(answer.status, message):
        raise AnswerUnreadable(f"HTTP {answer.status}: {message}")
    return Refusal(answer.status, code, message)


def _is_fault(status: int, message: str) -> bool:
    """A 500, but for the one that says that our namespace is wrong; and a 400 because of a part that is down."""
    if status == 500:
        return "is not permitted" not in message
    return status == 400 and any(f"code = {each} desc" in message for each in ("Unavailable", "DeadlineExceeded"))


def _words(body: bytes) -> tuple[int, str]:
    """The gRPC code and message of ``{error, code, message}``, on one line. A proxy's own page has neither."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        return NOT_ITS_OWN, "no reason given"
    code, words = document.get("code"), document.get("message") or document.get("error")
    line = "".join(each if each.isprintable() else " " for each in words) if isinstance(words, str) else ""
    return (code if isinstance(code, int) else NO_CODE), line.strip()[:MAX_MESSAGE] or "no reason given"
