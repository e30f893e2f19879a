"""Vault's client, over the real hvac and real connections, against the reference Vault. Client and server share a clock."""

import asyncio
import logging
import os
import random
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from worker_agents.clients.http_retry import HttpRetryPolicy
from worker_agents.clients.vault import KubernetesLogin, TokenLogin, VaultClient
from worker_agents.clients.vault.calls import VaultLimits
from worker_agents.clients.vault.client import MAX_CACHED_SECRETS
from worker_agents.devkit.executor_kit import VirtualClock, run_executor, ticket_for
from worker_agents.devkit.vault import Fault, Policy, Role, ServiceAccount, VaultServer
from worker_agents.executors.base import BaseTaskExecutor, ExecutionContext, Parameters
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable, VaultUnreachable
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket
from worker_agents.telemetry.events import Event, ExternalCall, VaultTrouble

READ = "GET secret/data/worker/db"
LOGIN = "POST auth/kubernetes/login"
LOOK_UP = "GET auth/token/lookup-self"
RENEW = "POST auth/token/renew-self"
PASSWORD = "s3cr3t-p4ssw0rd"
SOON = VaultLimits(silence=0.2, whole=0.4)


class World:
    """A Vault with one secret, a role and a policy, and the clients of a worker."""

    def __init__(self, vault: VaultServer, clock: VirtualClock, jwt_file: Path) -> None:
        self.vault = vault
        self.clock = clock
        self.jwt_file = jwt_file
        self.events: list[Event] = []
        self.happened = asyncio.Event()
        self.clients: list[VaultClient] = []
        self.role()
        self.jwt("jwt-1")
        vault.kv("secret").write("worker/db", {"password": PASSWORD, "port": 5432})
        vault.policies["worker-agents"] = Policy({"secret/data/worker/*": ["read"]})

    def role(self, **role: Any) -> None:
        self.vault.kubernetes().roles["worker-agents"] = Role(policies=["worker-agents"], **role)

    def jwt(self, jwt: str) -> None:
        """The kubelet's rotation: the old JWT is worth nothing any more."""
        self.jwt_file.write_text(f"{jwt}\n")
        self.vault.kubernetes().accounts = {jwt: ServiceAccount("worker-agents")}

    def client(self, login: Any = None, **more: Any) -> VaultClient:
        client = VaultClient(
            more.pop("address", self.vault.url),
            login=login or KubernetesLogin("worker-agents", self.jwt_file),
            emit=self.emit,
            clock=self.clock,
            rng=random.Random(1),
            **more,
        )
        self.clients.append(client)
        return client

    def with_token(self, **token: Any) -> VaultClient:
        fixed = self.vault.tokens.create(["worker-agents"], **token)
        return self.client(TokenLogin(SecretStr(fixed.id)))

    def emit(self, event: Event) -> None:
        self.events.append(event)
        self.happened.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the clients' background work go on until ``condition`` holds, which each event may change."""
        while not condition():
            self.happened.clear()
            await self.happened.wait()

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(event.operation, event.outcome) for event in self.events if isinstance(event, ExternalCall)]

    @property
    def warnings(self) -> list[str]:
        return [f"{event.what}: {event.error}" for event in self.events if isinstance(event, VaultTrouble)]

    async def asked(self, *calls: str) -> None:
        """Return when exactly these calls were answered."""
        log = self.vault.log
        await log.wait_until(lambda log: len(log) >= len(calls) and all(call.status for call in log))
        assert log.asked == list(calls)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = VirtualClock()
    async with VaultServer(clock=clock) as vault:
        world = World(vault, clock, tmp_path / "token")
        yield world
        for client in world.clients:
            await client.aclose()


# --- reading and keeping -------------------------------------------------------------------------------------------


async def test_a_secret_is_read_with_a_token_of_the_role(world: World) -> None:
    client = world.client()

    assert await client.get_secret("/worker/db/", "password") == PASSWORD
    assert await client.get_secret("worker/db", "port") == "5432"

    await world.asked(LOGIN, READ)
    login, read = world.vault.log
    assert login.body == {"role": "worker-agents", "jwt": "jwt-1"}
    assert login.token is None
    token = world.vault.tokens.find(read.token)
    assert token is not None
    assert token.metadata["role"] == "worker-agents"
    assert login.request_header
    assert read.request_header
    assert read.namespace is None
    assert world.outcomes == [("login", "ok"), ("read", "ok")]


async def test_a_secret_is_kept_for_a_while_and_then_read_anew(world: World) -> None:
    client = world.client(cache_seconds=60)
    await client.get_secret("worker/db", "password")
    world.vault.kv("secret").write("worker/db", {"password": "new"})

    world.clock.advance(59)
    assert await client.get_secret("worker/db", "password") == PASSWORD
    world.clock.advance(1)
    assert await client.get_secret("worker/db", "password") == "new"


async def test_zero_seconds_keep_nothing(world: World) -> None:
    client = world.client(cache_seconds=0)
    for _ in range(3):
        await client.get_secret("worker/db", "password")
    assert world.vault.log.asked.count(READ) == 3


async def test_a_lease_and_a_planned_deletion_say_how_long_a_secret_is_kept(world: World) -> None:
    client = world.client()
    world.vault.kv("secret").lease_seconds = 20
    await client.get_secret("worker/db", "password")
    world.clock.advance(20)
    await client.get_secret("worker/db", "password")
    assert world.vault.log.asked.count(READ) == 2

    world.vault.kv("secret").lease_seconds = 0
    world.vault.kv("secret").write("worker/short", {"a": "1"}, delete_after=10)
    await client.get_secret("worker/short", "a")
    world.clock.advance(11)
    with pytest.raises(IntegrationRejected, match="reading worker/short#a: its latest version was deleted"):
        await client.get_secret("worker/short", "a")


async def test_the_cache_does_not_grow_without_end(world: World) -> None:
    client = world.client()
    for number in range(MAX_CACHED_SECRETS + 5):
        world.vault.kv("secret").write(f"worker/{number}", {"a": str(number)})
        assert await client.get_secret(f"worker/{number}", "a") == str(number)
    assert len(client._kept) == MAX_CACHED_SECRETS


async def test_many_who_want_one_secret_read_it_once_after_one_login(world: World) -> None:
    client = world.client()
    wanted = [client.get_secret("worker/db", "password") for _ in range(100)]
    assert set(await asyncio.gather(*wanted)) == {PASSWORD}
    await world.asked(LOGIN, READ)


async def test_different_secrets_are_read_after_one_login(world: World) -> None:
    client = world.client()
    for number in range(20):
        world.vault.kv("secret").write(f"worker/{number}", {"a": str(number)})
    values = await asyncio.gather(*(client.get_secret(f"worker/{number}", "a") for number in range(20)))
    assert values == [str(number) for number in range(20)]
    assert world.vault.log.asked.count(LOGIN) == 1


async def test_another_mount_and_a_namespace(world: World) -> None:
    world.vault.api.namespace = "team"
    world.vault.kv("kv-prod").write("worker/db", {"password": "other"})
    world.vault.policies["worker-agents"] = Policy({"kv-prod/data/worker/*": ["read"]})
    world.vault.api.logins["k8s/prod"] = world.vault.kubernetes()
    client = world.client(
        KubernetesLogin("worker-agents", world.jwt_file, mount="k8s/prod"), mount="kv-prod", namespace="team"
    )

    assert await client.get_secret("worker/db", "password") == "other"

    await world.asked("POST auth/k8s/prod/login", "GET kv-prod/data/worker/db")
    assert {call.namespace for call in world.vault.log} == {"team"}


async def test_a_namespace_that_is_missing_is_forbidden(world: World) -> None:
    world.vault.api.namespace = "team"
    with pytest.raises(IntegrationRejected, match="forbidden"):
        await world.client().get_secret("worker/db", "password")


async def test_an_agent_that_demands_the_request_header_is_satisfied(world: World) -> None:
    world.vault.api.demands_request_header = True
    assert await world.client().get_secret("worker/db", "password") == PASSWORD


async def test_a_standby_sends_the_client_to_the_active_node(world: World) -> None:
    async with VaultServer(clock=world.clock) as standby:
        standby.condition = "standby"
        standby.api.active_url = world.vault.url
        client = world.client(address=standby.url)
        assert await client.get_secret("worker/db", "password") == PASSWORD
    await world.asked(LOGIN, READ)


# --- what is refused -----------------------------------------------------------------------------------------------


async def test_a_missing_key_is_named_and_values_are_not(world: World) -> None:
    with pytest.raises(IntegrationRejected, match=r"^vault: the secret worker/db has no key 'user'$"):
        await world.client().get_secret("worker/db", "user")


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda _: None, "there is no such secret"),
        (lambda kv: (kv.write("worker/x", {"k": PASSWORD}), kv.delete("worker/x")), "its latest version was deleted"),
        (
            lambda kv: (kv.write("worker/x", {"k": PASSWORD}), kv.destroy("worker/x")),
            "its latest version was destroyed",
        ),
    ],
)
async def test_a_secret_that_is_not_there_is_named_with_its_key(
    world: World, prepare: Callable[[Any], object], words: str
) -> None:
    prepare(world.vault.kv("secret"))
    with pytest.raises(IntegrationRejected, match=f"^vault: reading worker/x#k: {words}") as raised:
        await world.client().get_secret("worker/x", "k")
    assert not raised.value.retryable
    assert PASSWORD not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("path", ["", "/", "..", "worker/../../../auth/token/lookup-self", "a//b", "a/./b", "a\nb"])
async def test_a_path_never_leaves_its_mount(world: World, path: str) -> None:
    with pytest.raises(IntegrationRejected, match="must be names with '/' between them"):
        await world.client().get_secret(path, "id")
    assert len(world.vault.log) == 0


async def test_characters_of_urls_are_part_of_a_path(world: World) -> None:
    world.vault.kv("secret").write("worker/what? 100%", {"a": "1"})
    assert await world.client().get_secret("worker/what? 100%", "a") == "1"


async def test_tokens_lying_about_on_the_machine_are_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = world.vault.tokens.create(["root"]).id
    monkeypatch.setenv("VAULT_TOKEN", foreign)
    await world.client().get_secret("worker/db", "password")
    assert foreign not in {call.token for call in world.vault.log}
    assert os.environ["VAULT_TOKEN"] == foreign


# --- 403 -----------------------------------------------------------------------------------------------------------


async def test_a_revoked_token_is_replaced_once_with_the_jwt_of_the_moment(world: World) -> None:
    client = world.client(cache_seconds=0)
    await client.get_secret("worker/db", "password")
    world.vault.tokens.revoke_all()
    world.jwt("jwt-2")

    assert await client.get_secret("worker/db", "password") == PASSWORD

    await world.asked(LOGIN, READ, READ, LOGIN, READ)
    assert [call.body["jwt"] for call in world.vault.log.to("auth/")] == ["jwt-1", "jwt-2"]
    assert world.outcomes[2:] == [("read", "rejected"), ("login", "ok"), ("read", "ok")]


async def test_many_readers_with_a_revoked_token_share_one_login(world: World) -> None:
    client = world.client(cache_seconds=0)
    for number in range(20):
        world.vault.kv("secret").write(f"worker/{number}", {"a": "1"})
    await client.log_in()
    world.vault.tokens.revoke_all()

    await asyncio.gather(*(client.get_secret(f"worker/{number}", "a") for number in range(20)))

    assert world.vault.log.asked.count(LOGIN) == 2


async def test_a_policy_that_forbids_costs_one_login_a_minute_and_not_one_a_ticket(world: World) -> None:
    client = world.client()
    world.vault.kv("secret").write("private", {"a": "1"})
    for _ in range(3):
        with pytest.raises(IntegrationRejected, match=r"forbidden, with a fresh token too: .* secret/data/private"):
            await client.get_secret("private", "a")
    private = "GET secret/data/private"
    await world.asked(LOGIN, private, LOGIN, private, private, private)

    world.vault.policies["worker-agents"] = Policy({"secret/data/*": ["read"]})
    assert await client.get_secret("private", "a") == "1"


async def test_after_a_minute_a_forbidden_path_may_cost_a_login_again(world: World) -> None:
    client = world.client()
    for _ in range(2):
        with pytest.raises(IntegrationRejected):
            await client.get_secret("private", "a")
        world.clock.advance(60)
    assert world.vault.log.asked.count(LOGIN) == 3


async def test_a_fixed_token_that_was_revoked_is_told_from_a_policy(world: World) -> None:
    client = world.with_token()
    await client.get_secret("worker/db", "password")
    world.vault.tokens.revoke_all()
    with pytest.raises(IntegrationRejected, match="reading worker/x#a: login with the token: forbidden: it is wrong"):
        await client.get_secret("worker/x", "a")
    await world.asked(LOOK_UP, READ, "GET secret/data/worker/x", LOOK_UP)


# --- login ---------------------------------------------------------------------------------------------------------


async def test_a_fixed_token_is_looked_up_and_used(world: World) -> None:
    client = world.with_token()
    assert await client.get_secret("worker/db", "password") == PASSWORD
    await world.asked(LOOK_UP, READ)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda world: world.vault.kubernetes().roles.clear(), "there is no such role"),
        (lambda world: world.vault.kubernetes().accounts.clear(), "forbidden: the role must be bound"),
        (lambda world: world.role(names=["somebody"]), "forbidden: the role must be bound"),
        (lambda world: world.jwt_file.unlink(), "the service account's token .*: No such file"),
        (lambda world: world.jwt_file.write_bytes(b"\xff"), "the service account's token .* is not UTF-8 text"),
        (lambda world: world.jwt_file.write_text("\n"), "the service account's token .* is empty"),
    ],
)
async def test_a_login_that_is_refused_says_what_to_check(
    world: World, spoil: Callable[[World], object], words: str
) -> None:
    spoil(world)
    client = world.client()
    with pytest.raises(IntegrationRejected, match=f"role worker-agents at auth/kubernetes: {words}") as raised:
        await client.log_in()
    assert "jwt-1" not in str(raised.value)
    with pytest.raises(IntegrationRejected, match=words):
        await client.connect(60)


async def test_a_kubernetes_login_that_is_forbidden_may_be_allowed_the_next_time(world: World) -> None:
    """Vault says the same when it cannot reach Kubernetes to have the JWT reviewed."""
    known = world.vault.kubernetes().accounts.copy()
    world.vault.kubernetes().accounts.clear()
    client = world.client()
    with pytest.raises(IntegrationRejected) as raised:
        await client.get_secret("worker/db", "password")
    assert raised.value.retryable
    world.vault.kubernetes().accounts |= known
    assert await client.get_secret("worker/db", "password") == PASSWORD


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
