"""VALIDATE `policy` against a real OPA: every form of an answer, and every way to get none."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.opa_server import running_opa
from worker_agents.clients.http import HttpClient, HttpLimits
from worker_agents.clients.opa import OpaClient
from worker_agents.devkit.executor_kit import FakeContext, VirtualClock, run_executor, ticket_for
from worker_agents.devkit.ports import free_ports
from worker_agents.executors.fallback import FallbackChoice
from worker_agents.executors.validate import ValidateExecutor
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable, Reason
from worker_agents.model.result import TaskResult
from worker_agents.telemetry.events import Event, FallbackUsed

POLICY = """
package policy

default allow := false

allow if input.user == "root"

limits.max := 5 if input.limited

violations contains {"rule": "no-user", "severity": "error", "msg": "nobody asks"} if not input.user

violations contains "a critical matter" if input.strange

by_file[name] := {"msg": message, "severity": "minor"} if some name, message in input.files

sure if input.certain

torn := 1 if input.torn

torn := 2 if input.torn
"""
AUTHORIZATION = """
package system.authz

default allow := false

allow if input.identity == "opa-token-1"
"""
STARTED_FOR_NOBODY = ["--authorization=basic", "--authentication=token"]


class Setup:
    """An executor that asks one OPA; time between tries costs nothing."""

    def __init__(self, url: str, fallback: FallbackChoice = "fail", **http: Any) -> None:
        self.events: list[Event] = []
        self.http = HttpClient(url, integration="opa", emit=self.events.append, clock=VirtualClock(), **http)
        self.executor = ValidateExecutor(
            emit=self.events.append, opa_client=OpaClient(self.http), opa_fallback=fallback
        )

    async def ask(self, path: str, given: Any = None, context: FakeContext | None = None) -> TaskResult:
        ticket = ticket_for("VALIDATE", {"policy_path": path, "input_data": {} if given is None else given})
        return await run_executor(self.executor, ticket, context)

    @property
    def fallbacks(self) -> list[FallbackUsed]:
        return [event for event in self.events if isinstance(event, FallbackUsed)]


Connect = Callable[..., Setup]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    made: list[Setup] = []

    def connected(url: str, **options: Any) -> Setup:
        made.append(Setup(url, **options))
        return made[-1]

    yield connected
    for setup in made:
        await setup.http.aclose()


@pytest.fixture(scope="module")
def opa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_opa(tmp_path_factory.mktemp("opa"), {"policy.rego": POLICY}) as url:
        yield url


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    policies = {"policy.rego": POLICY, "authz.rego": AUTHORIZATION}
    with running_opa(tmp_path_factory.mktemp("guarded"), policies, STARTED_FOR_NOBODY) as url:
        yield url


async def test_a_rule_that_allows_and_one_that_denies(opa: str, connect: Connect) -> None:
    setup = connect(opa)

    allowed = await setup.ask("policy/allow", {"user": "root"})
    denied = await setup.ask("policy/allow", {"user": "guest"})

    assert (allowed.success, allowed.output["validation_passed"]) == (True, True)
    assert allowed.metadata["opa_metadata"] == {"policy_path": "policy/allow", "raw_result": True}
    assert (denied.success, denied.reason) == (False, Reason.VERDICT_FAILED)
    assert denied.error_message == "denied by policy policy/allow"
    assert not denied.simulated


async def test_a_package_whose_allow_decides_and_whose_violations_say_why(opa: str, connect: Connect) -> None:
    denied = await connect(opa).ask("policy", {"strange": True})

    assert not denied.success
    assert denied.output["violations"] == [
        violation("policy_violation", "a critical matter", "CRITICAL"),
        violation("no-user", "nobody asks", "HIGH"),
    ]
    assert denied.output["violations_by_severity"] == {"CRITICAL": 1, "HIGH": 1}


async def test_violations_beside_an_allow_are_warnings(opa: str, connect: Connect) -> None:
    allowed = await connect(opa).ask("policy", {"user": "root", "strange": True, "files": {}})

    assert allowed.success
    assert allowed.output["violations"] == [
        violation("policy_violation", "a critical matter", "CRITICAL", blocking=False)
    ]
    assert allowed.output["warnings"] == 1


async def test_a_set_of_violations_passes_when_it_is_empty(opa: str, connect: Connect) -> None:
    setup = connect(opa)

    assert (await setup.ask("policy/violations", {"user": "guest"})).success
    failed = await setup.ask("policy/violations", {})
    assert (failed.success, failed.output["violations_by_severity"]) == (False, {"HIGH": 1})


async def test_an_object_of_violations(opa: str, connect: Connect) -> None:
    failed = await connect(opa).ask("policy/by_file", {"files": {"a.yaml": "no owner"}})

    assert (failed.success, failed.reason) == (False, Reason.VERDICT_FAILED)
    assert failed.output["violations"] == [violation("policy_violation", "no owner", "LOW")]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("policy/sure", "there is no such rule, or it is undefined for this input"),
        ("no/such/policy", "there is no such rule"),
        ("policy.allow", "packages are separated by slashes, as in policy/allow"),
        ("policy/limits", "it has neither allow nor violations"),
        ("policy/by_file", "it has neither allow nor violations"),
    ],
)
async def test_what_decides_nothing_never_passes(opa: str, connect: Connect, path: str, why: str) -> None:
    setup = connect(opa, fallback="simulate")

    result = await setup.ask(path, {"limited": True, "files": {}})

    assert (result.success, result.reason) == (False, Reason.POLICY_UNDEFINED)
    assert why in str(result.error_message)
    assert setup.fallbacks == []


async def test_input_as_text_is_read_as_the_json_that_it_is(opa: str, connect: Connect) -> None:
    assert (await connect(opa).ask("/policy/allow/", '{"user": "root"}')).success


@pytest.mark.parametrize("token", [None, SecretStr("wrong-token-1")])
async def test_a_refused_login_is_an_error_and_no_outage(
    guarded: str, connect: Connect, token: SecretStr | None
) -> None:
    setup = connect(guarded, fallback="simulate", token=token)

    with pytest.raises(IntegrationRejected, match="HTTP 401"):
        await setup.ask("policy/allow", {"user": "root"})

    assert setup.fallbacks == []


async def test_the_token_opens_the_door(guarded: str, connect: Connect) -> None:
    assert (await connect(guarded, token=SecretStr("opa-token-1")).ask("policy/allow", {"user": "root"})).success


async def test_a_policy_that_contradicts_itself_is_an_error_and_no_outage(opa: str, connect: Connect) -> None:
    setup = connect(opa, fallback="simulate")

    with pytest.raises(IntegrationRejected, match=r"cannot be evaluated: eval_conflict_error: .*conflicting"):
        await setup.ask("policy/torn", {"torn": True})

    assert setup.fallbacks == []


async def test_a_server_in_trouble_of_its_own_is_an_outage(connect: Connect, tmp_path: Path) -> None:
    """It is told to authorize and has no policy for that: HTTP 500 without an error of the policy."""
    with (
        running_opa(tmp_path, {"policy.rego": POLICY}, STARTED_FOR_NOBODY) as url,
        pytest.raises(IntegrationUnavailable, match="HTTP 500"),
    ):
        await connect(url).ask("policy/allow")


async def test_down_is_simulated_or_the_error_as_the_operator_chose(connect: Connect) -> None:
    (port,) = free_ports(1)
    simulating = connect(f"http://127.0.0.1:{port}", fallback="simulate")
    context = FakeContext()

    result = await simulating.ask("policy/allow", context=context)

    assert result.success
    assert result.simulated
    assert result.output["fallback_reason"] == "dependency_unavailable"
    assert [event.log_event for event in simulating.fallbacks] == ["validation_opa_error"]
    with pytest.raises(IntegrationUnavailable, match="opa decide: no connection"):
        await connect(f"http://127.0.0.1:{port}").ask("policy/allow")


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """A server that takes every connection and never answers."""
    over = asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    over.set()
    server.close()


async def test_too_slow_is_an_outage_after_its_tries(silent: str, connect: Connect) -> None:
    setup = connect(silent, fallback="simulate", limits=HttpLimits(read=0.05))

    result = await setup.ask("policy/allow")

    assert result.simulated
    assert "no answer in time (3 tries)" in setup.fallbacks[0].message


async def test_too_slow_for_the_attempt_falls_back_before_the_attempt_is_over(silent: str, connect: Connect) -> None:
    setup = connect(silent, fallback="simulate")

    result = await setup.ask("policy/allow", context=FakeContext(time_limit=0.2))

    assert result.simulated
    assert setup.fallbacks[0].log_event == "validation_opa_error"


def violation(rule_id: str, message: str, severity: str, *, blocking: bool = True) -> dict[str, Any]:
    found = {"rule_id": rule_id, "message": message, "severity": severity, "resource": None, "location": None}
    return {**found, "blocking": blocking}
