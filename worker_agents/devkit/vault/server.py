"""The reference Vault on a loopback port."""

from __future__ import annotations

from worker_agents.devkit.loopback import LoopbackServer
from worker_agents.devkit.vault.api import Condition, VaultApi
from worker_agents.devkit.vault.conversation import VaultConversation
from worker_agents.devkit.vault.faults import Fault
from worker_agents.devkit.vault.kubernetes import KubernetesAuth
from worker_agents.devkit.vault.kv import KeyValueEngine
from worker_agents.devkit.vault.log import CallLog
from worker_agents.devkit.vault.policies import Policy
from worker_agents.devkit.vault.tokens import Tokens
from worker_agents.model.clock import Clock, SystemClock


class VaultServer(LoopbackServer):
    """A Vault: ``async with VaultServer() as vault: vault.url``. See the package for an example.

    It begins unsealed, with an empty key-value engine at ``secret`` and no token. ``clock`` decides when tokens end.
    Secrets, tokens and log outlive an outage.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self._now = lambda: clock.now_ms() / 1000
        self.api = VaultApi(self._now)
        self.log = CallLog()
        self.kv("secret")
        super().__init__(VaultConversation(self.api, self.log, self.drop))

    @property
    def tokens(self) -> Tokens:
        return self.api.tokens

    @property
    def policies(self) -> dict[str, Policy]:
        return self.api.policies

    @property
    def condition(self) -> Condition:
        return self.api.condition

    @condition.setter
    def condition(self, condition: Condition) -> None:
        self.api.condition = condition

    def kv(self, mount: str) -> KeyValueEngine:
        """The engine at ``mount``, new when there is none."""
        return self.api.engines.setdefault(mount, KeyValueEngine(self._now))

    def kubernetes(self, mount: str = "kubernetes") -> KubernetesAuth:
        """The Kubernetes login at ``mount``, new when there is none."""
        return self.api.logins.setdefault(mount, KubernetesAuth(mount, self.tokens))

    def fail(self, *faults: Fault) -> None:
        """Play these faults from now on, in place of earlier ones."""
        self.api.faults = list(faults)
