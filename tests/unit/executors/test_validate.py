"""VALIDATE, alone: what a ticket may ask for, what falls back and what never does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from worker_agents.clients.opa import Decision
from worker_agents.clients.trivy import ScanTarget, ScanTimedOut, TargetKind
from worker_agents.clients.trivy_report import ScanReport
from worker_agents.devkit.executor_kit import FakeContext, run_executor, ticket_for
from worker_agents.executors.validate import ValidateExecutor
from worker_agents.model.errors import (
    BreakerOpen,
    IntegrationDisabled,
    IntegrationRejected,
    IntegrationUnavailable,
    InvalidParameters,
    Postponed,
    Reason,
    TaskError,
)
from worker_agents.model.result import TaskResult
from worker_agents.model.violation import Severity, Violation
from worker_agents.telemetry.events import Event, FallbackUsed

CLEAN = ScanReport((), 12, "0.76.0", "filesystem")
FOUND = ScanReport(
    (Violation("CVE-1", "a", Severity.LOW), Violation("CVE-2", "b", Severity.CRITICAL)), 0, "0.76.0", "filesystem"
)
DOWN = IntegrationUnavailable("down")
OPEN = BreakerOpen("opa: down for a while", integration="opa", retry_after=5)
OUT_OF_MEMORY = TaskError("out of memory", reason=Reason.OUT_OF_MEMORY, retryable=True)
UNREADABLE = TaskError("no report", reason=Reason.REPORT_UNREADABLE)


class ScriptedOpa:
    def __init__(self, answer: Decision | Exception) -> None:
        self.answer = answer
        self.within: float | None = None
        self.asked: list[tuple[str, Any]] = []

    async def decide(
        self, policy_path: str, policy_input: Any, headers: Mapping[str, str], *, within: float | None = None
    ) -> Decision:
        assert "traceparent" in headers
        self.within = within
        self.asked.append((policy_path, policy_input))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class ScriptedTrivy:
    def __init__(self, answer: ScanReport | Exception = CLEAN) -> None:
        self.answer = answer
        self.scans: list[tuple[ScanTarget, float]] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self._changed = asyncio.Condition()

    async def busy(self, count: int) -> None:
        """Wait until so many scans were begun."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.scans) >= count)

    def scanners_for(self, kind: TargetKind) -> tuple[str, ...]:
        return ("misconfig",) if kind == "config" else ("secret", "misconfig")

    async def scan(self, target: ScanTarget, *, seconds: float) -> ScanReport:
        async with self._changed:
            self.scans.append((target, seconds))
            self._changed.notify_all()
        await self.goes_on.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class OneSource:
    """Answers every request for a source with the same directory, or error."""

    def __init__(self, answer: Path | Exception) -> None:
        self.answer = answer
        self.wanted: list[tuple[str | None, str | None, str | None]] = []
        self.open = 0

    def source(
        self, *, working_dir: str | None, repo_url: str | None, revision: str | None, log: Callable[[str], None]
    ) -> AbstractAsyncContextManager[Path]:
        del log
        self.wanted.append((working_dir, repo_url, revision))
        return self._lend()

    @asynccontextmanager
    async def _lend(self) -> AsyncIterator[Path]:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.open += 1
        try:
            yield self.answer
        finally:
            self.open -= 1


class Setup:
    def __init__(
        self,
        *,
        opa: Decision | Exception | None = None,
        trivy: ScanReport | Exception | None = None,
        source: Path | Exception = Path("/src"),
        **options: Any,
    ) -> None:
        self.events: list[Event] = []
        self.opa = None if opa is None else ScriptedOpa(opa)
        self.trivy = None if trivy is None else ScriptedTrivy(trivy)
        self.workspaces = OneSource(source)
        self.executor = ValidateExecutor(
            emit=self.events.append, opa_client=self.opa, trivy=self.trivy, workspaces=self.workspaces, **options
        )

    async def run(self, parameters: Mapping[str, Any], context: FakeContext | None = None) -> TaskResult:
        return await run_executor(self.executor, ticket_for("VALIDATE", parameters), context)

    async def scan(self, context: FakeContext | None = None, **parameters: Any) -> TaskResult:
        return await self.run({"validation_type": "sast", **parameters}, context)

    @property
    def log_events(self) -> list[str]:
        return [event.log_event for event in self.events if isinstance(event, FallbackUsed)]


# --- what a ticket may ask for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [{}, {"validation_type": "opa"}, {"validation_type": " Policy "}, {"validation_type": "", "policy_path": ""}],
)
async def test_without_more_words_the_default_policy_is_asked(parameters: dict[str, Any]) -> None:
    setup = Setup(opa=Decision(defined=True, result=True))

    result = await setup.run(parameters)

    assert setup.opa is not None
    assert setup.opa.asked == [("policy/allow", {})]
    assert result.output == {
        "validation_passed": True,
        "violations": [],
        "violations_by_severity": {},
        "violations_left_out": 0,
        "warnings": 0,
        "validation_type": "policy",
        "rules_checked": 1,
    }
    assert result.metadata == {
        "executor": "ValidateExecutor",
        "simulated": False,
        "duration_seconds": 0.0,
        "client_type": "dedicated",
        "opa_metadata": {"policy_path": "policy/allow", "raw_result": True},
    }


@pytest.mark.parametrize(
    ("given", "asked"),
    [({"a": 1}, {"a": 1}), ('{"a": 1}', {"a": 1}), (" [1]", [1]), ("plain", "plain"), (None, {}), (5, 5)],
)
async def test_the_input_is_any_json_or_its_text(given: Any, asked: Any) -> None:
    setup = Setup(opa=Decision(defined=True, result=True))

    await setup.run({"input_data": given})

    assert setup.opa is not None
    assert setup.opa.asked == [("policy/allow", asked)]


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"validation_type": "sonarqube"}, "'sonarqube' is not available: this worker has policy .* and sast"),
        ({"validation_type": "snyk"}, "'snyk' is not available"),
        ({"validation_type": "iac"}, "'iac' is not available"),
        ({"validation_type": ["policy"]}, "validation_type"),
        ({"policy_path": "../admin"}, "policy_path: .*names separated by slashes"),
        ({"policy_path": 5}, "policy_path"),
        ({"input_data": "{broken"}, "input_data: .*starts like JSON, but is none"),
        ({"validation_type": "sast", "scan_target": "repo"}, "'repo' is none of fs, config, image, sbom"),
        ({"validation_type": "sast", "scan_target": "image"}, "image is missing"),
        ({"validation_type": "sast", "scan_target": "image", "image": "--input=/etc/passwd"}, "image is not"),
        ({"validation_type": "sast", "scan_target": "image", "image": "a b"}, "image is not"),
        ({"validation_type": "sast", "scan_target": "sbom"}, "sbom_path is missing"),
    ],
)
async def test_what_cannot_be_asked(parameters: dict[str, Any], sentence: str) -> None:
    setup = Setup(opa=Decision(defined=True, result=True), trivy=CLEAN)

    with pytest.raises(InvalidParameters, match=sentence):
        await setup.run(parameters)

    assert setup.opa is not None
    assert setup.trivy is not None
    assert (setup.opa.asked, setup.trivy.scans) == ([], [])


# --- policy ---------------------------------------------------------------------------------------------------------


async def test_an_undefined_policy_is_a_failed_verdict_of_its_own() -> None:
    setup = Setup(opa=Decision(defined=False))

    result = await setup.run({})

    assert (result.success, result.reason, result.simulated) == (False, Reason.POLICY_UNDEFINED, False)
    assert result.output["validation_passed"] is False
    assert setup.log_events == []


@pytest.mark.parametrize("outage", [DOWN, OPEN, None])
async def test_opa_away_is_simulated_or_the_error(outage: Exception | None) -> None:
    setup = Setup(opa=outage)

    result = await setup.run({})

    assert result.simulated
    assert result.metadata["client_type"] == "fallback"
    assert setup.log_events == ["validation_opa_error"]
    with pytest.raises(type(outage or IntegrationDisabled("off"))):
        await Setup(opa=outage, opa_fallback="fail").run({})


async def test_a_question_that_opa_refuses_is_never_simulated() -> None:
    setup = Setup(opa=IntegrationRejected("HTTP 400"))

    with pytest.raises(IntegrationRejected):
        await setup.run({})

    assert setup.log_events == []


async def test_opa_leaves_time_for_its_fallback() -> None:
    setup = Setup(opa=Decision(defined=True, result=True))

    await setup.run({}, FakeContext(time_limit=10))

    assert setup.opa is not None
    assert setup.opa.within == pytest.approx(9)


async def test_a_warning_of_opa_is_logged() -> None:
    context = FakeContext()

    await Setup(opa=Decision(defined=True, result=True, warning="no input")).run({}, context)

    assert context.lines == ["opa: no input"]


# --- sast -----------------------------------------------------------------------------------------------------------


async def test_a_scan_fails_by_findings_of_the_failing_severities() -> None:
    setup = Setup(trivy=FOUND)

    result = await setup.scan(working_dir="app")

    assert (result.success, result.reason) == (False, Reason.VERDICT_FAILED)
    assert result.error_message == "1 of 2 findings fail: CRITICAL, HIGH"
    assert [each["rule_id"] for each in result.output["violations"] if each["blocking"]] == ["CVE-2"]
    assert result.output["violations_by_severity"] == {"CRITICAL": 1, "LOW": 1}
    assert (result.output["validation_type"], result.output["warnings"]) == ("sast", 1)
    assert result.metadata["trivy_metadata"]["fail_severities"] == ["CRITICAL", "HIGH"]
    assert setup.workspaces.wanted == [("app", None, None)]
    assert setup.workspaces.open == 0


async def test_with_no_failing_severities_findings_are_warnings() -> None:
    result = await Setup(trivy=FOUND, fail_severities=[]).scan()

    assert (result.success, result.output["warnings"]) == (True, 2)


async def test_a_revision_is_scanned_in_its_checkout() -> None:
    setup = Setup(trivy=CLEAN)

    result = await setup.scan(repo_url="https://git/app", revision="main", scan_target="config")

    assert setup.workspaces.wanted == [(None, "https://git/app", "main")]
    assert setup.trivy is not None
    assert setup.trivy.scans[0][0] == ScanTarget("config", "/src")
    assert result.metadata["trivy_metadata"]["scanners"] == ["misconfig"]
    assert result.output["rules_checked"] == 12


async def test_an_image_needs_no_directory() -> None:
    setup = Setup(trivy=CLEAN)

    await setup.scan(scan_target="image", image="registry:5000/team/app:1.2")

    assert setup.workspaces.wanted == []
    assert setup.trivy is not None
    assert setup.trivy.scans[0][0] == ScanTarget("image", "registry:5000/team/app:1.2")


@pytest.mark.parametrize(
    ("asked", "time_limit", "seconds"),
    [(None, 3600.0, 300.0), ("60", 3600.0, 60.0), (None, 100.0, 90.0), (5.0, 5.0, 4.5), (None, 200.0, 190.0)],
)
async def test_a_scan_ends_before_the_attempt_does(asked: Any, time_limit: float, seconds: float) -> None:
    setup = Setup(trivy=CLEAN)

    await setup.scan(FakeContext(time_limit=time_limit), timeout_seconds=asked)

    assert setup.trivy is not None
    assert setup.trivy.scans[0][1] == pytest.approx(seconds)
    assert setup.executor.time_limit(ticket_for("VALIDATE")) > 300


@pytest.mark.parametrize(
    ("outage", "log_event"),
    [
        (DOWN, "validation_sast_error"),
        (ScanTimedOut("slow"), "validation_sast_timeout"),
        (None, "validation_sast_error"),
    ],
)
async def test_trivy_away_is_simulated_or_the_error(outage: Exception | None, log_event: str) -> None:
    setup = Setup(trivy=outage)

    result = await setup.scan()

    assert result.simulated
    assert result.output["validation_type"] == "sast"
    assert setup.log_events == [log_event]
    with pytest.raises(type(outage or IntegrationDisabled("off"))):
        await Setup(trivy=outage, trivy_fallback="fail").scan()


@pytest.mark.parametrize("error", [IntegrationRejected("fatal"), OUT_OF_MEMORY, UNREADABLE])
async def test_what_says_nothing_about_trivys_health_is_never_simulated(error: TaskError) -> None:
    setup = Setup(trivy=error)

    with pytest.raises(TaskError) as raised:
        await setup.scan()

    assert raised.value is error
    assert setup.log_events == []


@pytest.mark.parametrize("trivy", [CLEAN, None])
async def test_a_wrong_directory_is_refused_with_and_without_trivy(trivy: ScanReport | None) -> None:
    setup = Setup(trivy=trivy, source=InvalidParameters("parameters: working_dir: leads out"))

    with pytest.raises(InvalidParameters):
        await setup.scan(working_dir="..")

    assert setup.log_events == []


async def test_a_checkout_that_fails_is_no_outage_of_trivy() -> None:
    setup = Setup(trivy=CLEAN, source=IntegrationUnavailable("git: no connection"))

    with pytest.raises(IntegrationUnavailable, match="git"):
        await setup.scan(repo_url="https://git/app")

    assert setup.log_events == []


async def test_without_trivy_nothing_is_checked_out() -> None:
    setup = Setup(source=IntegrationUnavailable("git: no connection"))

    assert (await setup.scan(repo_url="https://git/app")).simulated
    assert setup.workspaces.wanted == []


async def test_a_scan_without_a_place_is_postponed_and_decisions_are_not() -> None:
    setup = Setup(opa=Decision(defined=True, result=True), trivy=CLEAN, concurrent_scans=2)
    assert setup.trivy is not None
    setup.trivy.goes_on.clear()
    scans = [asyncio.create_task(setup.scan()) for _ in range(2)]
    await setup.trivy.busy(2)

    assert (await setup.run({})).success
    with pytest.raises(Postponed, match="TRIVY_CONCURRENT_SCANS") as postponed:
        await setup.scan()
    assert postponed.value.retry_after == 2.0
    assert len(setup.trivy.scans) == 2
    setup.trivy.goes_on.set()
    assert all([(await scan).success for scan in scans])
    assert (await setup.scan()).success


async def test_nothing_is_remembered_as_nothing_was_begun() -> None:
    context = FakeContext()

    await Setup(trivy=CLEAN).scan(context)
    await Setup(opa=Decision(defined=True, result=True)).run({}, context)

    assert context.checkpoints == []
    assert context.starts == []


# --- a bill of materials --------------------------------------------------------------------------------------------


async def test_a_bill_of_materials_lies_in_the_working_directory(tmp_path: Path) -> None:
    setup = Setup(trivy=CLEAN, source=tmp_path)
    (tmp_path / "bom.json").write_text("{}")

    await setup.scan(scan_target="sbom", sbom_path="bom.json")

    assert setup.trivy is not None
    assert setup.trivy.scans[0][0] == ScanTarget("sbom", str(tmp_path / "bom.json"))


@pytest.mark.parametrize("path", ["../bom.json", "/etc/passwd", "link.json", "absent.json", ".", "a\0b", "loop"])
async def test_a_bill_of_materials_from_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "bom.json").write_text("{}")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "link.json").symlink_to(tmp_path / "bom.json")
    (tmp_path / "source" / "loop").symlink_to(tmp_path / "source" / "loop")

    with pytest.raises(InvalidParameters, match="sbom_path"):
        await Setup(trivy=CLEAN, source=tmp_path / "source").scan(scan_target="sbom", sbom_path=path)
