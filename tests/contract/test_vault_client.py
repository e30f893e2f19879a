"""Vault's client, over the real hvac and real connections, against the reference Vault: reading, refusals, login."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.vault_world import LOGIN, LOOK_UP, PASSWORD, READ, World, vault_world
from worker_agents.clients.vault import KubernetesLogin
from worker_agents.clients.vault.client import MAX_CACHED_SECRETS
from worker_agents.devkit.vault import Policy, VaultServer
from worker_agents.model.errors import IntegrationRejected


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with vault_world(tmp_path) as world:
        yield world


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
