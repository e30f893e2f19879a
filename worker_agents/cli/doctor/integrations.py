"""Looks at the services that executors work through. Nothing is started there, and nothing changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from worker_agents.cli.doctor.checks import Check
from worker_agents.cli.doctor.clock import Readings
from worker_agents.cli.doctor.findings import Finding, Subject
from worker_agents.cli.doctor.probes import (
    Probe,
    Reply,
    Service,
    is_refused,
    json_object,
    refused,
    silent,
    token_unknown,
    unlike,
    unwell,
)
from worker_agents.clients.http import Answer
from worker_agents.settings import Fallback, Integration, Settings

# Names that no remote work has.
_NO_PIPELINE = "/api/v1/pipelines/worker-agents-doctor"
_NO_POLICY = "/v1/data/worker_agents/doctor"
# The most that a service is asked, one after the other, and a little for the rest.
_QUESTIONS = 3.5

Look = Callable[[Service, Probe], Awaitable[Iterable[Finding]]]


@dataclass(frozen=True, slots=True)
class Use:
    """Which tickets an integration serves, and what they get without it."""

    integration: Integration
    name: str
    task_types: tuple[str, ...]
    what: str

    @property
    def variable(self) -> str:
        return self.integration.upper()

    @property
    def fallback(self) -> str:
        return f"{self.variable}_FALLBACK"

    @property
    def subject(self) -> Subject:
        return Subject(f"integrations.{self.integration}")

    def is_needed(self, settings: Settings) -> bool:
        served = settings.supported_task_types
        return served is None or not set(served).isdisjoint(self.task_types)

    def is_enabled(self, settings: Settings) -> bool:
        return bool(getattr(settings, f"{self.integration}_enabled"))

    def loss(self, fallback: Fallback) -> str:
        if fallback == "simulate":
            return f"{self.what} tickets get simulated results while it is away."
        return f"{self.what} tickets wait for it and fail in the end."


CODE_FORGE = Use("code_forge", "Code Forge", ("EXECUTE", "BUILD"), "EXECUTE and BUILD")
OPA = Use("opa", "OPA", ("VALIDATE",), "VALIDATE policy")
TRIVY = Use("trivy", "Trivy", ("VALIDATE",), "VALIDATE sast")
ARGOCD = Use("argocd", "Argo CD", ("DEPLOY",), "DEPLOY")


def service_checks(settings: Settings, readings: Readings, unread: Collection[str], seconds: float) -> list[Check]:
    """A check of ``seconds`` for each. ``unread`` are the secret settings that lie in Vault and could not be read."""

    def check(use: Use, look: Look) -> Check:
        async def run() -> Iterable[Finding]:
            if (unused := not_used(use, settings)) is not None:
                return [unused]
            if f"{use.integration}_token" in unread:
                return [token_unknown(use.subject, use.name, f"{use.variable}_TOKEN")]
            service = _service(use, settings)
            async with Probe(service, readings, seconds / _QUESTIONS) as probe:
                return await look(service, probe)

        return Check(use.subject.check, run)

    return [check(CODE_FORGE, _code_forge), check(OPA, _opa), check(ARGOCD, _argocd)]


def not_used(use: Use, settings: Settings) -> Finding | None:
    """What to say of an integration that is not looked at, and what its tickets get."""
    if not use.is_needed(settings):
        return use.subject.skipped(f"{use.name} is not needed: SUPPORTED_TASK_TYPES has none of its types")
    if use.is_enabled(settings):
        return None
    off = f"{use.name} is switched off ({use.variable}_ENABLED=false)"
    if settings.fallback_for(use.integration) == "fail":
        return use.subject.skipped(off, f"{use.what} tickets fail (integration_disabled), as {use.fallback} is fail.")
    return use.subject.warning(
        f"{off}, and its fallback is simulate",
        why=f"Every {use.what} ticket is COMPLETED with a simulated result: nothing is really done.",
        advice=f"Set {use.variable}_ENABLED=true, or {use.fallback}=fail so that such tickets fail.",
    )


def _service(use: Use, settings: Settings) -> Service:
    return Service(
        name=use.name,
        variable=use.variable,
        url=getattr(settings, f"{use.integration}_url"),
        token=getattr(settings, f"{use.integration}_token"),
        loss=use.loss(settings.fallback_for(use.integration)),
    )


# --- Code Forge ------------------------------------------------------------------------------------------------------


async def _code_forge(service: Service, probe: Probe) -> Iterable[Finding]:
    """Health, and a pipeline that does not exist: who is let in is told so (404)."""
    health = await probe.get("/health")
    if not isinstance(health, Answer):
        return [silent(service, health)]
    if not health.is_success and not is_refused(health):
        return [unwell(service, "/health", health) if health.status >= 500 else unlike(service, "/health", health)]
    pipeline = await probe.get(_NO_PIPELINE)
    return [_let_in(service, _NO_PIPELINE, pipeline, expected=404)]


def _let_in(service: Service, path: str, answer: Reply, *, expected: int) -> Finding:
    if not isinstance(answer, Answer):
        return silent(service, answer)
    if is_refused(answer):
        return refused(service, answer)
    if answer.status >= 500:
        return unwell(service, path, answer)
    if answer.status not in (200, expected) or json_object(answer) is None:
        return unlike(service, path, answer)
    return service.subject.ok(f"{service.name} answers at {service.url}{_as_whom(service)}")


def _as_whom(service: Service, user: str = "") -> str:
    if not service.token:
        return ", without a token"
    return f", and takes {service.token_setting}" + (f" (as {user})" if user else "")


# --- OPA -------------------------------------------------------------------------------------------------------------


async def _opa(service: Service, probe: Probe) -> Iterable[Finding]:
    """Health, and a policy that does not exist: who is let in gets an answer without result."""
    health = await probe.get("/health")
    if not isinstance(health, Answer):
        return [silent(service, health)]
    if health.status >= 500:
        return [unwell(service, "/health", health)]
    decision = _let_in(service, _NO_POLICY, await probe.post(_NO_POLICY, {"input": {}}), expected=200)
    bundles = await probe.get("/health?bundles")
    return [decision, *_bundles(service, bundles)]


def _bundles(service: Service, answer: Reply) -> Iterator[Finding]:
    if isinstance(answer, Answer) and answer.status >= 500:
        yield service.subject.warning(
            "OPA has not activated all of its bundles",
            why="Policies that are not there yet are undefined: their tickets fail (policy_undefined).",
            advice="See OPA's log and its bundle service.",
        )


# --- Argo CD ---------------------------------------------------------------------------------------------------------


async def _argocd(service: Service, probe: Probe) -> Iterable[Finding]:
    """Version, which everybody is told, and who we are."""
    version = await probe.get("/api/version")
    if not isinstance(version, Answer):
        return [silent(service, version)]
    if version.status >= 500:
        return [unwell(service, "/api/version", version)]
    known = json_object(version)
    if not version.is_success or known is None or "Version" not in known:
        return [unlike(service, "/api/version", version)]
    user = await probe.get("/api/v1/session/userinfo")
    return [_user(service, user)]


def _user(service: Service, answer: Reply) -> Finding:
    found = _let_in(service, "/api/v1/session/userinfo", answer, expected=200)
    known = json_object(answer) if isinstance(answer, Answer) and answer.is_success else None
    if known is None:
        return found
    if known.get("loggedIn") is not True:
        # Argo CD tells strangers who they are, too.
        return refused(service, Answer(401, b""))
    return service.subject.ok(f"Argo CD answers at {service.url}{_as_whom(service, str(known.get('username')))}")
