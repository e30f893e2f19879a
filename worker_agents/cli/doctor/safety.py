"""Judges the settings alone: what contradicts itself, and what is fit for a trial but not for production."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from worker_agents.cli.doctor.findings import Finding, Subject, ok_unless
from worker_agents.cli.doctor.integrations import ARGOCD, CODE_FORGE, OPA, TRIVY
from worker_agents.settings import Settings
from worker_agents.settings.contradictions import weakness_of_token

_DOUBTS = Subject("settings.doubtful")
_FALLBACKS = Subject("settings.fallbacks")
_ADMIN = Subject("settings.admin_token")
_TRANSPORT = Subject("settings.transport")
_TOPICS = Subject("settings.topics")
_WORKER_ID = Subject("settings.worker_id")
_DRAIN = Subject("lifecycle.drain")

# Judged below with more to say.
_TOLD_ELSEWHERE = ("ADMIN_TOKEN:", "DRAIN_TIMEOUT_SECONDS:")
_WITH_TOKEN = ("code_forge", "opa", "argocd", "trivy_server")


def judge_settings(settings: Settings) -> list[Finding]:
    return [
        *ok_unless(_doubts(settings), _DOUBTS.ok("no setting is unknown or contradicts another")),
        *ok_unless(_fallbacks(settings), _FALLBACKS.ok("no outage is answered with a simulated result")),
        *ok_unless(_admin_token(settings), _ADMIN.ok("ADMIN_TOKEN is set")),
        *ok_unless(_transport(settings), _TRANSPORT.ok("no secret travels unencrypted")),
        *ok_unless(_topics(settings), _TOPICS.ok("workers create no topics")),
        *ok_unless(_worker_id(settings), _WORKER_ID.ok("every worker has a name of its own")),
    ]


def judge_drain(settings: Settings) -> list[Finding]:
    """Whether Kubernetes waits long enough for a worker that stops."""
    grace, drain = settings.termination_grace_period_seconds, settings.drain_timeout_seconds
    needed = drain + settings.stop_seconds
    if grace is None:
        return [
            _DRAIN.skipped(
                "how long Kubernetes waits for a stop is not known",
                why=f"It should be at least {needed:g} s: DRAIN_TIMEOUT_SECONDS and what a stop takes after it.",
                advice="The chart sets TERMINATION_GRACE_PERIOD_SECONDS; elsewhere set it to the pod's value.",
            )
        ]
    if grace >= needed:
        return [_DRAIN.ok(f"a stop takes up to {needed:g} s, and the pod is given {grace:g} s")]
    find = _DRAIN.error if grace <= drain else _DRAIN.warning
    return [
        find(
            f"a stop takes up to {needed:g} s, and the pod is killed after {grace:g} s",
            why="Tickets are cut off in the middle and wait for a session time-out before another worker has them.",
            advice=f"Raise terminationGracePeriodSeconds to {needed:g} or more, or lower DRAIN_TIMEOUT_SECONDS.",
        )
    ]


def _doubts(settings: Settings) -> Iterator[Finding]:
    for warning in settings.warnings:
        if not warning.startswith(_TOLD_ELSEWHERE):
            yield _DOUBTS.warning(
                warning,
                why="It is allowed, but it looks like a mistake.",
                advice="Correct it, or leave it if it is meant so.",
            )


def _fallbacks(settings: Settings) -> Iterator[Finding]:
    simulating = [
        use
        for use in (CODE_FORGE, OPA, TRIVY, ARGOCD)
        if use.is_needed(settings) and settings.fallback_for(use.integration) == "simulate"
    ]
    if simulating:
        variables = ", ".join(use.fallback for use in simulating)
        tickets = ", ".join(use.what for use in simulating)
        yield _FALLBACKS.warning(
            f"outages are answered with simulated results: {variables}",
            why=f"While the system is away, {tickets} tickets are COMPLETED although nothing was done; only simulated=true "
            "tells.",
            advice="Set FALLBACK_MODE=fail in production.",
        )
    if settings.test_fallback == "simulate":
        yield _FALLBACKS.warning(
            "TEST_FALLBACK is simulate",
            why="A TEST ticket whose program is missing passes without a test.",
            advice="Set TEST_FALLBACK=fail.",
        )


def _admin_token(settings: Settings) -> Iterator[Finding]:
    if not settings.admin_token:
        yield _ADMIN.warning(
            "ADMIN_TOKEN is unset",
            why="Tickets cannot be cancelled or retried, types not paused, and workers not drained over HTTP.",
            advice="Set ADMIN_TOKEN_FILE to a file with 32 random characters: openssl rand -hex 16",
        )
    elif weakness := weakness_of_token(settings.admin_token):
        yield _ADMIN.error(
            f"ADMIN_TOKEN {weakness}, so it can be guessed",
            why="Whoever reaches the HTTP port may then cancel, retry and dead-letter tickets.",
            advice="Use 32 random characters: openssl rand -hex 16",
        )


def _transport(settings: Settings) -> Iterator[Finding]:
    for name in _WITH_TOKEN:
        yield from _plain_http(
            name.upper(), getattr(settings, f"{name}_url"), has_token=bool(getattr(settings, f"{name}_token"))
        )
    if settings.vault_enabled:
        yield from _plain_http("VAULT", settings.vault_address, has_token=True)
    if not settings.uses_tls and not _is_here(*settings.kafka_bootstrap_servers):
        carried = "tickets, results and the login" if settings.uses_sasl else "tickets and results"
        yield _TRANSPORT.warning(
            f"KAFKA_SECURITY_PROTOCOL is {settings.kafka_security_protocol}",
            why=f"Whoever is on the network's way reads and changes {carried}.",
            advice="Use SASL_SSL, or SSL with a client certificate.",
        )


def _plain_http(variable: str, url: str, *, has_token: bool) -> Iterator[Finding]:
    if has_token and url.startswith("http://") and not _is_here(urlsplit(url).netloc):
        address = "VAULT_ADDRESS" if variable == "VAULT" else f"{variable}_URL"
        yield _TRANSPORT.warning(
            f"{address} is http, and a token is sent there",
            why="Whoever is on the network's way can read the token and use it.",
            advice="Use https, or a service mesh that encrypts.",
        )


def _is_here(*servers: str) -> bool:
    """Whether nothing leaves this machine."""
    return all(_is_loopback(server) for server in servers)


def _is_loopback(server: str) -> bool:
    host = urlsplit(f"//{server}").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _topics(settings: Settings) -> Iterator[Finding]:
    if settings.kafka_create_topics:
        yield _TOPICS.warning(
            "KAFKA_CREATE_TOPICS is true",
            why="A topic that is missing, perhaps by a wrong name, is made anew with the broker's default replication.",
            advice="Create the topics once (worker-agents topics create), then set KAFKA_CREATE_TOPICS=false.",
        )


def _worker_id(settings: Settings) -> Iterator[Finding]:
    is_own = settings.worker_id.startswith(socket.gethostname())
    if "WORKER_ID" in settings.sources and not is_own:
        yield _WORKER_ID.warning(
            f"WORKER_ID is fixed: {settings.worker_id}",
            why="Where several workers get the same environment, results, logs and leases do not tell them apart.",
            advice="Leave it unset, or give it the pod's name (fieldRef: metadata.name).",
        )
