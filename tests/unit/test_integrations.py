"""Clients from settings: what is switched off, who is guarded, and where tokens come from."""

import asyncio
import json
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from worker_agents.clients.http_tokens import FileToken, VaultToken
from worker_agents.clients.trivy import ScanTarget
from worker_agents.integrations import Integrations
from worker_agents.model.clock import SystemClock
from worker_agents.model.errors import SettingsInvalid, WorkerStalled
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


IN_A_POD = {
    "POD_DELETION_COST_ENABLED": "true",
    "POD_NAME": "worker-0",
    "POD_NAMESPACE": "flow",
}


async def test_the_api_server_is_spoken_to_only_where_that_is_asked_for() -> None:
    clients = integrations(**IN_A_POD | {"POD_DELETION_COST_ENABLED": "false"})

    assert clients.kubernetes is None
    await clients.close()


@pytest.mark.parametrize("content", [None, "no certificate\n"])
def test_a_pod_without_its_service_account_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "ca.crt").write_text(content)

    with pytest.raises(SettingsInvalid, match=rf"POD_DELETION_COST_ENABLED: {tmp_path}/ca.crt cannot be read"):
        integrations(**IN_A_POD, SERVICE_ACCOUNT_DIRECTORY=str(tmp_path))


@pytest.mark.parametrize("name", ["scratch", "workspaces", "commands"])
async def test_what_programs_need_is_made_once(name: str, tmp_path: Path) -> None:
    clients = integrations(SCRATCH_DIRECTORY=str(tmp_path / "scratch"), TEST_WORKSPACE_ROOT=str(tmp_path / "root"))

    assert getattr(clients, name) is getattr(clients, name)
    await clients.close()


# --- what runs for a ticket does not outlast the lease ------------------------------------------------------------


class Hanging:
    """Programs that connect to ``listener`` and then wait for ever, in a worker whose lease lasts a second."""

    def __init__(self, directory: Path) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/repository"
        self.suites = directory / "suites"
        (directory / "bin").mkdir()
        self.suites.mkdir()
        script = f"#!/bin/bash\ntrap '' TERM\nexec 3<> /dev/tcp/127.0.0.1/{port}\n/bin/sleep 3600\n"
        for program in (self.suites / "suite.sh", directory / "bin" / "trivy"):
            program.write_text(script)
            program.chmod(0o755)
        settings = load_settings(
            {
                "ALLOWED_GIT_URLS": self.url,
                "ALLOWED_TEST_COMMANDS": json.dumps(["bash suite.sh"]),
                "SCRATCH_DIRECTORY": str(directory / "scratch"),
                "TEST_WORKSPACE_ROOT": str(self.suites),
                "TRIVY_SCANNERS": "secret",
                "TRIVY_CACHE_DIR": str(directory / "cache"),
            }
        )
        short = {"kafka_session_timeout_seconds": 1.2, "kill_grace_seconds": 0.2}
        self.clients = Integrations(settings.model_copy(update=short), SystemClock(), lambda _: None)

    async def checkout(self) -> None:
        async with self.clients.workspaces.source(
            working_dir=None, repo_url=self.url, revision=None, log=lambda _: None
        ):
            pytest.fail("nothing can be checked out")

    async def command(self) -> None:
        await self.clients.commands.run("bash suite.sh", cwd=self.suites, seconds=60)

    async def scan(self) -> None:
        assert self.clients.trivy is not None
        await self.clients.trivy.scan(ScanTarget("fs", str(self.suites)), seconds=60)


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    hanging = Hanging(tmp_path)
    with hanging.listener:
        yield hanging


@pytest.mark.skipif(sys.platform != "linux", reason="holding a process tree together needs Linux")
@pytest.mark.parametrize("run", [Hanging.checkout, Hanging.command, Hanging.scan])
async def test_a_program_of_a_stalled_worker_ends_with_the_lease(
    hanging: Hanging, run: Callable[[Hanging], Coroutine[Any, Any, None]]
) -> None:
    task = asyncio.ensure_future(run(hanging))
    connection, _ = await asyncio.get_running_loop().sock_accept(hanging.listener)
    connection.setblocking(True)
    with connection:
        while connection.recv(65_536):
            pass  # the event loop is blocked until nobody holds the connection any more

    with pytest.raises(WorkerStalled):
        await task
    await hanging.clients.close()
