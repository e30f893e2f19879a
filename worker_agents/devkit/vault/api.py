"""What Vault answers to a call."""

from __future__ import annotations

from typing import Any, Final, Literal

from starlette.responses import RedirectResponse, Response

from worker_agents.devkit.vault.answers import Refused, as_json, document, errors, permission_denied
from worker_agents.devkit.vault.faults import Fault
from worker_agents.devkit.vault.kubernetes import KubernetesAuth
from worker_agents.devkit.vault.kv import KeyValueEngine
from worker_agents.devkit.vault.log import Call
from worker_agents.devkit.vault.policies import Policy, allowed
from worker_agents.devkit.vault.tokens import Now, Token, Tokens

Condition = Literal[
    "active", "standby", "dr_secondary", "performance_standby", "no_active", "uninitialised", "sealed", "removed"
]

_HEALTH: Final[dict[Condition, int]] = {
    "active": 200,
    "standby": 429,
    "dr_secondary": 472,
    "performance_standby": 473,
    "no_active": 474,
    "uninitialised": 501,
    "sealed": 503,
    "removed": 530,
}
_VERSION: Final = "1.17.2"


class VaultApi:
    """One Vault's state. ``namespace`` is the only one that exists; without one the header is ignored.

    ``active_url`` is where a standby sends its clients; ``demands_request_header`` refuses calls without
    ``X-Vault-Request``, as agents can.
    """

    def __init__(self, now: Now) -> None:
        self._now = now
        self.condition: Condition = "active"
        self.active_url = ""
        self.namespace: str | None = None
        self.demands_request_header = False
        self.tokens = Tokens(now)
        self.policies: dict[str, Policy] = {}
        self.engines: dict[str, KeyValueEngine] = {}
        self.logins: dict[str, KubernetesAuth] = {}
        self.faults: list[Fault] = []

    def answer(self, call: Call) -> Response:
        """Serve ``call``; never raises."""
        try:
            return self._answer(call)
        except Refused as refused:
            return errors(refused)

    def _answer(self, call: Call) -> Response:
        if self.demands_request_header and not call.request_header:
            raise Refused(412, 'missing "X-Vault-Request" header')
        if call.path == "sys/health":
            return self._health()
        self._check_condition()
        if self.condition == "standby":
            return RedirectResponse(f"{self.active_url}/v1/{call.path}", 307)
        if self.namespace is not None and (call.namespace or "").strip("/") != self.namespace:
            raise permission_denied()
        login = self._login(call.path)
        if login is not None and call.method in ("POST", "PUT"):
            return document(auth=login.log_in(call.body).auth(self._now()))
        token = self.tokens.find(call.token)
        if token is None or not allowed(token.policies, self.policies, call.path, call.method):
            raise permission_denied()
        return self._authorised(call, token)

    def _check_condition(self) -> None:
        if self.condition in ("sealed", "uninitialised"):
            raise Refused(503, "Vault is sealed")
        if self.condition in ("no_active", "dr_secondary", "removed"):
            raise Refused(500, "local node not active but active cluster node not found")

    def _health(self) -> Response:
        known = {
            "initialized": self.condition != "uninitialised",
            "sealed": self.condition in ("sealed", "uninitialised"),
            "standby": self.condition not in ("active", "dr_secondary"),
            "performance_standby": self.condition == "performance_standby",
            "replication_performance_mode": "disabled",
            "replication_dr_mode": "secondary" if self.condition == "dr_secondary" else "disabled",
            "server_time_utc": int(self._now()),
            "version": _VERSION,
            "enterprise": self.namespace is not None,
            "echo_duration_ms": 0,
            "clock_skew_ms": 0,
        }
        return as_json(known, _HEALTH[self.condition])

    def _login(self, path: str) -> KubernetesAuth | None:
        mount = path.removeprefix("auth/").removesuffix("/login")
        return self.logins.get(mount) if path == f"auth/{mount}/login" else None

    def _authorised(self, call: Call, token: Token) -> Response:
        now = self._now()
        match (call.method, call.path):
            case ("GET", "auth/token/lookup-self"):
                return document(data=token.data(now), mount_type="token")
            case ("POST" | "PUT", "auth/token/renew-self"):
                warnings = self.tokens.renew(token, _increment(call.body))
                return document(auth=token.auth(now), warnings=warnings, mount_type="token")
            case ("POST" | "PUT", "auth/token/revoke-self"):
                self.tokens.revoke(token.id)
                return Response(status_code=204)
        for mount, engine in self.engines.items():
            if call.path.startswith(f"{mount}/"):
                return engine.answer(call.method, call.path.removeprefix(f"{mount}/"), call.query, call.body)
        raise Refused(404, f'no handler for route "{call.path}". route entry not found.')


def _increment(body: Any) -> float:
    increment = body.get("increment", 0) if isinstance(body, dict) else 0
    try:
        return float(str(increment).removesuffix("s"))
    except ValueError as error:
        raise Refused(400, "failed to parse increment") from error
