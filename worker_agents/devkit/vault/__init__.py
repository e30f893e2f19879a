"""The reference Vault: what worker-agents uses of its HTTP API, in the shapes of the real one, and a log of calls.

Example:
    >>> async with VaultServer() as vault:
    ...     vault.kv("secret").write("worker/forge", {"token": "s3cr3t"})
    ...     vault.policies["worker-agents"] = Policy({"secret/data/worker/*": ["read"]})
    ...     token = vault.tokens.create(["worker-agents"], ttl=3600)
    ...     await read_secrets(vault.url, token.id)
    ...     assert [call.path for call in vault.log] == ["secret/data/worker/forge"]

Served are: ``sys/health``, ``auth/token/lookup-self|renew-self|revoke-self``, ``auth/{mount}/login`` of the Kubernetes
kind, and the key-value engine, version 2 (``data``, ``delete``, ``undelete``, ``destroy``). Time is the clock's that it
is given. Sources: Vault's API documentation, and contracts 6.
"""

from worker_agents.devkit.vault.faults import Fault
from worker_agents.devkit.vault.kubernetes import KubernetesAuth, Role, ServiceAccount
from worker_agents.devkit.vault.kv import KeyValueEngine
from worker_agents.devkit.vault.log import Call, CallLog
from worker_agents.devkit.vault.policies import Policy
from worker_agents.devkit.vault.server import VaultServer
from worker_agents.devkit.vault.tokens import Token, Tokens

__all__ = [
    "Call",
    "CallLog",
    "Fault",
    "KeyValueEngine",
    "KubernetesAuth",
    "Policy",
    "Role",
    "ServiceAccount",
    "Token",
    "Tokens",
    "VaultServer",
]
