"""Settings that are right one by one and wrong together, and those that are allowed but look like mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from pydantic import SecretStr

from worker_agents.settings.model import FIELDS, Reference, Settings, is_secret, variable_of
from worker_agents.settings.values import VAULT_PREFIX

_SHORT_TOKEN = 16
# Of 16 random hexadecimal digits, fewer than 6 different ones come once in a million times.
_FEW_CHARACTERS = 6
_COMMON_WORDS = re.compile(
    r"(?:admin|administrator|agents?|api|change|default|demo|dev|example|here|key|letmein|me|my|pass|passwort|password"
    r"|placeholder|please|prod|production|qwerty|replace|root|secret|super|test|token|top|welcome|word|worker|your)+"
)
_SEQUENCES = ("0123456789" * 4 + "abcdef", "abcdefghijklmnopqrstuvwxyz" * 2, "qwertyuiopasdfghjklzxcvbnm")


@dataclass(frozen=True, slots=True)
class Contradiction:
    """``names`` are the fields that it stands on; the first is the one to look at."""

    names: tuple[str, ...]
    problem: str

    def __str__(self) -> str:
        return f"{variable_of(self.names[0])}: {self.problem}"


def contradictions(settings: Settings) -> Iterator[Contradiction]:
    yield from _topics(settings)
    yield from _sasl(settings)
    yield from _tls(settings)
    yield from _times(settings)
    yield from _enabled(settings)
    yield from _tracing(settings)
    yield from _vault_references(settings)


def oddities(settings: Settings) -> Iterator[str]:
    """Warnings: sentences that start with the variable's name."""
    if settings.argocd_enabled and not settings.argocd_token:
        yield "ARGOCD_TOKEN: is unset although ARGOCD_ENABLED is true; Argo CD normally refuses calls without one"
    if weakness := weakness_of_token(settings.admin_token):
        yield f"ADMIN_TOKEN: {weakness}, so it can be guessed"
    grace = settings.termination_grace_period_seconds
    if grace is not None and grace < settings.drain_timeout_seconds + settings.stop_seconds:
        yield (
            f"DRAIN_TIMEOUT_SECONDS: is {settings.drain_timeout_seconds:g}, and a stop takes up to "
            f"{settings.stop_seconds:g} s more, but the pod is killed after {grace:g} s (TERMINATION_GRACE_PERIOD_SECONDS)"
        )
    for name in ("kafka_ssl_ca_location", "kafka_ssl_certificate_location"):
        if getattr(settings, name) and not settings.uses_tls:
            yield f"{variable_of(name)}: has no effect with KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol}"
    for task_type in settings.concurrency_limits():
        if getattr(settings, f"max_concurrent_{task_type.lower()}") > settings.max_concurrent_tasks:
            yield f"MAX_CONCURRENT_{task_type}: is more than MAX_CONCURRENT_TASKS, which limits all types together"


def weakness_of_token(token: SecretStr) -> str:
    """Why a token could be guessed, as the rest of a sentence; empty for one that is strong, unset or a reference."""
    text = token.get_secret_value()
    if not text or Reference.read(token) is not None:
        return ""
    if len(text) < _SHORT_TOKEN:
        return f"is shorter than {_SHORT_TOKEN} characters"
    if len(set(text.lower())) < _FEW_CHARACTERS:
        return "is made of few different characters"
    if any(text.lower() in sequence for sequence in _SEQUENCES):
        return "is a sequence"
    if _COMMON_WORDS.fullmatch(re.sub(r"[^a-z]", "", text.lower())):
        return "is made of common words"
    return ""


def _topics(settings: Settings) -> Iterator[Contradiction]:
    names = ("kafka_tickets_topic", "kafka_results_topic", "kafka_dlq_topic", "kafka_state_topic")
    for first, second in combinations(names, 2):
        topic = getattr(settings, second)
        if getattr(settings, first) == topic:
            yield Contradiction((second, first), f"is {topic} like {variable_of(first)}; each topic needs its own name")


def _sasl(settings: Settings) -> Iterator[Contradiction]:
    protocol = settings.kafka_security_protocol
    if settings.uses_sasl and settings.kafka_sasl_mechanism is None:
        yield Contradiction(
            ("kafka_sasl_mechanism", "kafka_security_protocol"), f"is needed with KAFKA_SECURITY_PROTOCOL={protocol}"
        )
    if settings.kafka_sasl_mechanism is None:
        return
    for name in ("kafka_sasl_username", "kafka_sasl_password"):
        if not getattr(settings, name):
            yield Contradiction((name, "kafka_sasl_mechanism"), "is needed with KAFKA_SASL_MECHANISM")
    if not settings.uses_sasl:
        yield Contradiction(
            ("kafka_security_protocol", "kafka_sasl_mechanism"),
            f"is {protocol}, which has no login, but KAFKA_SASL_MECHANISM is set; use SASL_SSL or SASL_PLAINTEXT",
        )


def _tls(settings: Settings) -> Iterator[Contradiction]:
    kafka = ("kafka_ssl_certificate_location", "kafka_ssl_key_location")
    collector = ("otel_exporter_otlp_client_certificate", "otel_exporter_otlp_client_key")
    for name, other in (kafka, kafka[::-1], collector, collector[::-1]):
        if getattr(settings, other) and not getattr(settings, name):
            yield Contradiction((name, other), f"is needed with {variable_of(other)}")


def _times(settings: Settings) -> Iterator[Contradiction]:
    if settings.retry_backoff_base_seconds > settings.retry_backoff_max_seconds:
        yield Contradiction(
            ("retry_backoff_base_seconds", "retry_backoff_max_seconds"),
            f"is {settings.retry_backoff_base_seconds:g}, more than RETRY_BACKOFF_MAX_SECONDS "
            f"({settings.retry_backoff_max_seconds:g})",
        )
    if settings.kill_grace_seconds > settings.kafka_session_timeout_seconds / 3:
        yield Contradiction(
            ("kill_grace_seconds", "kafka_session_timeout_seconds"),
            f"is {settings.kill_grace_seconds:g}, more than a third of KAFKA_SESSION_TIMEOUT_SECONDS "
            f"({settings.kafka_session_timeout_seconds:g}): the lease would end before it can be renewed",
        )


def _tracing(settings: Settings) -> Iterator[Contradiction]:
    if settings.otel_bsp_max_export_batch_size > settings.otel_bsp_max_queue_size:
        yield Contradiction(
            ("otel_bsp_max_export_batch_size", "otel_bsp_max_queue_size"),
            f"is {settings.otel_bsp_max_export_batch_size}, more than OTEL_BSP_MAX_QUEUE_SIZE "
            f"({settings.otel_bsp_max_queue_size})",
        )


def _enabled(settings: Settings) -> Iterator[Contradiction]:
    if settings.argocd_enabled and not settings.argocd_url:
        yield Contradiction(("argocd_url", "argocd_enabled"), "is needed with ARGOCD_ENABLED=true")
    if settings.pod_deletion_cost_enabled:
        yield from _missing_of_pod(settings)
    if settings.vault_enabled and not settings.vault_address:
        yield Contradiction(("vault_address", "vault_enabled"), "is needed with VAULT_ENABLED=true")


def _missing_of_pod(settings: Settings) -> Iterator[Contradiction]:
    enabled = "POD_DELETION_COST_ENABLED=true"
    for name, field in (("pod_name", "metadata.name"), ("pod_namespace", "metadata.namespace")):
        if not getattr(settings, name):
            yield Contradiction((name, "pod_deletion_cost_enabled"), f"is needed with {enabled} (fieldRef: {field})")


def _vault_references(settings: Settings) -> Iterator[Contradiction]:
    """A secret may be ``vault:path#key``, except for Vault's own."""
    for name in (name for name, field in FIELDS.items() if is_secret(field)):
        secret: str = getattr(settings, name).get_secret_value()
        if not secret.startswith(VAULT_PREFIX):
            continue
        if name == "vault_token":
            yield Contradiction((name,), "cannot itself come from Vault")
        elif Reference.read(getattr(settings, name)) is None:
            yield Contradiction((name,), "must name a secret of Vault as vault:path#key")
        elif not settings.vault_enabled:
            yield Contradiction((name, "vault_enabled"), "names a secret of Vault, but VAULT_ENABLED is false")
