"""The sample policies in `examples/policies`: formatted, tested, and asked by the real executor of a real OPA."""

import json
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.support.opa_server import running_opa
from tests.support.programs import serving
from tests.support.setup_guide import block, container, shell
from tests.support.tools import TOOLS, tool
from worker_agents.clients.http import HttpClient
from worker_agents.clients.opa import OpaClient
from worker_agents.devkit.executor_kit import run_executor, ticket_for
from worker_agents.devkit.ports import free_ports
from worker_agents.executors.validate import ValidateExecutor
from worker_agents.model.errors import IntegrationRejected, Reason
from worker_agents.model.result import TaskResult

POLICIES = Path(__file__).parents[2] / "examples" / "policies"
TOKEN, NEXT_TOKEN = "token-of-today", "token-of-tomorrow"

DOCUMENTS = [
    json.loads(found)
    for found in re.findall(r"^```json\n(.*?)^```$", (POLICIES / "README.md").read_text(), re.MULTILINE | re.DOTALL)
]
ASKED = {each["ticket_id"]: each["parameters"] for each in DOCUMENTS if "parameters" in each}
SHOWN = {each["ticket_id"]: each["violations"] for each in DOCUMENTS if "violations" in each}

BUILT: dict[str, Any] = {
    **ASKED["supply-chain-1"]["input_data"],
    "metadata": {"simulated": False, "requires_review": False},
}


def opa_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(tool("opa")), *arguments]
    return subprocess.run(command, cwd=POLICIES, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("fmt", "--fail", "--list", "."),
        ("check", "--strict", "--v1-compatible", "."),
        ("test", "--coverage", "--threshold", "100", "--fail-on-empty", "."),
    ],
    ids=lambda arguments: arguments[0],
)
def test_opa_finds_nothing_to_say(arguments: tuple[str, ...]) -> None:
    ended = opa_command(*arguments)

    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout + ended.stderr


def test_every_policy_has_tests_and_stands_in_the_readme() -> None:
    policies = {path for path in POLICIES.rglob("*.rego") if not path.stem.endswith("_test")}
    asked_directly = {path for path in policies if "default allow := false" in path.read_text()}
    readme = (POLICIES / "README.md").read_text()

    assert len(asked_directly) == 4
    for policy in asked_directly:
        assert policy.with_stem(f"{policy.stem}_test").exists()
        assert f"({policy.relative_to(POLICIES)})" in readme


@pytest.fixture(scope="module")
def opa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that has the folder as it is, and asks for a token."""
    options = ["--authentication=token", "--authorization=basic", str(POLICIES)]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPA_TOKEN", TOKEN)
        environment.setenv("OPA_TOKEN_NEXT", NEXT_TOKEN)
        with running_opa(tmp_path_factory.mktemp("opa"), {}, options) as url:
            yield url


@pytest.fixture
async def client(opa: str) -> AsyncIterator[HttpClient]:
    http = HttpClient(opa, integration="opa", emit=lambda _: None, token=SecretStr(TOKEN))
    yield http
    await http.aclose()


async def ask(http: HttpClient, parameters: dict[str, Any]) -> TaskResult:
    executor = ValidateExecutor(emit=lambda _: None, opa_client=OpaClient(http), opa_fallback="fail")
    return await run_executor(executor, ticket_for("VALIDATE", parameters))


@pytest.mark.parametrize("ticket_id", SHOWN)
async def test_a_ticket_fails_with_the_violations_that_are_shown(client: HttpClient, ticket_id: str) -> None:
    result = await ask(client, ASKED[ticket_id])

    assert (result.success, result.reason) == (False, Reason.VERDICT_FAILED)
    assert result.output["violations"] == SHOWN[ticket_id]
    assert result.metadata["opa_metadata"]["raw_result"].keys() == {"allow", "violations"}


@pytest.mark.parametrize(
    ("policy", "asked"),
    [
        (
            "admission",
            {
                **ASKED["admission-1"]["input_data"],
                "namespace": "billing",
                "image": f"registry.example/team-a/billing@sha256:{'0123abcd' * 8}",
            },
        ),
        ("supply_chain", {**BUILT, "output": {**BUILT["output"], "signature": "MEUCIQ"}}),
        ("production_change", ASKED["production-change-1"]["input_data"]),
    ],
)
async def test_a_ticket_passes_and_its_warnings_are_told(client: HttpClient, policy: str, asked: object) -> None:
    result = await ask(client, {"policy_path": f"delivery/{policy}", "input_data": asked})

    warnings = {"admission": {"revision"}, "supply_chain": {"commit"}, "production_change": set()}
    assert result.success, result.error_message
    assert {each["rule_id"] for each in result.output["violations"] if not each["blocking"]} == warnings[policy]
    assert result.output["warnings"] == len(warnings[policy])


async def test_a_change_that_nobody_approved_is_denied(client: HttpClient) -> None:
    asked = {"environment": "production", "requested_by": "alex"}

    result = await ask(client, {"policy_path": "delivery/production_change", "input_data": asked})

    assert not result.success
    assert "approvals" in {each["rule_id"] for each in result.output["violations"]}


async def test_an_input_that_is_no_object_is_denied(client: HttpClient) -> None:
    result = await ask(client, {"policy_path": "delivery/admission", "input_data": [1, 2]})

    assert [each["rule_id"] for each in result.output["violations"]] == ["input"]


@pytest.mark.parametrize(("token", "status"), [(TOKEN, 200), (NEXT_TOKEN, 200), ("guess", 401)])
async def test_only_a_token_opens_decisions(opa: str, token: str, status: int) -> None:
    async with httpx.AsyncClient(base_url=opa, headers={"Authorization": f"Bearer {token}"}) as http:
        answers = [
            await http.post(f"/v1/data/{path}", json={"input": {}}) for path in ("delivery/admission", "absent/rule")
        ]

    assert [answer.status_code for answer in answers] == [status, status]


async def test_the_token_opens_nothing_else(opa: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=opa, headers=headers, follow_redirects=True) as http:
        refused = [
            await http.put("/v1/policies/own", content="package own"),
            await http.put("/v1/data/delivery/settings", json={}),
            await http.get("/v1/policies"),
            await http.get("/v1/data/delivery/settings"),
            await http.post("/v1/data", json={"input": {}}),
            await http.post("/v1/data/system/authz/allow", json={"input": {}}),
            await http.post("/v1/data/%73ystem/authz/allow", json={"input": {}}),
            await http.post("/v1/data//system/authz", json={"input": {}}),
            await http.post("/v1/query", json={"query": "x := opa.runtime()"}),
            await http.post("/v0/data/delivery/admission", json={}),
            await http.post("/", json={}),
        ]

    assert [answer.status_code for answer in refused] == [401] * len(refused)


async def test_anybody_may_see_whether_it_is_well(opa: str) -> None:
    async with httpx.AsyncClient(base_url=opa) as http:
        assert (await http.get("/health")).status_code == 200


async def test_a_worker_without_the_token_is_told_so(opa: str) -> None:
    http = HttpClient(opa, integration="opa", emit=lambda _: None)
    with pytest.raises(IntegrationRejected, match="401"):
        await ask(http, ASKED["admission-1"])
    await http.aclose()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """OPA as its manifest starts it, with the bundle that the guide's command makes."""
    folder = tmp_path_factory.mktemp("deployed")
    tool("opa")
    environment = {"PATH": f"{TOOLS}:{os.environ['PATH']}"}
    (build,) = (line for line in block("bash", "OPA", "opa build").splitlines() if line.startswith("opa build"))
    shell(build.replace("examples/policies", str(POLICIES)), folder, environment)
    manifest, address = container("opa.yaml", "Deployment"), f"127.0.0.1:{free_ports(1)[0]}"
    arguments = [each.replace("0.0.0.0:8181", address).replace("/policies/", f"{folder}/") for each in manifest["args"]]
    health = f"http://{address}{manifest['readinessProbe']['httpGet']['path']}"
    tokens = {each["name"]: each["valueFrom"]["secretKeyRef"]["key"] for each in manifest["env"]}
    with serving([str(tool("opa")), *arguments], health, folder, tokens):
        yield f"http://{address}"


@pytest.mark.parametrize("token", ["token", "next"])
async def test_opa_as_the_manifest_starts_it_decides_the_same_and_names_its_decision(deployed: str, token: str) -> None:
    http = HttpClient(deployed, integration="opa", emit=lambda _: None, token=SecretStr(token))

    result = await ask(http, ASKED["admission-1"])
    await http.aclose()

    assert result.output["violations"] == SHOWN["admission-1"]
    assert result.metadata["opa_metadata"]["decision_id"]


async def test_the_guides_check_asks_what_a_worker_asks(deployed: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "OPA_URL": deployed, "OPA_TOKEN": "token"}

    said = shell(block("bash", "OPA", "curl"), tmp_path, environment)

    assert json.loads(said.splitlines()[-1])["result"]["allow"] is False


def test_the_readme_and_the_guide_make_the_same_bundle() -> None:
    (here,) = re.findall(r"^opa build --bundle \.(.*)$", (POLICIES / "README.md").read_text(), re.MULTILINE)
    (there,) = re.findall(
        r"^opa build --bundle examples/policies(.*)$", block("bash", "OPA", "opa build"), re.MULTILINE
    )

    assert here == there
