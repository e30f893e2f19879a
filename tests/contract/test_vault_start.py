"""Settings whose secrets lie in Vault: resolved by the real client and the real commands against the reference Vault."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from worker_agents.devkit.ports import free_ports
from worker_agents.devkit.vault import Fault, Policy, Role, ServiceAccount, VaultServer
from worker_agents.integrations import vault_client
from worker_agents.main import build
from worker_agents.model.errors import SettingsInvalid, VaultUnreachable
from worker_agents.settings import Settings, load_settings, resolve_references
from worker_agents.settings.model import FIELDS, is_secret, variable_of

SECRET = "s3cr3t=s3cr3t-s3cr3t"
REFERABLE = [name for name, field in FIELDS.items() if is_secret(field) and name != "vault_token"]


@pytest.fixture
async def vault() -> AsyncIterator[VaultServer]:
    async with VaultServer() as vault:
        vault.policies["worker-agents"] = Policy({"secret/data/worker/*": ["read"]})
        yield vault


def environment(vault: VaultServer, **more: str) -> dict[str, str]:
    token = vault.tokens.create(["worker-agents"]).id
    return {"VAULT_ENABLED": "true", "VAULT_ADDRESS": vault.url, "VAULT_TOKEN": token, **more}


async def resolved(environ: Mapping[str, str]) -> Settings:
    settings = load_settings(environ)
    client = vault_client(settings, lambda _: None)
    try:
        return await resolve_references(settings, client)
    finally:
        await client.aclose()


# --- references ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFERABLE)
async def test_every_secret_setting_may_be_a_reference(vault: VaultServer, name: str) -> None:
    vault.kv("secret").write("worker/it", {"key": SECRET})
    settings = await resolved(environment(vault, **{variable_of(name): "vault:worker/it#key"}))
    assert getattr(settings, name).get_secret_value() == SECRET
    assert SECRET in settings.secret_values()
    assert settings.vault_references() == {}
    assert SECRET not in repr(settings)


async def test_a_reference_may_come_from_a_file(vault: VaultServer, tmp_path: Path) -> None:
    vault.kv("secret").write("worker/it", {"key": SECRET})
    file = tmp_path / "reference"
    file.write_text("vault:worker/it#key\n")
    assert (await resolved(environment(vault, OPA_TOKEN_FILE=str(file)))).opa_token.get_secret_value() == SECRET


async def test_what_is_no_reference_stays(vault: VaultServer) -> None:
    vault.kv("secret").write("worker/it", {"key": SECRET, "other": "other-other-other"})
    before = load_settings(
        environ := environment(vault, OPA_TOKEN="plain-token", ADMIN_TOKEN="vault:worker/it#key", HTTP_PORT="0")
    )
    settings = await resolved(environ)
    changed = {name for name in FIELDS if getattr(settings, name) != getattr(before, name)}
    assert changed <= {"admin_token", "worker_id"}
    assert settings.sources == before.sources
    assert len(vault.log.to("secret/")) == 1


async def test_references_into_one_secret_read_it_once(vault: VaultServer) -> None:
    vault.kv("secret").write("worker/it", {"key": SECRET})
    same = {variable_of(name): "vault:worker/it#key" for name in REFERABLE}
    await resolved(environment(vault, **same))
    assert len(vault.log.to("secret/")) == 1


async def test_line_ends_are_no_part_of_a_secret(vault: VaultServer) -> None:
    vault.kv("secret").write("worker/it", {"key": f"{SECRET}\n"})
    settings = await resolved(environment(vault, ARGOCD_TOKEN="vault:worker/it#key"))
    assert settings.argocd_token.get_secret_value() == SECRET


async def test_all_references_that_fail_are_told_at_once(vault: VaultServer) -> None:
    engine = vault.kv("secret")
    engine.write("worker/argocd", {"password": SECRET})
    engine.write("worker/odd", {"header": f"{SECRET}ä", "empty": "\n", "chain": "vault:worker/argocd#password"})
    engine.write("private", {"key": SECRET})
    with pytest.raises(SettingsInvalid) as raised:
        await resolved(
            environment(
                vault,
                CODE_FORGE_TOKEN="vault:worker/forge#token",
                ARGOCD_TOKEN="vault:worker/argocd#token",
                OPA_TOKEN="vault:worker/odd#header",
                ADMIN_TOKEN="vault:worker/odd#empty",
                KAFKA_SASL_PASSWORD="vault:worker/odd#chain",
                OTEL_EXPORTER_OTLP_HEADERS="vault:private#key",
            )
        )
    told = dict(problem.split(": ", 1) for problem in raised.value.problems)
    assert told["CODE_FORGE_TOKEN"].startswith("vault: reading worker/forge#token: there is no such secret")
    assert told["ARGOCD_TOKEN"] == "vault: the secret worker/argocd has no key 'token'"
    assert told["OPA_TOKEN"].startswith("vault:worker/odd#header contains a character that cannot be sent")
    assert told["ADMIN_TOKEN"] == "vault:worker/odd#empty is empty"
    assert told["KAFKA_SASL_PASSWORD"] == "vault:worker/odd#chain is a reference itself"
    assert told["OTEL_EXPORTER_OTLP_HEADERS"].startswith("vault: reading private#key: forbidden")
    assert len(told) == 6
    assert SECRET not in str(raised.value)
    assert raised.value.exit_code == 2


async def test_an_outage_while_references_are_read_is_told_as_one(vault: VaultServer) -> None:
    vault.fail(Fault(path="secret/", status=501, times=None))
    with pytest.raises(VaultUnreachable, match=r"ADMIN_TOKEN: vault: reading worker/it#key: .*not initialised"):
        await resolved(environment(vault, ADMIN_TOKEN="vault:worker/it#key"))


async def test_oddities_of_a_secret_are_looked_for_in_the_secret(vault: VaultServer) -> None:
    vault.kv("secret").write("a", {"b": "short"})
    vault.policies["worker-agents"] = Policy({"secret/*": ["read"]})
    environ = environment(vault, ADMIN_TOKEN="vault:a#b")
    assert load_settings(environ).warnings == ()
    assert (await resolved(environ)).warnings == ("ADMIN_TOKEN: is shorter than 16 characters, so it can be guessed",)


async def test_the_service_is_not_built_with_references(vault: VaultServer) -> None:
    settings = load_settings(environment(vault, ADMIN_TOKEN="vault:worker/it#key"))
    with pytest.raises(SettingsInvalid, match="ADMIN_TOKEN: vault:worker/it#key was not resolved"):
        build(settings)


# --- commands --------------------------------------------------------------------------------------------------------


@dataclass
class Command:
    """A running ``worker-agents``; ``lines`` are those of its log that were read so far."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]]

    async def line(self, event: str) -> dict[str, Any]:
        """The next line of the log with this event."""
        assert self.process.stderr is not None
        async for text in self.process.stderr:
            line = json.loads(text) if text.startswith(b"{") else {"event": text.decode()}
            self.lines.append(line)
            if line["event"] == event:
                return line
        raise AssertionError(f"ended without {event}: {self.lines}")

    async def ended(self) -> tuple[int, str, str]:
        """Exit code, and what is left of standard output and standard error."""
        out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def worker_agents(*arguments: str, env: Mapping[str, str]) -> AsyncIterator[Command]:
    inherited = {name: value for name, value in os.environ.items() if name.lower() not in FIELDS}
    (http_port,) = free_ports(1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker_agents.cli", *arguments),
        env={**inherited, "HTTP_PORT": str(http_port), "HTTP_HOST": "127.0.0.1", "LOG_FORMAT": "json", **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Command(process, [])
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


NO_KAFKA = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA_CONNECT_TIMEOUT_SECONDS": "0.6"}


async def test_a_worker_without_vault_gives_up_after_a_while_with_one_clear_error(vault: VaultServer) -> None:
    env = environment(vault, VAULT_CONNECT_TIMEOUT_SECONDS="2", **NO_KAFKA)
    await vault.stop()
    async with worker_agents("run", env=env) as command:
        waiting = await command.line("vault_trouble")
        code, _, err = await command.ended()
    assert waiting["level"] == "warning"
    assert waiting["error"] == "login with the token: no connection"
    assert code == 5
    assert f"worker-agents: no login at Vault ({vault.url}) within 2 s: " in err.splitlines()[-1]
    assert "Traceback" not in err
    assert env["VAULT_TOKEN"] not in err


async def test_a_worker_that_is_refused_says_so_at_once(vault: VaultServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("jwt-1")
    env = environment(
        vault, VAULT_TOKEN="", VAULT_KUBERNETES_ROLE="nobody", VAULT_KUBERNETES_TOKEN_PATH=str(tmp_path / "token")
    )
    vault.kubernetes()
    async with worker_agents("run", env=env | NO_KAFKA) as command:
        code, _, err = await command.ended()
    assert code == 2
    assert "VAULT_KUBERNETES_ROLE: vault: login with the Kubernetes role nobody at auth/kubernetes: there is no" in err
    async with worker_agents("run", env=env | NO_KAFKA | {"VAULT_TOKEN": "hvs.wrong-wrong"}) as command:
        code, _, err = await command.ended()
    assert code == 2
    assert "VAULT_TOKEN: vault: login with the token: forbidden" in err
    assert "hvs.wrong-wrong" not in err


@pytest.mark.parametrize("how", ["refused", "hangs"])
async def test_sigterm_ends_the_wait_for_vault_at_once(vault: VaultServer, how: str) -> None:
    env = environment(vault, VAULT_CONNECT_TIMEOUT_SECONDS="3000", **NO_KAFKA)
    if how == "refused":
        await vault.stop()
    vault.fail(Fault(kind="hang", times=None))
    async with worker_agents("run", env=env) as command:
        if how == "refused":
            await command.line("vault_trouble")
        else:
            await vault.log.wait_until(lambda log: len(log) == 1)
        command.process.send_signal(signal.SIGTERM)
        # Less than the 10 s after which a call that hangs is given up.
        code, _, err = await asyncio.wait_for(command.ended(), 8)
    assert code == 0
    assert "Traceback" not in err


async def test_a_worker_goes_on_to_kafka_with_the_secrets_and_masks_them(vault: VaultServer, tmp_path: Path) -> None:
    """The secret is chosen to be a text that the worker logs by itself."""
    (tmp_path / "token").write_text("jwt-1")
    vault.kubernetes().accounts["jwt-1"] = ServiceAccount("worker-agents")
    vault.kubernetes().roles["worker-agents"] = Role(policies=["worker-agents"])
    vault.kv("secret").write("worker/it", {"key": "127.0.0.1:1"})
    env = environment(
        vault,
        VAULT_TOKEN="",
        VAULT_KUBERNETES_TOKEN_PATH=str(tmp_path / "token"),
        ADMIN_TOKEN="vault:worker/it#key",
        KAFKA_CONNECT_TIMEOUT_SECONDS="0.6",
        KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1",
    )
    async with worker_agents("run", env=env) as command:
        warning = await command.line("settings_warning")
        trouble = await command.line("kafka_trouble")
        code, _, _ = await command.ended()
    assert warning["message"].startswith("ADMIN_TOKEN: is shorter")
    assert trouble["what"] == "connecting to ********"
    assert code == 3


async def test_a_reference_that_fails_stops_the_worker(vault: VaultServer) -> None:
    async with worker_agents("run", env=environment(vault, ADMIN_TOKEN="vault:worker/it#key") | NO_KAFKA) as command:
        code, _, err = await command.ended()
    assert code == 2
    assert "  ADMIN_TOKEN: vault: reading worker/it#key: there is no such secret" in err


async def test_config_shows_references_and_asks_vault_nothing(vault: VaultServer) -> None:
    vault.kv("secret").write("worker/it", {"key": SECRET})
    env = environment(vault, ADMIN_TOKEN="vault:worker/it#key", OPA_TOKEN="plain-plain-plain")
    async with worker_agents("config", "--json", env=env) as command:
        code, out, _ = await command.ended()
    shown = {row["variable"]: row["value_masked"] for row in json.loads(out)["settings"]}
    assert code == 0
    assert shown["ADMIN_TOKEN"] == "vault:worker/it#key"
    assert shown["OPA_TOKEN"] == shown["VAULT_TOKEN"] == "********"
    assert len(vault.log) == 0


@pytest.mark.parametrize(
    ("referred", "asked"),
    [("KAFKA_SASL_PASSWORD", ["GET auth/token/lookup-self", "GET secret/data/worker/it"]), ("ADMIN_TOKEN", [])],
)
async def test_a_command_reads_only_what_kafka_needs(vault: VaultServer, referred: str, asked: list[str]) -> None:
    vault.kv("secret").write("worker/it", {"key": SECRET})
    sasl = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "me",
        "KAFKA_SASL_PASSWORD": SECRET,
    }
    env = environment(vault, **NO_KAFKA) | sasl | {referred: "vault:worker/it#key"}
    async with worker_agents("topics", "describe", env=env) as command:
        code, _, err = await command.ended()
    assert (code, vault.log.asked) == (3, asked)
    assert SECRET not in err
