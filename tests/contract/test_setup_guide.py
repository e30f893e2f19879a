"""EXTERNAL_TOOLS_SETUP.md: Vault's policy and role are enough and no more; certificates and proxies are read as it says."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
import yaml

from tests.support.setup_guide import block, blocks, exports
from worker_agents.clients.http import Call, HttpClient, HttpLimits
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.devkit.vault import Policy, Role, ServiceAccount, VaultServer
from worker_agents.integrations import vault_client
from worker_agents.model.errors import IntegrationUnavailable, SettingsInvalid
from worker_agents.settings import Settings, load_settings, resolve_references


def test_its_yaml_can_be_read() -> None:
    kinds = [type(document) for source in blocks("yaml") for document in yaml.safe_load_all(source)]

    assert len(kinds) >= 3
    assert set(kinds) == {dict}


# --- Vault ---------------------------------------------------------------------------------------------------------

SETUP = block("bash", "Vault", "vault policy write")
RULES = re.findall(r'^path "(.+)" \{ capabilities = \[(.+)\] \}$', SETUP, re.MULTILINE)
ROLE = dict(re.findall(r"(\w+)=(\S+)", SETUP.partition("auth/kubernetes/role/worker-agents")[2].partition("\n\n")[0]))
PUT = dict(re.findall(r"^vault kv put secret/(\S+) (\w+)=…$", SETUP, re.MULTILINE))


@pytest.fixture
async def vault() -> AsyncIterator[VaultServer]:
    """Set up as the guide says, with a secret besides that is none of the workers' business."""
    async with VaultServer() as vault:
        rules = {path: re.findall(r'"(\w+)"', capabilities) for path, capabilities in RULES}
        vault.policies[ROLE["token_policies"]] = Policy(rules)
        vault.kubernetes().roles["worker-agents"] = Role(
            names=[ROLE["bound_service_account_names"]],
            namespaces=[ROLE["bound_service_account_namespaces"]],
            policies=[ROLE["token_policies"]],
        )
        vault.kubernetes().accounts = {
            "the-workers": ServiceAccount("worker-agents", "delivery"),
            "of-another-namespace": ServiceAccount("worker-agents", "default"),
        }
        for path, key in PUT.items():
            vault.kv("secret").write(path, {key: f"secret of {path}"})
        vault.kv("secret").write("others/database", {"password": "secret of others"})
        yield vault


async def resolved(vault: VaultServer, folder: Path, jwt: str, **more: str) -> Settings:
    (folder / "jwt").write_text(jwt)
    shown = exports(block("bash", "Vault", "VAULT_ENABLED=true"), folder, {})
    own = {"VAULT_ADDRESS": vault.url, "VAULT_KUBERNETES_TOKEN_PATH": str(folder / "jwt")}
    settings = load_settings({**shown, **own, **more})
    client = vault_client(settings, lambda _: None)
    try:
        return await resolve_references(settings, client)
    finally:
        await client.aclose()


async def test_the_guides_policy_and_role_let_a_worker_read_its_secrets(vault: VaultServer, tmp_path: Path) -> None:
    settings = await resolved(vault, tmp_path, "the-workers", CODE_FORGE_TOKEN="vault:worker/code-forge#token")

    assert PUT == {"worker/code-forge": "token", "worker/argocd": "token", "worker/kafka": "password"}
    assert settings.argocd_token.get_secret_value() == "secret of worker/argocd"
    assert settings.code_forge_token.get_secret_value() == "secret of worker/code-forge"
    assert settings.kafka_sasl_password.get_secret_value() == "secret of worker/kafka"


async def test_they_let_it_read_nothing_else(vault: VaultServer, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"OPA_TOKEN.*forbidden"):
        await resolved(vault, tmp_path, "the-workers", OPA_TOKEN="vault:others/database#password")


async def test_they_let_nobody_else_in(vault: VaultServer, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"login with the Kubernetes role worker-agents .*forbidden"):
        await resolved(vault, tmp_path, "of-another-namespace")


# --- certificates and proxies ----------------------------------------------------------------------------------------

HEALTH = Call(operation="health", method="GET", path="/health", reads_only=True)
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without what the machine has."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@asynccontextmanager
async def server(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """Says that all is well; its port, and the first lines of what it was asked."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.partition(b"\r\n")[0].decode())
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as listening:
        yield listening.sockets[0].getsockname()[1], asked


async def status_of(url: str) -> int:
    http = HttpClient(url, integration="opa", emit=lambda _: None, clock=VirtualClock(), limits=HttpLimits(read=5.0))
    try:
        return await http.send(HEALTH, lambda answer: answer.status)
    finally:
        await http.aclose()


async def test_a_private_authority_is_trusted_once_it_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))

    async with server(context) as (port, _):
        with pytest.raises(IntegrationUnavailable, match="certificate"):
            await status_of(f"https://127.0.0.1:{port}")
        environment.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        assert await status_of(f"https://127.0.0.1:{port}") == 200


async def test_a_proxy_is_used_but_for_what_is_inside(environment: pytest.MonkeyPatch) -> None:
    async with server() as (port, asked), server() as (proxy, asked_by_proxy):
        environment.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy}")
        assert await status_of("http://opa.policies.svc:8181") == 200
        environment.setenv("NO_PROXY", "127.0.0.1")
        assert await status_of(f"http://127.0.0.1:{port}") == 200

    assert asked_by_proxy == ["GET http://opa.policies.svc:8181/health HTTP/1.1"]
    assert asked == ["GET /health HTTP/1.1"]
