"""What cannot be built is refused before anything is started."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker_agents.main import build, kafka_config
from worker_agents.model.errors import SettingsInvalid
from worker_agents.settings import load_settings


def test_a_task_type_without_an_executor_is_refused() -> None:
    settings = load_settings({"SUPPORTED_TASK_TYPES": "EXECUTE,BREW", "CODE_FORGE_ENABLED": "false"})
    with pytest.raises(SettingsInvalid, match="SUPPORTED_TASK_TYPES: no executor for BREW"):
        build(settings)


def test_a_secret_that_nobody_would_resolve_is_refused() -> None:
    environ = {"VAULT_ENABLED": "true", "VAULT_ADDRESS": "http://vault:8200", "CODE_FORGE_TOKEN": "vault:forge#token"}
    with pytest.raises(SettingsInvalid, match="CODE_FORGE_TOKEN: vault:forge#token was not resolved"):
        build(load_settings(environ))


def test_the_ledger_and_the_programs_go_by_the_same_lease() -> None:
    settings = load_settings({"KAFKA_SESSION_TIMEOUT_SECONDS": "30", "KILL_GRACE_SECONDS": "2"})
    assert kafka_config(settings).lease_limit == settings.lease_seconds == 28


def loaded_by_a_worker(**environ: str) -> set[str]:
    """The packages that a process has loaded once it has built its worker."""
    code = (
        "import sys; from worker_agents.main import build; from worker_agents.settings import load_settings;"
        f"build(load_settings({environ!r})); print(*{{name.partition('.')[0] for name in sys.modules}})"
    )
    finished = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, timeout=60)
    return set(finished.stdout.decode().split())


def test_without_a_collector_nothing_of_tracing_is_even_loaded() -> None:
    assert loaded_by_a_worker().isdisjoint({"opentelemetry", "grpc"})
    assert loaded_by_a_worker(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") >= {"opentelemetry", "grpc"}
