"""A worker's view of Vault for tests: the reference server with a secret, a role and a policy, and real clients."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from worker_agents.clients.vault import KubernetesLogin, TokenLogin, VaultClient
from worker_agents.clients.vault.calls import VaultLimits
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.devkit.vault import Policy, Role, ServiceAccount, VaultServer
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


@asynccontextmanager
async def vault_world(folder: Path) -> AsyncIterator[World]:
    """Client and server share a clock; the clients are closed at the end."""
    clock = VirtualClock()
    async with VaultServer(clock=clock) as vault:
        world = World(vault, clock, folder / "token")
        yield world
        for client in world.clients:
            await client.aclose()
