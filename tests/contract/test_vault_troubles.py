"""Vault's client against the reference Vault: tokens that end, outages, the start, and what must not be told."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.vault_world import LOGIN, LOOK_UP, PASSWORD, READ, RENEW, SOON, World, vault_world
from worker_agents.clients.http_retry import HttpRetryPolicy
from worker_agents.devkit.executor_kit import run_executor, ticket_for
from worker_agents.devkit.vault import Fault
from worker_agents.executors.base import BaseTaskExecutor, ExecutionContext, Parameters
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable, VaultUnreachable
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with vault_world(tmp_path) as world:
        yield world


# --- the token's life --------------------------------------------------------------------------------------------


async def test_a_token_is_renewed_after_two_thirds_of_its_life_without_being_asked_for(world: World) -> None:
    world.role(ttl=3600)
    client = world.client()
    await client.log_in()
    world.clock.advance(2100)
    await world.asked(LOGIN)

    world.clock.advance(310)
    await world.asked(LOGIN, RENEW)
    await world.until(lambda: ("renew", "ok") in world.outcomes)
    assert world.vault.log.to("auth/token")[0].token is not None

    world.clock.advance(3000)
    await world.asked(LOGIN, RENEW, RENEW)
    assert await client.get_secret("worker/db", "password") == PASSWORD
    await world.asked(LOGIN, RENEW, RENEW, READ)


async def test_at_the_end_of_the_longest_life_it_logs_in_again(world: World) -> None:
    world.role(ttl=600, max_ttl=1000)
    client = world.client()
    await client.log_in()
    for expected in ([RENEW], [RENEW, RENEW, LOGIN]):
        world.clock.advance(400)
        await world.until(lambda: world.vault.log.asked[1:] == expected)  # noqa: B023 # waited for in this turn
    old, new = world.vault.log.to("auth/token")[0].token, None
    await client.get_secret("worker/db", "password")
    new = world.vault.log.to("secret/")[0].token
    assert new != old


async def test_a_token_that_cannot_be_renewed_is_replaced(world: World) -> None:
    world.role(ttl=600, renewable=False)
    client = world.client()
    await client.log_in()
    world.jwt("jwt-2")
    world.clock.advance(400)
    await world.asked(LOGIN, LOGIN)
    assert [call.body["jwt"] for call in world.vault.log] == ["jwt-1", "jwt-2"]
    assert world.warnings == []


async def test_a_token_that_was_revoked_is_replaced_when_it_should_be_renewed(world: World) -> None:
    world.role(ttl=600)
    await world.client().log_in()
    world.vault.tokens.revoke_all()
    world.clock.advance(400)
    await world.asked(LOGIN, RENEW, LOGIN)


async def test_a_token_that_ended_unnoticed_is_not_tried(world: World) -> None:
    world.role(ttl=600)
    client = world.client()
    await client.log_in()
    client._tokens._cancel_timer()  # a process that was stopped
    world.clock.advance(600)
    assert await client.get_secret("worker/db", "password") == PASSWORD
    await world.asked(LOGIN, LOGIN, READ)


async def test_a_renewal_that_fails_is_told_and_tried_again_until_it_works(world: World) -> None:
    world.role(ttl=3600)
    await world.client(retry=HttpRetryPolicy(tries=1)).log_in()
    world.vault.condition = "sealed"
    world.clock.advance(2400)
    await world.until(lambda: len(world.warnings) == 1)
    assert world.warnings == ["keeping the token: renewal: Vault is sealed or away (HTTP 503)"]

    world.vault.condition = "active"
    world.clock.advance(400)
    await world.until(lambda: ("renew", "ok") in world.outcomes)


async def test_a_fixed_token_is_kept_alive_and_its_end_is_told(world: World) -> None:
    client = world.with_token(ttl=600, max_ttl=1000)
    await client.log_in()
    world.clock.advance(400)
    await world.until(lambda: world.outcomes.count(("renew", "ok")) == 1)
    assert world.warnings == []
    world.clock.advance(400)
    await world.until(lambda: len(world.warnings) == 1)
    assert world.warnings == [
        "keeping the token: its longest life is reached: it ends in 200 s, and VAULT_TOKEN must be a new one before that"
    ]
    world.clock.advance(200)
    with pytest.raises(IntegrationRejected, match="login with the token: forbidden"):
        await client.get_secret("worker/db", "password")


async def test_a_fixed_token_that_cannot_be_renewed_is_told_at_login(world: World) -> None:
    await world.with_token(ttl=600, renewable=False).log_in()
    assert world.warnings == [
        "keeping the token: it cannot be renewed: it ends in 600 s, and VAULT_TOKEN must be a new one before that"
    ]
    world.clock.advance(500)
    await world.asked(LOOK_UP)


async def test_a_token_without_end_is_left_alone(world: World) -> None:
    await world.with_token().log_in()
    world.clock.advance(10_000_000)
    await world.asked(LOOK_UP)
    assert world.warnings == []


# --- outages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault(path="secret/", status=429, times=3, errors=("request path quota exceeded",)),
        Fault(path="secret/", status=503, times=3, errors=("Vault is sealed",)),
        Fault(path="secret/", status=502, times=3),
        Fault(path="secret/", status=412, times=3),
        Fault(path="secret/", status=500, times=2),
        Fault(path="secret/", kind="drop", times=3),
        Fault(path="auth/", status=503, times=3),
        Fault(path="auth/", kind="drop", times=3, after_work=True),
        Fault(path="secret/", kind="raw", status=200, times=2),
    ],
)
async def test_a_short_trouble_is_outlived(world: World, fault: Fault) -> None:
    times = fault.times or 0
    world.vault.fail(fault)
    assert await world.client().get_secret("worker/db", "password") == PASSWORD
    assert len(world.vault.log) == times + 2


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault(path="secret/", status=503, times=None, errors=("Vault is sealed",)), "unavailable"),
        (Fault(path="secret/", status=503, times=None), "unavailable"),
        (Fault(path="secret/", status=500, times=None), "unavailable"),
        (Fault(path="secret/", status=418, times=None), "unavailable"),
        (Fault(path="secret/", kind="drop", times=None), "unavailable"),
        (Fault(path="secret/", kind="hang", times=None), "timeout"),
        (Fault(path="secret/", kind="raw", status=200, times=None), "unavailable"),
        (Fault(path="secret/", kind="raw", status=200, times=None, content_type="application/json", body="[]"), None),
        (Fault(path="secret/", kind="raw", status=500, times=None, content_type="application/json", body="[]"), None),
        (Fault(path="secret/", kind="raw", status=200, times=None, body='{"data": {"data": "x"}}'), "unavailable"),
        (Fault(path="secret/", kind="raw", status=204, times=None, body=""), "unavailable"),
        (Fault(path="auth/", kind="raw", status=200, times=None), "unavailable"),
        (Fault(path="auth/", kind="raw", status=200, times=None, body='{"auth": {"client_token": 1}}'), "unavailable"),
    ],
    ids=lambda value: f"{value.kind}-{value.path}-{value.status}" if isinstance(value, Fault) else "",
)
async def test_an_outage_is_unavailable_and_can_be_retried(world: World, fault: Fault, outcome: str | None) -> None:
    world.vault.fail(fault)
    client = world.client(limits=SOON)

    with pytest.raises(IntegrationUnavailable, match=r"^vault: reading worker/db#password: ") as raised:
        await client.get_secret("worker/db", "password")

    assert raised.value.retryable
    assert world.outcomes[-1][1] == (outcome or "unavailable")
    world.vault.fail()
    assert await client.get_secret("worker/db", "password") == PASSWORD


async def test_a_vault_that_is_not_there(world: World) -> None:
    client = world.client()
    await world.vault.stop()
    with pytest.raises(IntegrationUnavailable, match="no connection"):
        await client.get_secret("worker/db", "password")
    await world.vault.start()
    assert await client.get_secret("worker/db", "password") == PASSWORD


async def test_a_name_that_does_not_resolve(world: World) -> None:
    client = world.client(address="http://vault.invalid:8200")
    with pytest.raises(IntegrationUnavailable, match="no connection"):
        await client.get_secret("worker/db", "password")


async def test_tls_that_fails_is_told_at_once(world: World) -> None:
    client = world.client(address=world.vault.url.replace("http:", "https:"))
    with pytest.raises(IntegrationUnavailable, match="TLS failure"):
        await client.get_secret("worker/db", "password")
    assert world.outcomes == [("login", "unavailable")]


async def test_calls_that_hang_take_nothing_from_others(world: World) -> None:
    """Neither asyncio's own threads nor other secrets wait for a secret whose reading hangs."""
    world.vault.fail(Fault(path="secret/data/worker/hang", kind="hang", times=None))
    client = world.client()
    await client.log_in()
    hanging = [asyncio.create_task(client.get_secret(f"worker/hang-{number}", "a")) for number in range(7)]
    await world.vault.log.wait_until(lambda log: len(log.to("secret/data/worker/hang")) == 7)

    assert await client.get_secret("worker/db", "password") == PASSWORD
    assert await asyncio.to_thread(lambda: "free") == "free"
    more = [asyncio.create_task(client.get_secret(f"worker/hang-{number}", "a")) for number in range(7, 30)]
    await world.vault.log.wait_until(lambda log: len(log.to("secret/data/worker/hang")) == 8)
    assert sum(thread.name == "vault" for thread in threading.enumerate()) == 8
    assert await asyncio.to_thread(lambda: "free") == "free"

    for task in hanging + more:
        task.cancel()
    await asyncio.gather(*hanging, *more, return_exceptions=True)
    await world.vault.stop()


async def test_a_reader_that_is_cancelled_leaves_the_secret_to_the_others(world: World) -> None:
    world.vault.fail(Fault(path="secret/", kind="hang"))
    client = world.client(limits=SOON)
    first, second = (asyncio.create_task(client.get_secret("worker/db", "password")) for _ in range(2))
    await world.vault.log.wait_until(lambda log: READ in log.asked)
    first.cancel()
    assert await second == PASSWORD
    assert first.cancelled()


# --- the start -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("sealed", "Vault says: it is sealed"),
        ("uninitialised", "Vault says: it is not initialised"),
        ("no_active", "Vault says: it is a standby and no node is active"),
        ("dr_secondary", "Vault says: it is a disaster recovery secondary"),
        ("removed", "Vault says: it was removed"),
    ],
)
async def test_the_start_waits_for_vault_and_says_what_for(world: World, condition: Any, words: str) -> None:
    world.vault.condition = condition
    client = world.client()

    with pytest.raises(VaultUnreachable, match=rf"no login at Vault \({world.vault.url}\) within 60 s: .*{words}"):
        await client.connect(60)

    assert 50 <= world.clock.monotonic() <= 60
    assert len(world.warnings) > 5
    assert all(words in warning for warning in world.warnings)


async def test_the_start_goes_on_as_soon_as_vault_is_there(world: World) -> None:
    await world.vault.stop()
    client = world.client()
    connecting = asyncio.create_task(client.connect(3600))
    await world.until(lambda: len(world.warnings) >= 2)
    await world.vault.start()
    await connecting
    assert "no connection" in world.warnings[0]


# --- executors -------------------------------------------------------------------------------------------------------


class Reader(BaseTaskExecutor[Parameters]):
    """Says how long a secret is."""

    def get_task_type(self) -> str:
        return "READER"

    async def execute(self, ticket: Ticket, context: ExecutionContext) -> TaskResult:  # noqa: ARG002
        return TaskResult(success=True, output={"length": len(await self.get_secret("worker/db", "password"))})


async def test_an_executor_reads_secrets(world: World) -> None:
    result = await run_executor(Reader(vault_client=world.client()), ticket_for("READER"))
    assert result.output == {"length": len(PASSWORD)}


async def test_an_executor_is_told_of_an_outage_and_gets_no_secret_made_up(world: World) -> None:
    await world.vault.stop()
    with pytest.raises(IntegrationUnavailable, match=r"reading worker/db#password: .*no connection"):
        await run_executor(Reader(vault_client=world.client()), ticket_for("READER"))


# --- nothing is told ------------------------------------------------------------------------------------------------


async def test_no_secret_reaches_logs_events_or_representations(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = world.client(cache_seconds=0)
    await client.get_secret("worker/db", "password")
    token = world.vault.log.to("secret/")[0].token
    assert token is not None
    world.vault.tokens.revoke_all()
    world.vault.kubernetes().accounts.clear()
    with pytest.raises(IntegrationRejected) as raised:
        await client.get_secret("worker/db", "password")
    told = repr(world.events) + caplog.text + repr(client._tokens._held) + repr(raised.value) + repr(client._kept)
    assert all(secret not in told for secret in (token, PASSWORD, "jwt-1"))


async def test_closing_forgets_everything(world: World) -> None:
    world.role(ttl=600)
    client = world.client()
    await client.get_secret("worker/db", "password")
    await client.aclose()
    assert len(client._kept) == 0
    assert client._tokens._held is None
    world.clock.advance(500)
    await world.asked(LOGIN, READ)
