"""One question at a service over HTTP, and what its silence means."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from pydantic import SecretStr

from worker_agents.cli.doctor.clock import Readings
from worker_agents.cli.doctor.findings import Finding, Subject
from worker_agents.clients.http import Answer, Call, HttpClient, HttpLimits
from worker_agents.clients.http_retry import HttpRetryPolicy
from worker_agents.model.errors import TaskError

Reply = Answer | TaskError

_EVERY_STATUS: Final = frozenset(range(100, 600))
_OPERATION: Final = "question"
_REFUSALS: Final = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class Service:
    """A service as the settings describe it. ``name`` is for people, ``variable`` what its settings' names begin with.

    ``loss`` says what becomes of tickets while it is away.
    """

    name: str
    variable: str
    url: str
    token: SecretStr
    loss: str

    @property
    def subject(self) -> Subject:
        return Subject(f"integrations.{self.variable.lower()}")

    @property
    def token_setting(self) -> str:
        return f"{self.variable}_TOKEN"


class Probe:
    """Asks one service, once each time and for at most ``seconds``. ``readings`` is told its clock."""

    def __init__(self, service: Service, readings: Readings, seconds: float) -> None:
        self._service = service
        self._readings = readings
        self._client = HttpClient(
            service.url,
            integration=service.variable.lower(),
            emit=lambda _: None,
            token=service.token or None,
            retry=HttpRetryPolicy(tries=1),
            limits=HttpLimits(connect=seconds, read=seconds, whole=seconds),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def get(self, path: str) -> Reply:
        return await self._ask(Call(_OPERATION, "GET", path, accepted=_EVERY_STATUS))

    async def post(self, path: str, body: Mapping[str, Any]) -> Reply:
        """For services whose questions are POSTs: it starts nothing."""
        return await self._ask(Call(_OPERATION, "POST", path, body=body, reads_only=True, accepted=_EVERY_STATUS))

    async def _ask(self, call: Call) -> Reply:
        try:
            answer = await self._client.send(call, lambda answer: answer)
        except TaskError as error:
            return error
        self._readings.add_date(self._service.name, answer.date, time.time())
        return answer


def is_refused(answer: Answer) -> bool:
    return answer.status in _REFUSALS


def json_object(answer: Answer) -> dict[str, Any] | None:
    """``None`` for what is none."""
    try:
        return answer.json_object()
    except ValueError:
        return None


def silent(service: Service, error: TaskError) -> Finding:
    """No answer came."""
    words = str(error).removeprefix(f"{service.variable.lower()} {_OPERATION}: ")
    if "TLS failure" in words:
        advice = (
            f"Check that {service.variable}_URL has the name of the certificate and the scheme that is served there; for a "
            "private authority point SSL_CERT_FILE at its certificates."
        )
    else:
        advice = f"Check {service.variable}_URL, name resolution, network policies, and whether {service.name} runs."
    return service.subject.error(
        f"{service.name} is not reachable at {service.url}: {words}", why=service.loss, advice=advice
    )


def refused(service: Service, answer: Answer) -> Finding:
    """401 or 403."""
    if service.token:
        what = f"{service.name} refuses {service.token_setting} (HTTP {answer.status})"
        advice = f"Put a valid token into {service.token_setting}, or where that setting points."
    else:
        what = f"{service.name} wants a token, and {service.token_setting} is unset (HTTP {answer.status})"
        advice = f"Set {service.token_setting}, or {service.token_setting}_FILE."
    return service.subject.error(
        what, why="Every call is refused: the tickets fail (dependency_rejected).", advice=advice
    )


def unlike(service: Service, path: str, answer: Answer) -> Finding:
    """Somebody answers, but not as this service does."""
    return service.subject.error(
        f"what answers at {service.url} is not {service.name}: HTTP {answer.status} to {path}",
        why=service.loss,
        advice=f"Check {service.variable}_URL: host, port and path. A proxy or another service may be in the way.",
    )


def unwell(service: Service, path: str, answer: Answer) -> Finding:
    """It is there and says that it cannot serve."""
    return service.subject.error(
        f"{service.name} is not well: HTTP {answer.status} to {path}",
        why=service.loss,
        advice=f"See the log of {service.name}.",
    )


def token_unknown(subject: Subject, name: str, setting: str) -> Finding:
    """Its token lies in Vault and could not be read."""
    return subject.error(
        f"{name} cannot be asked: {setting} lies in Vault and could not be read",
        why="No worker starts without the secrets that its settings name.",
        advice="See to Vault first.",
    )
