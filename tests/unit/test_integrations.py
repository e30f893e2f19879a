"""Clients from settings: what is switched off, who is guarded, and where tokens come from."""

from pathlib import Path

import pytest

from worker_agents.clients.http_tokens import FileToken, VaultToken
from worker_agents.integrations import Integrations
from worker_agents.model.clock import SystemClock
from worker_agents.settings import Reference, Settings, load_settings


def integrations(**environment: str) -> Integrations:
    return Integrations(load_settings(environment), SystemClock(), lambda _: None)


async def test_what_is_switched_off_has_no_client_and_no_breaker() -> None:
    clients = integrations(CODE_FORGE_ENABLED="false", OPA_ENABLED="false", TRIVY_ENABLED="false")

    assert (clients.code_forge, clients.opa, clients.trivy, clients.argocd, clients.vault) == (None,) * 5
    assert clients.breakers == {}
    await clients.close()


async def test_every_service_has_a_breaker_of_its_own() -> None:
    clients = integrations(ARGOCD_ENABLED="true", ARGOCD_URL="http://argocd")

    assert set(clients.breakers) == {"code_forge", "opa", "argocd"}
    assert len(set(map(id, clients.breakers.values()))) == 3
    await clients.close()


async def test_a_token_from_a_file_is_read_again_when_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    clients = integrations(OPA_TOKEN_FILE=str(file))
    source = clients._token("opa_token")
    assert isinstance(source, FileToken)
    assert await source.current() == "first"

    file.write_text("the second\n")

    assert await source.current() == "the second"
    await clients.close()


async def test_a_token_from_vault_stays_with_vault() -> None:
    settings = load_settings(
        {"VAULT_ENABLED": "true", "VAULT_ADDRESS": "http://vault", "VAULT_TOKEN": "root"}
    ).model_copy(update={"secret_origins": {"argocd_token": Reference("delivery/argocd", "token")}})
    clients = Integrations(settings, SystemClock(), lambda _: None)

    assert isinstance(clients._token("argocd_token"), VaultToken)
    await clients.close()


async def test_a_plain_token_is_what_it_is() -> None:
    settings: Settings = load_settings({"CODE_FORGE_TOKEN": "s3cret"})
    clients = Integrations(settings, SystemClock(), lambda _: None)

    assert clients._token("code_forge_token") == settings.code_forge_token
    assert clients._token("opa_token") is None
    await clients.close()


@pytest.mark.parametrize("name", ["scratch", "workspaces", "commands"])
async def test_what_programs_need_is_made_once(name: str, tmp_path: Path) -> None:
    clients = integrations(SCRATCH_DIRECTORY=str(tmp_path / "scratch"), TEST_WORKSPACE_ROOT=str(tmp_path / "root"))

    assert getattr(clients, name) is getattr(clients, name)
    await clients.close()
