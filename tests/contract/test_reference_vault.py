"""The reference Vault gives the answers of the real one, as its API documentation shows them; asked by plain HTTP."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.devkit.vault import Fault, Policy, Role, ServiceAccount, VaultServer

ENVELOPE = {
    "request_id",
    "lease_id",
    "renewable",
    "lease_duration",
    "data",
    "wrap_info",
    "warnings",
    "auth",
    "mount_type",
}


class Http:
    """A client of a reference Vault, with its token."""

    def __init__(self, vault: VaultServer, client: httpx.AsyncClient) -> None:
        self.vault = vault
        self.client = client

    async def ask(self, method: str, path: str, body: Any = None, *, token: str = "root", **headers: str) -> Any:
        headers["X-Vault-Token"] = token
        return await self.client.request(method, f"{self.vault.url}/v1/{path}", json=body, headers=headers)


@pytest.fixture
async def http(clock: VirtualClock) -> AsyncIterator[Http]:
    async with VaultServer(clock=clock) as vault, httpx.AsyncClient(trust_env=False) as client:
        vault.tokens.create(["root"], token_id="root")
        yield Http(vault, client)


async def test_a_secret_comes_in_the_envelope(http: Http) -> None:
    written = await http.ask("POST", "secret/data/worker/db", {"data": {"password": "p", "port": 5432}})
    assert (written.status_code, written.json()["data"]["version"]) == (200, 1)

    answer = await http.ask("GET", "secret/data/worker/db")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document.keys() == ENVELOPE
    assert (document["lease_duration"], document["lease_id"], document["renewable"]) == (0, "", False)
    assert document["data"]["data"] == {"password": "p", "port": 5432}
    metadata = document["data"]["metadata"]
    assert metadata.keys() == {"created_time", "custom_metadata", "deletion_time", "destroyed", "version"}
    assert re.fullmatch(r"2026-01-01T00:00:00\.\d{9}Z", metadata["created_time"])
    assert metadata["deletion_time"] == ""


async def test_versions(http: Http) -> None:
    for value in ("one", "two"):
        await http.ask("PUT", "secret/data/a", {"data": {"v": value}})
    first = await http.ask("GET", "secret/data/a?version=1")
    assert first.json()["data"]["data"] == {"v": "one"}
    assert (await http.ask("GET", "secret/data/a")).json()["data"]["data"] == {"v": "two"}
    missing = await http.ask("GET", "secret/data/a?version=3")
    assert (missing.status_code, missing.json()) == (404, {"errors": []})


async def test_check_and_set(http: Http) -> None:
    fitting = {"data": {"v": 1}, "options": {"cas": 0}}
    assert (await http.ask("POST", "secret/data/a", fitting)).status_code == 200
    again = await http.ask("POST", "secret/data/a", fitting)
    assert again.status_code == 400
    assert again.json() == {"errors": ["check-and-set parameter did not match the current version"]}


@pytest.mark.parametrize("how", ["delete", "destroy"])
async def test_a_version_that_is_gone_is_a_404_with_its_metadata(http: Http, how: str) -> None:
    await http.ask("POST", "secret/data/a", {"data": {"v": 1}})
    assert (await http.ask("POST", f"secret/{how}/a", {"versions": [1]})).status_code == 204

    answer = await http.ask("GET", "secret/data/a")

    assert answer.status_code == 404
    assert answer.json()["data"]["data"] is None
    assert answer.json()["data"]["metadata"]["destroyed"] is (how == "destroy")
    assert bool(answer.json()["data"]["metadata"]["deletion_time"]) is (how == "delete")
    assert "errors" not in answer.json()


async def test_a_deleted_version_comes_back_and_a_planned_deletion_happens(http: Http, clock: VirtualClock) -> None:
    await http.ask("POST", "secret/data/a", {"data": {"v": 1}})
    await http.ask("DELETE", "secret/data/a")
    assert (await http.ask("GET", "secret/data/a")).status_code == 404
    await http.ask("POST", "secret/undelete/a", {"versions": [1]})
    assert (await http.ask("GET", "secret/data/a")).status_code == 200

    http.vault.kv("secret").write("b", {"v": 1}, delete_after=60)
    assert (await http.ask("GET", "secret/data/b")).json()["data"]["metadata"]["deletion_time"].startswith("2026")
    clock.advance(60)
    assert (await http.ask("GET", "secret/data/b")).status_code == 404


async def test_a_path_of_version_1_is_answered_with_a_warning(http: Http) -> None:
    answer = await http.ask("GET", "secret/worker/db")
    assert answer.status_code == 404
    assert answer.json()["warnings"][0].startswith("Invalid path for a versioned K/V secrets engine")


async def test_a_bad_token_a_missing_policy_and_an_unknown_path_look_the_same(http: Http) -> None:
    http.vault.policies["reader"] = Policy({"secret/data/worker/*": ["read"]})
    http.vault.kv("secret").write("worker/a", {"v": 1})
    token = http.vault.tokens.create(["reader"], ttl=60).id
    assert (await http.ask("GET", "secret/data/worker/a", token=token)).status_code == 200

    refused = [
        await http.ask("GET", "secret/data/worker/a", token="nonsense"),
        await http.ask("GET", "secret/data/other", token=token),
        await http.ask("GET", "nowhere/data/x", token=token),
        await http.ask("POST", "secret/data/worker/a", {"data": {}}, token=token),
    ]

    assert {answer.status_code for answer in refused} == {403}
    assert all(answer.json() == {"errors": ["permission denied"]} for answer in refused)
    assert (await http.ask("GET", "nowhere/data/x")).status_code == 404


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("secret/data/a", "secret/data/a", True),
        ("secret/data/a", "secret/data/ab", False),
        ("secret/data/a*", "secret/data/ab/c", True),
        ("secret/data/*", "secret/data/a/b", True),
        ("secret/data/*", "secret/data", False),
        ("secret/data/+/db", "secret/data/x/db", True),
        ("secret/data/+/db", "secret/data/x/y/db", False),
    ],
)
def test_patterns_of_policies(pattern: str, path: str, covered: bool) -> None:
    assert Policy({pattern: ["read"]}).allows(path, "read") is covered


async def test_a_kubernetes_login_checks_role_and_jwt(http: Http) -> None:
    kubernetes = http.vault.kubernetes("prod")
    kubernetes.roles["worker"] = Role(names=["worker-agents"], namespaces=["delivery"], policies=["reader"], ttl=600)
    kubernetes.accounts |= {
        "right": ServiceAccount("worker-agents", "delivery"),
        "else": ServiceAccount("x", "delivery"),
        "elsewhere": ServiceAccount("worker-agents", "x"),
    }

    async def login(role: str, jwt: str, mount: str = "prod") -> Any:
        return await http.ask("POST", f"auth/{mount}/login", {"role": role, "jwt": jwt}, token="")

    answer = await login("worker", "right")
    auth = answer.json()["auth"]
    assert answer.json()["data"] is None
    assert (auth["lease_duration"], auth["renewable"], auth["policies"]) == (600, True, ["default", "reader"])
    assert auth["metadata"]["service_account_name"] == "worker-agents"
    wrong = {
        ("absent", "right"): (400, ['invalid role name "absent"']),
        ("worker", "unknown"): (403, ["permission denied"]),
        ("worker", "else"): (403, ["service account name not authorized"]),
        ("worker", "elsewhere"): (403, ["namespace not authorized"]),
        ("worker", ""): (400, ["missing jwt"]),
    }
    for (role, jwt), (status, errors) in wrong.items():
        answer = await login(role, jwt)
        assert (answer.status_code, answer.json()) == (status, {"errors": errors})
    assert (await login("worker", "right", mount="kubernetes")).status_code == 403


async def test_a_token_is_looked_up_renewed_and_ends(http: Http, clock: VirtualClock) -> None:
    token = http.vault.tokens.create(["reader"], ttl=100, max_ttl=250).id
    looked_up = (await http.ask("GET", "auth/token/lookup-self", token=token)).json()["data"]
    assert (looked_up["ttl"], looked_up["renewable"], looked_up["policies"]) == (100, True, ["default", "reader"])

    for passed, granted in ((60, 100), (80, 100), (80, 30)):
        clock.advance(passed)
        answer = (await http.ask("POST", "auth/token/renew-self", {}, token=token)).json()
        assert answer["auth"]["lease_duration"] == granted
        assert bool(answer["warnings"]) is (granted == 30)
    clock.advance(30)

    assert (await http.ask("POST", "auth/token/renew-self", {}, token=token)).status_code == 403


async def test_tokens_without_end_and_those_that_cannot_be_renewed(http: Http) -> None:
    root = (await http.ask("GET", "auth/token/lookup-self")).json()["data"]
    assert (root["ttl"], root["expire_time"]) == (0, None)
    assert "renewable" not in root
    fixed = http.vault.tokens.create(ttl=60, renewable=False).id
    answer = await http.ask("POST", "auth/token/renew-self", {}, token=fixed)
    assert (answer.status_code, answer.json()) == (400, {"errors": ["lease is not renewable"]})


@pytest.mark.parametrize(
    ("condition", "health", "reading"),
    [
        ("active", 200, 404),
        ("standby", 429, 307),
        ("dr_secondary", 472, 500),
        ("performance_standby", 473, 404),
        ("no_active", 474, 500),
        ("uninitialised", 501, 503),
        ("sealed", 503, 503),
        ("removed", 530, 500),
    ],
)
async def test_conditions(http: Http, condition: Any, health: int, reading: int) -> None:
    http.vault.condition = condition
    answer = await http.ask("GET", "sys/health", token="")
    assert answer.status_code == health
    assert answer.json()["sealed"] is (condition in ("sealed", "uninitialised"))
    assert (await http.ask("GET", "secret/data/absent")).status_code == reading


async def test_a_namespace_is_demanded_where_there_is_one(http: Http) -> None:
    http.vault.api.namespace = "team"
    assert (await http.ask("GET", "secret/data/a")).status_code == 403
    assert (await http.ask("GET", "secret/data/a", **{"X-Vault-Namespace": "team/"})).status_code == 404


async def test_the_request_header_may_be_demanded(http: Http) -> None:
    http.vault.api.demands_request_header = True
    assert (await http.ask("GET", "secret/data/a")).status_code == 412
    assert (await http.ask("GET", "secret/data/a", **{"X-Vault-Request": "true"})).status_code == 404


async def test_faults_strike_as_often_as_told(http: Http) -> None:
    http.vault.fail(
        Fault(path="secret/", times=2, status=502), Fault(kind="raw", status=200), Fault(kind="drop", path="secret/")
    )
    answers = [await http.ask("GET", "secret/data/a") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [502, 502, 200]
    assert answers[0].json() == {"errors": []}
    with pytest.raises((httpx.NetworkError, httpx.ProtocolError)):
        await http.ask("GET", "secret/data/a")
    assert [call.status for call in http.vault.log] == [502, 502, 200, None]


async def test_an_outage_and_its_end(http: Http) -> None:
    await http.vault.stop()
    with pytest.raises(httpx.ConnectError):
        await http.ask("GET", "sys/health")
    await http.vault.start()
    assert (await http.ask("GET", "sys/health")).status_code == 200
