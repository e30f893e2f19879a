"""Vault's client over the real hvac and the real requests, with a transport that answers from a table."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr
from requests.adapters import BaseAdapter

from worker_agents.clients.vault import MAX_CACHED_SECRETS, KubernetesLogin, Login, TokenLogin, VaultClient
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable
from worker_agents.telemetry.events import Event, ExternalCall

Answer = tuple[int, Any] | Exception


class FakeVault(BaseAdapter):
    """A transport for ``requests``: ``answers`` maps "METHOD path" to what to answer, or to what decides it."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Answer | Callable[[requests.PreparedRequest], Answer]] = {}
        self.requests: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.requests.append(request)
        answer = self.answers.get(f"{request.method} {request.path_url}", (404, {"errors": []}))
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        response = requests.Response()
        response.status_code, body = answer
        response.headers["Content-Type"] = "application/json"
        response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
        response.request, response.url = request, str(request.url)
        return response

    def close(self) -> None:
        pass

    @property
    def asked(self) -> list[str]:
        return [f"{request.method} {request.path_url}" for request in self.requests]


DB = "GET /v1/secret/data/worker/db"
LOGIN = "POST /v1/auth/kubernetes/login"


def bytes_of(request: requests.PreparedRequest) -> bytes:
    assert isinstance(request.body, bytes)
    return request.body


def kv2(**values: Any) -> Answer:
    return 200, {"data": {"data": values, "metadata": {"version": 1}}}


class Setup:
    """A client, its clock and the Vault behind it."""

    def __init__(self, login: Login | None = None, **more: Any) -> None:
        self.vault = FakeVault()
        self.clock = VirtualClock()
        self.events: list[Event] = []
        session = requests.Session()
        session.mount("http://", self.vault)
        self.client = VaultClient(
            "http://vault.test:8200",
            login=login or TokenLogin(SecretStr("t0ken")),
            emit=self.events.append,
            clock=self.clock,
            session=session,
            **more,
        )

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(event.operation, event.outcome) for event in self.events if isinstance(event, ExternalCall)]


async def test_a_secret_is_read_once_and_kept_for_a_while() -> None:
    setup = Setup(cache_seconds=60)
    setup.vault.answers[DB] = kv2(password="p", port=5432)

    assert await setup.client.get_secret("/worker/db/", "password") == "p"
    assert await setup.client.get_secret("worker/db", "port") == "5432"
    assert setup.vault.asked == [DB]
    assert setup.vault.requests[0].headers["X-Vault-Token"] == "t0ken"

    setup.clock.advance(61)
    setup.vault.answers[DB] = kv2(password="new")
    assert await setup.client.get_secret("worker/db", "password") == "new"


async def test_kv_version_1_another_mount_and_a_namespace() -> None:
    setup = Setup(mount="old", kv_version=1, namespace="team")
    setup.vault.answers["GET /v1/old/worker/db"] = 200, {"data": {"password": "p"}}

    assert await setup.client.get_secret("worker/db", "password") == "p"
    assert setup.vault.requests[0].headers["X-Vault-Namespace"] == "team"


async def test_an_expired_token_is_renewed_once_with_the_jwt_of_the_moment(tmp_path: Path) -> None:
    jwt_file = tmp_path / "token"
    jwt_file.write_text("jwt-1\n")
    setup = Setup(KubernetesLogin("worker-agents", jwt_file))
    tokens = iter(["old", "new"])
    setup.vault.answers[LOGIN] = lambda _: (200, {"auth": {"client_token": next(tokens)}})
    setup.vault.answers[DB] = lambda request: (
        kv2(password="p") if request.headers["X-Vault-Token"] == "new" else (403, {"errors": ["permission denied"]})
    )

    await setup.client.log_in()
    jwt_file.write_text("jwt-2\n")

    assert await setup.client.get_secret("worker/db", "password") == "p"
    logins = [json.loads(bytes_of(request)) for request in setup.vault.requests if request.method == "POST"]
    assert [login["jwt"] for login in logins] == ["jwt-1", "jwt-2"]
    assert setup.outcomes == [("login", "ok"), ("read", "rejected"), ("login", "ok"), ("read", "ok")]


async def test_a_policy_that_forbids_is_not_asked_for_ever() -> None:
    setup = Setup()
    setup.vault.answers[DB] = 403, {"errors": ["permission denied"]}

    with pytest.raises(IntegrationRejected, match="reading worker/db is forbidden"):
        await setup.client.get_secret("worker/db", "password")

    assert setup.vault.asked == [DB, DB]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((400, {"errors": ["bad"]}), IntegrationRejected),
        ((401, {"errors": []}), IntegrationRejected),
        ((404, {"errors": []}), IntegrationRejected),
        ((404, {"data": {"data": None, "metadata": {"deletion_time": "2026-01-01"}}}), IntegrationRejected),
        ((412, {"errors": []}), IntegrationUnavailable),
        ((429, {"errors": []}), IntegrationUnavailable),
        ((500, {"errors": ["internal"]}), IntegrationUnavailable),
        ((501, {"errors": []}), IntegrationUnavailable),
        ((502, b"<html>"), IntegrationUnavailable),
        ((503, {"errors": ["Vault is sealed"]}), IntegrationUnavailable),
        ((200, b"<html>Welcome</html>"), IntegrationUnavailable),
        ((200, {"data": None}), IntegrationUnavailable),
        ((200, {"data": {"data": "text"}}), IntegrationUnavailable),
        (requests.exceptions.ConnectionError("refused: token=t0ken"), IntegrationUnavailable),
        (requests.exceptions.ReadTimeout("slow"), IntegrationUnavailable),
    ],
)
async def test_every_answer_becomes_one_of_our_errors(answer: Answer, error: type[Exception]) -> None:
    setup = Setup()
    setup.vault.answers[DB] = answer

    with pytest.raises(error) as raised:
        await setup.client.get_secret("worker/db", "password")

    assert type(raised.value) is error
    assert "t0ken" not in str(raised.value)
    assert raised.value.__suppress_context__


async def test_a_time_out_is_counted_as_one() -> None:
    setup = Setup()
    setup.vault.answers[DB] = requests.exceptions.ConnectTimeout("slow")

    with pytest.raises(IntegrationUnavailable):
        await setup.client.get_secret("worker/db", "password")

    assert ("read", "timeout") in setup.outcomes


async def test_a_missing_key_is_named_and_its_neighbours_are_not() -> None:
    setup = Setup()
    setup.vault.answers[DB] = kv2(password="p")

    with pytest.raises(IntegrationRejected, match=r"the secret worker/db has no key 'user'$"):
        await setup.client.get_secret("worker/db", "user")


async def test_a_login_that_cannot_read_its_jwt_says_so(tmp_path: Path) -> None:
    setup = Setup(KubernetesLogin("worker-agents", tmp_path / "absent"))

    with pytest.raises(IntegrationUnavailable, match="could not read the service account token: No such file"):
        await setup.client.log_in()


async def test_a_login_that_is_answered_with_nonsense_is_unavailable(tmp_path: Path) -> None:
    jwt_file = tmp_path / "token"
    jwt_file.write_text("jwt")
    setup = Setup(KubernetesLogin("worker-agents", jwt_file))
    setup.vault.answers[LOGIN] = 200, b"<html>"

    with pytest.raises(IntegrationUnavailable, match="something else than a secret"):
        await setup.client.log_in()


async def test_tokens_lying_about_on_the_machine_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "somebody-elses")
    jwt_file = tmp_path / "token"
    jwt_file.write_text("jwt")
    setup = Setup(KubernetesLogin("worker-agents", jwt_file))
    setup.vault.answers[LOGIN] = 200, {"auth": {"client_token": "mine"}}
    setup.vault.answers[DB] = kv2(password="p")

    await setup.client.get_secret("worker/db", "password")

    assert os.environ["VAULT_TOKEN"] == "somebody-elses"
    assert [request.headers.get("X-Vault-Token") for request in setup.vault.requests] == [None, "mine"]


async def test_the_cache_does_not_grow_without_end() -> None:
    setup = Setup()
    for number in range(MAX_CACHED_SECRETS + 5):
        setup.vault.answers[f"GET /v1/secret/data/s{number}"] = kv2(a="1")
        await setup.client.get_secret(f"s{number}", "a")

    assert len(setup.client._cache) == MAX_CACHED_SECRETS
    await setup.client.aclose()
    assert setup.client._cache == {}
