"""What doctor says of the systems that executors work through: real OPA and Trivy, the reference servers for the others."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path

import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.support.opa_server import running_opa
from tests.support.pod_patches import ApiServer, api_server
from tests.support.tools import TOOLS, tool
from worker_agents.cli.doctor import examine
from worker_agents.cli.doctor.findings import Finding
from worker_agents.devkit.argocd import ArgoCdServer
from worker_agents.devkit.argocd import Fault as ArgoCdFault
from worker_agents.devkit.argocd import Operation as ArgoCdOperation
from worker_agents.devkit.code_forge import Behaviour, CodeForgeServer, Fault, Operation
from worker_agents.devkit.loopback import LoopbackServer
from worker_agents.devkit.ports import free_ports
from worker_agents.devkit.vault import Policy, VaultServer
from worker_agents.settings import load_settings

TOKEN, WRONG = "t0k3n-t0k3n-t0k3n", "wr0ng-wr0ng-wr0ng"
GUARD = """
package system.authz

default allow := false

allow if {
    input.identity == opa.runtime().env.OPA_TOKEN
    input.method == "POST"
    array.slice(input.path, 0, 2) == ["v1", "data"]
}

allow if input.path == ["health"]
"""
ONLY = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "CODE_FORGE_ENABLED": "false",
    "OPA_ENABLED": "false",
    "TRIVY_ENABLED": "false",
}


async def found(check: str, seconds: float = 10.0, **environ: str) -> Finding:
    """The only thing that doctor says of ``check``, with nothing switched on but what ``environ`` does."""
    findings = (await examine(load_settings({**ONLY, **environ}), seconds)).findings
    assert not [each for each in findings if TOKEN in f"{each}" or WRONG in f"{each}"]
    (finding,) = [each for each in findings if each.check == check]
    return finding


def code_forge(server: LoopbackServer, **more: str) -> dict[str, str]:
    return {"CODE_FORGE_ENABLED": "true", "CODE_FORGE_URL": server.url, **more}


def argocd_settings(server: LoopbackServer, **more: str) -> dict[str, str]:
    return {"ARGOCD_ENABLED": "true", "ARGOCD_URL": server.url, **more}


# --- Code Forge ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def forge() -> AsyncIterator[CodeForgeServer]:
    async with CodeForgeServer() as server:
        yield server


async def test_a_code_forge_that_lets_us_in_and_in_which_nothing_is_begun(forge: CodeForgeServer) -> None:
    forge.change(token=TOKEN)
    finding = await found("integrations.code_forge", **code_forge(forge, CODE_FORGE_TOKEN=TOKEN))

    assert (finding.level, finding.what) == ("ok", f"Code Forge answers at {forge.url}, and takes CODE_FORGE_TOKEN")
    assert forge.log.works_created == 0
    assert {call.method for call in forge.log} == {"GET"}


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ({"CODE_FORGE_TOKEN": WRONG}, "Code Forge refuses CODE_FORGE_TOKEN (HTTP 401)"),
        ({}, "Code Forge wants a token, and CODE_FORGE_TOKEN is unset"),
    ],
)
async def test_a_token_that_is_refused_names_its_setting(
    forge: CodeForgeServer, token: dict[str, str], words: str
) -> None:
    forge.change(token=TOKEN)
    finding = await found("integrations.code_forge", **code_forge(forge, **token))

    assert finding.level == "error"
    assert words in finding.what
    assert "CODE_FORGE_TOKEN" in finding.advice


async def test_a_service_that_is_away(forge: CodeForgeServer) -> None:
    await forge.stop()
    finding = await found("integrations.code_forge", **code_forge(forge, CODE_FORGE_FALLBACK="fail"))

    assert finding.level == "error"
    assert f"Code Forge is not reachable at {forge.url}: no connection" in finding.what
    assert finding.why == "EXECUTE and BUILD tickets wait for it and fail in the end."
    assert "CODE_FORGE_URL" in finding.advice


async def test_a_service_that_is_not_well(forge: CodeForgeServer) -> None:
    forge.behaviour = Behaviour(down=True)
    finding = await found("integrations.code_forge", **code_forge(forge))

    assert (finding.level, finding.what) == ("error", "Code Forge is not well: HTTP 503 to /health")
    assert "simulated" in finding.why


async def test_a_service_that_hangs(forge: CodeForgeServer) -> None:
    forge.change(faults=(Fault.hangs(on=frozenset(Operation), times=None),))
    finding = await found("integrations.code_forge", seconds=1.0, **code_forge(forge))

    assert finding.level == "error"
    assert "no answer in time" in finding.what


async def test_somebody_else_at_the_address() -> None:
    async def welcome(_: Request) -> Response:
        return PlainTextResponse("Welcome")

    async with LoopbackServer(Starlette(routes=[Route("/{path:path}", welcome)])) as stranger:
        finding = await found("integrations.code_forge", **code_forge(stranger))
        assert finding.level == "error"
        assert f"what answers at {stranger.url} is not Code Forge" in finding.what


async def test_a_certificate_that_is_not_trusted() -> None:
    async with tls_server(trustme.CA()) as port:
        finding = await found(
            "integrations.code_forge", CODE_FORGE_ENABLED="true", CODE_FORGE_URL=f"https://127.0.0.1:{port}"
        )

    assert finding.level == "error"
    assert "TLS failure" in finding.what
    assert "SSL_CERT_FILE" in finding.advice


@asynccontextmanager
async def tls_server(authority: trustme.CA) -> AsyncIterator[int]:
    """Greets whoever accepts its certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


# --- Kubernetes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(tmp_path) as server:
        yield server


async def test_a_pod_that_may_be_told_how_busy_it_is_and_is_not_told(kubernetes: ApiServer) -> None:
    finding = await found("integrations.kubernetes", **kubernetes.environment)

    assert (finding.level, finding.what) == ("ok", "pod flow/worker-0 may be told how busy it is")
    (asked,) = kubernetes.patches
    assert asked.path.endswith("/pods/worker-0?fieldManager=worker-agents&dryRun=All")


async def test_a_pod_that_lacks_the_right_names_the_role(kubernetes: ApiServer) -> None:
    kubernetes.status = HTTPStatus.FORBIDDEN
    finding = await found("integrations.kubernetes", **kubernetes.environment)

    assert finding.level == "warning"
    assert "cannot be told how busy it is: kubernetes patch_pod: HTTP 403: pods is forbidden" in finding.what
    assert "grant the verb patch on pods of namespace flow" in finding.advice


async def test_a_pod_without_its_service_account_could_not_start(kubernetes: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").unlink()
    finding = await found("integrations.kubernetes", **kubernetes.environment)

    assert finding.level == "error"
    assert "automountServiceAccountToken" in finding.what


async def test_without_busy_pods_last_the_api_server_is_not_asked(kubernetes: ApiServer) -> None:
    environment = kubernetes.environment | {"POD_DELETION_COST_ENABLED": "false"}
    findings = (await examine(load_settings({**ONLY, **environment}), 10.0)).findings

    assert [each for each in findings if each.check == "integrations.kubernetes"] == []
    assert kubernetes.patches == []


# --- OPA -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """As EXTERNAL_TOOLS_SETUP.md says."""
    folder = tmp_path_factory.mktemp("opa")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPA_TOKEN", TOKEN)
        options = ["--authentication=token", "--authorization=basic"]
        with running_opa(folder, {"authz.rego": GUARD}, options) as url:
            yield url


async def test_an_opa_that_takes_our_token_and_tells_the_time(guarded: str) -> None:
    settings = {"OPA_ENABLED": "true", "OPA_URL": guarded, "OPA_TOKEN": TOKEN}

    assert (await found("integrations.opa", **settings)).what == f"OPA answers at {guarded}, and takes OPA_TOKEN"
    clock = await found("clock.skew", **settings)
    assert (clock.level, clock.what.endswith("of OPA")) == ("ok", True)


async def test_an_opa_that_refuses_our_token(guarded: str) -> None:
    finding = await found("integrations.opa", OPA_ENABLED="true", OPA_URL=guarded, OPA_TOKEN=WRONG)

    assert (finding.level, finding.what) == ("error", "OPA refuses OPA_TOKEN (HTTP 401)")


async def test_an_opa_without_its_bundles(tmp_path: Path) -> None:
    nobody = free_ports(1)[0]
    configuration = f"services: {{away: {{url: 'http://127.0.0.1:{nobody}'}}}}\nbundles: {{rules: {{service: away}}}}\n"
    (tmp_path / "config.yaml").write_text(configuration)
    with running_opa(tmp_path, {}, ["--config-file=config.yaml"]) as url:
        findings = (await examine(load_settings({**ONLY, "OPA_ENABLED": "true", "OPA_URL": url}), 10)).findings

    told = [finding for finding in findings if finding.check == "integrations.opa"]
    assert [finding.level for finding in told] == ["ok", "warning"]
    assert "not activated all of its bundles" in told[1].what


# --- Argo CD ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def argocd() -> AsyncIterator[ArgoCdServer]:
    async with ArgoCdServer() as server:
        server.change(token=TOKEN)
        yield server


async def test_an_argo_cd_that_knows_us(argocd: ArgoCdServer) -> None:
    finding = await found("integrations.argocd", **argocd_settings(argocd, ARGOCD_TOKEN=TOKEN))

    assert finding.level == "ok"
    assert finding.what.endswith("takes ARGOCD_TOKEN (as worker-agents)")
    assert {call.operation for call in argocd.log} == {ArgoCdOperation.VERSION, ArgoCdOperation.USERINFO}


async def test_an_argo_cd_that_refuses_our_token(argocd: ArgoCdServer) -> None:
    finding = await found("integrations.argocd", **argocd_settings(argocd, ARGOCD_TOKEN=WRONG))

    assert (finding.level, finding.what) == ("error", "Argo CD refuses ARGOCD_TOKEN (HTTP 401)")


async def test_an_argo_cd_that_tells_strangers_that_they_are_strangers(argocd: ArgoCdServer) -> None:
    stranger = ArgoCdFault.nonsense(ArgoCdOperation.USERINFO, body='{"loggedIn": false}', times=None)
    argocd.change(faults=(stranger,))
    finding = await found("integrations.argocd", **argocd_settings(argocd, ARGOCD_TOKEN=TOKEN))

    assert (finding.level, "refuses ARGOCD_TOKEN" in finding.what) == ("error", True)


async def test_a_page_in_front_of_argo_cd(argocd: ArgoCdServer) -> None:
    argocd.change(faults=(ArgoCdFault.nonsense(ArgoCdOperation.VERSION, times=None),))
    finding = await found("integrations.argocd", **argocd_settings(argocd, ARGOCD_TOKEN=TOKEN))

    assert (finding.level, "is not Argo CD: HTTP 200 to /api/version" in finding.what) == ("error", True)


# --- Trivy -----------------------------------------------------------------------------------------------------------


async def test_trivy_and_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool("trivy")
    monkeypatch.setenv("PATH", str(TOOLS))
    cache = tmp_path / "cache"
    settings = {"TRIVY_ENABLED": "true", "TRIVY_CACHE_DIR": str(cache), "TRIVY_SKIP_DB_UPDATE": "true"}

    assert (await found("integrations.trivy", **settings)).what.startswith("trivy 0.")
    assert (await found("integrations.trivy_database", **settings)).level == "error"
    assert not cache.exists()

    (cache / "db").mkdir(parents=True)
    times = '"NextUpdate": "2026-01-02T06:00:00Z", "UpdatedAt": "2026-01-01T06:00:00.123456789Z", "DownloadedAt": "2026-01-01T07:00:00Z"'
    (cache / "db" / "metadata.json").write_text(f'{{"Version": 2, {times}}}')
    finding = await found("integrations.trivy_database", **settings)
    assert (finding.level, "days old" in finding.what) == ("warning", True)


async def test_a_worker_without_trivy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = await found("integrations.trivy", TRIVY_ENABLED="true")
    assert (finding.level, finding.what) == ("error", "trivy is not found on PATH")

    (tmp_path / "trivy").write_text(f"#!/bin/sh\necho 'no good: {TOKEN}' >&2\nexit 126\n")
    (tmp_path / "trivy").chmod(0o755)
    finding = await found("integrations.trivy", TRIVY_ENABLED="true", OPA_TOKEN=TOKEN)
    assert finding.level == "error"
    assert finding.what == "trivy does not tell its version: exit code 126: no good: ********"


async def test_the_trivy_server() -> None:
    async def healthy(_: Request) -> Response:
        return PlainTextResponse("ok")

    async with LoopbackServer(Starlette(routes=[Route("/healthz", healthy)])) as server:
        settings = {"TRIVY_ENABLED": "true", "TRIVY_SERVER_URL": server.url}
        assert (await found("integrations.trivy_server", **settings)).level == "ok"
        await server.stop()
        finding = await found("integrations.trivy_server", **settings)
    assert (finding.level, "TRIVY_SERVER_URL" in finding.advice) == ("error", True)


# --- git and the collector -------------------------------------------------------------------------------------------


async def test_git_is_looked_at_where_something_may_be_checked_out() -> None:
    assert (await found("programs.git", ALLOWED_GIT_URLS="https://git.example/")).what == f"git {version_of_git()}"
    assert (await found("programs.git")).level == "skipped"


def version_of_git() -> str:
    return subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]


async def test_the_collector_of_traces() -> None:
    async with CodeForgeServer() as anybody:
        assert (await found("telemetry.collector", OTEL_EXPORTER_OTLP_ENDPOINT=anybody.url)).level == "ok"
        await anybody.stop()
        finding = await found("telemetry.collector", OTEL_EXPORTER_OTLP_ENDPOINT=anybody.url)
    assert (finding.level, "no collector is reachable" in finding.what) == ("warning", True)
    assert (await found("telemetry.collector")).level == "skipped"


# --- Vault -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def vault() -> AsyncIterator[VaultServer]:
    async with VaultServer() as server:
        server.policies["worker-agents"] = Policy({"secret/data/worker/*": ["read"]})
        server.kv("secret").write("worker/forge", {"token": TOKEN})
        yield server


def vault_settings(vault: VaultServer, **more: str) -> dict[str, str]:
    token = vault.tokens.create(["worker-agents"]).id
    return {"VAULT_ENABLED": "true", "VAULT_ADDRESS": vault.url, "VAULT_TOKEN": token, **more}


async def test_a_token_in_vault_is_what_the_service_is_asked_with(vault: VaultServer, forge: CodeForgeServer) -> None:
    forge.change(token=TOKEN)
    settings = vault_settings(vault, **code_forge(forge, CODE_FORGE_TOKEN="vault:worker/forge#token"))

    assert (await found("vault.login", **settings)).level == "ok"
    assert (await found("vault.secrets", **settings)).what == "CODE_FORGE_TOKEN can be read at vault:worker/forge#token"
    assert (await found("integrations.code_forge", **settings)).level == "ok"


async def test_a_secret_that_cannot_be_read_and_who_needs_it(vault: VaultServer, forge: CodeForgeServer) -> None:
    references = {
        "CODE_FORGE_TOKEN": "vault:worker/nothing#token",
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "worker",
        "KAFKA_SASL_PASSWORD": "vault:elsewhere/kafka#password",
        "ADMIN_TOKEN": "vault:worker/forge#token",
    }
    settings = load_settings({**ONLY, **vault_settings(vault, **code_forge(forge, **references))})
    diagnosis = await examine(settings, 10)

    secrets = {each.what.split()[0]: each for each in diagnosis.findings if each.check == "vault.secrets"}
    assert {name: each.level for name, each in secrets.items()} == {
        "CODE_FORGE_TOKEN": "error",
        "KAFKA_SASL_PASSWORD": "error",
        "ADMIN_TOKEN": "ok",
    }
    assert "there is no such secret" in secrets["CODE_FORGE_TOKEN"].what
    assert "its policies must allow to read secret/data/elsewhere/kafka" in secrets["KAFKA_SASL_PASSWORD"].what
    by_check = {each.check: each for each in diagnosis.findings}
    assert "CODE_FORGE_TOKEN lies in Vault and could not be read" in by_check["integrations.code_forge"].what
    assert "KAFKA_SASL_PASSWORD lies in Vault and could not be read" in by_check["kafka.connection"].what
    assert diagnosis.exit_code(strict=False) == 1
    assert len(forge.log) == 0


async def test_a_vault_that_does_not_let_us_in(vault: VaultServer) -> None:
    finding = await found("vault.login", **vault_settings(vault, VAULT_TOKEN=WRONG))

    assert finding.level == "error"
    assert "Vault does not let us in: VAULT_TOKEN: " in finding.what


async def test_a_vault_that_is_sealed(vault: VaultServer) -> None:
    vault.condition = "sealed"
    finding = await found("vault.login", seconds=1.0, **vault_settings(vault))

    assert finding.level == "error"
    assert "it is sealed" in finding.what


async def test_a_weak_token_is_found_in_vault_too(vault: VaultServer) -> None:
    vault.kv("secret").write("worker/admin", {"token": "letmein"})
    finding = await found("settings.admin_token", **vault_settings(vault, ADMIN_TOKEN="vault:worker/admin#token"))

    assert (finding.level, "letmein" in f"{finding}") == ("error", False)


# --- clocks ----------------------------------------------------------------------------------------------------------


async def test_a_service_whose_clock_is_far_ahead() -> None:
    async def forge(_: Request) -> Response:
        date = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
        return JSONResponse({"detail": "Not found"}, headers={"Date": date})

    async with LoopbackServer(Starlette(routes=[Route("/{path:path}", forge)])) as server:
        finding = await found("clock.skew", **code_forge(server))

    assert (finding.level, "behind Code Forge" in finding.what) == ("error", True)
