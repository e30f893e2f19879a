"""Secrets from HashiCorp Vault, through ``hvac`` in threads (contracts 6).

    VaultClient         what executors and settings ask: a cache, one reading of a path at a time
    └── TokenKeeper     the token: login, renewal before it ends, another one after a 403
        └── VaultCalls  one call: thread, time-outs, retries, the one place where foreign errors become ours

Neither Vault's own words nor its URLs are ever repeated in an error: they may hold tokens.
"""

from worker_agents.clients.vault.client import VaultClient
from worker_agents.clients.vault.logins import KubernetesLogin, Login, TokenLogin

__all__ = ["KubernetesLogin", "Login", "TokenLogin", "VaultClient"]
