"""BUILD, alone and on a clock of its own, with a Code Forge that does what each test says."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.scripted_work import Emitted, ScriptedWork
from worker_agents.clients.code_forge import PipelineStatus
from worker_agents.devkit.executor_kit import FakeContext, run_executor, ticket_for
from worker_agents.executors.build import BuildExecutor
from worker_agents.executors.fallback import FallbackChoice
from worker_agents.executors.pipeline import MAX_STAGES_SEEN
from worker_agents.model.errors import (
    BreakerOpen,
    IntegrationDisabled,
    IntegrationRejected,
    IntegrationUnavailable,
    InvalidParameters,
    JournalError,
    LeaseLost,
    Reason,
    TaskTimedOut,
    UnknownOutcome,
)
from worker_agents.model.result import TaskResult

DOWN = IntegrationUnavailable("code_forge pipeline: no connection")


def seen(status: str, **more: Any) -> PipelineStatus:
    return PipelineStatus.model_validate({"pipeline_id": "p-1", "status": status, **more})


def missing(http_status: int = 404, retry_after: float | None = None) -> PipelineStatus:
    return PipelineStatus.unseen("p-1", http_status, retry_after)


class ScriptedForge(ScriptedWork[PipelineStatus]):
    """Its work is pipelines."""

    async def submit_generation_request(self, **_: Any) -> str:
        raise AssertionError("a build generates nothing")

    async def trigger_pipeline(self, **trigger: Any) -> str:
        self.begin(trigger)
        return "p-1"

    async def get_pipeline_status(
        self, pipeline_id: str, headers: Mapping[str, str], *, within: float | None = None
    ) -> PipelineStatus:
        assert pipeline_id == "p-1"
        return self.poll(headers, within)


class Setup(Emitted):
    def __init__(self, forge: ScriptedForge | None, fallback: FallbackChoice = "simulate", **more: Any) -> None:
        super().__init__()
        self.executor = BuildExecutor(
            emit=self.events.append, code_forge_client=forge, fallback=fallback, rng=random.Random(1), **more
        )

    async def run(
        self, parameters: Mapping[str, Any] | None = None, context: FakeContext | None = None, **ticket: Any
    ) -> TaskResult:
        attempt = context or FakeContext(time_limit=20_000)
        return await run_executor(self.executor, ticket_for("BUILD", parameters, **ticket), attempt)


def resumed(age: float = 100.0, **more: Any) -> FakeContext:
    return FakeContext(resumed_from={"pipeline_id": "p-1"}, checkpoint_age=age, time_limit=20_000, **more)


async def test_a_pipeline_is_triggered_remembered_and_followed_to_its_end() -> None:
    image = {"type": "image", "name": "a-1:latest"}
    ended = seen(
        "completed", stage="COMPLETED", artifacts=[image], duration_ms=5000, sbom={"format": "x"}, signature="s"
    )
    forge = ScriptedForge([missing(), seen("queued", stage="QUEUED"), seen("running", stage="BUILDING"), ended])
    context = FakeContext(time_limit=20_000)

    result = await Setup(forge).run({"artifact_id": "a-1", "commit": "c0ffee"}, context)

    assert result.success
    stages = result.output.pop("stages")
    assert [(stage["name"], stage["status"]) for stage in stages] == [
        ("QUEUED", "queued"),
        ("BUILDING", "running"),
        ("COMPLETED", "completed"),
    ]
    assert all(stage["duration_ms"] > 0 for stage in stages[:2])
    assert result.output == {
        "pipeline_id": "p-1",
        "artifact_id": "a-1",
        "branch": "main",
        "commit_sha": "c0ffee",
        "artifacts": [image],
        "sbom": {"format": "x"},
        "signature": "s",
    }
    assert result.metadata == {
        "executor": "BuildExecutor",
        "simulated": False,
        "duration_seconds": pytest.approx(sum(context.sleeps), abs=0.001),
        "polls": 4,
        "pipeline_duration_ms": 5000,
        "stages_are": "observed",
        "requires_review": False,
    }
    assert context.checkpoints[0] == {"pipeline_id": "p-1", "stages": []}
    assert context.lines == [
        "triggered pipeline p-1 for artifact a-1",
        "pipeline p-1 is queued",
        "pipeline p-1 is running",
        "pipeline p-1 is completed",
    ]


async def test_what_is_sent_for_a_ticket_that_says_everything() -> None:
    forge = ScriptedForge([seen("completed")])
    parameters = {
        "artifact_id": "a-1",
        "ref": "release",
        "commit_sha": "c0ffee",
        "build_args": '{"JDK": "21"}',
        "env": "",
        "env_vars": {"CI": True},
    }

    await Setup(forge).run(parameters, plan_id="plan-1", intent_id="intent-1", decision_id="decision-1")

    (trigger,) = forge.begun
    assert trigger["artifact_id"] == "a-1"
    assert trigger["parameters"] == {
        "ticket_id": "ticket-1",
        "plan_id": "plan-1",
        "intent_id": "intent-1",
        "decision_id": "decision-1",
        "branch": "release",
        "commit_sha": "c0ffee",
        "build_args": {"JDK": "21"},
        "env": {"CI": True},
    }
    assert trigger["headers"]["Idempotency-Key"] == "ticket-1:pipeline"
    assert "traceparent" in trigger["headers"]
    assert trigger["within"] == 20_000


async def test_what_is_sent_for_a_ticket_that_says_nothing() -> None:
    forge = ScriptedForge([seen("completed")])

    result = await Setup(forge).run({"branch": " ", "unknown": 1})

    assert forge.begun[0]["artifact_id"] == "ticket-1"
    assert forge.begun[0]["parameters"] == {"ticket_id": "ticket-1", "branch": "main"}
    assert (result.output["artifact_id"], result.output["commit_sha"]) == ("ticket-1", None)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"build_args": "[1]"}, "build_args: .*must be a map"),
        ({"env": "A=s3cret"}, "env: .*must be a map, or the JSON text of one"),
        ({"env_vars": ["A=s3cret"]}, "env_vars: .*must be a map"),
        ({"artifact_id": {"a": 1}}, "artifact_id: "),
        ({"poll_interval_seconds": 0}, "poll_interval_seconds: "),
        ({"poll_interval_seconds": "inf"}, "poll_interval_seconds: "),
        ({"poll_interval_seconds": 3601}, "poll_interval_seconds: "),
        ({"timeout_seconds": -1}, "timeout_seconds: "),
    ],
)
async def test_parameters_that_make_no_sense_are_refused_by_name(parameters: dict[str, Any], sentence: str) -> None:
    forge = ScriptedForge()

    with pytest.raises(InvalidParameters, match=sentence) as raised:
        await Setup(forge).run(parameters)

    assert "s3cret" not in str(raised.value)
    assert forge.begun == []


async def test_a_later_attempt_goes_on_with_the_pipeline_of_the_first() -> None:
    forge, context = ScriptedForge([seen("completed")]), resumed(attempt=2)

    result = await Setup(forge).run(context=context)

    assert result.output["pipeline_id"] == "p-1"
    assert result.metadata["duration_seconds"] == pytest.approx(100, abs=1)
    assert forge.begun == []
    assert context.starts == []


@pytest.mark.parametrize("checkpoint", [{}, {"pipeline_id": ""}, {"pipeline_id": 5}, {"request_id": "r-1"}])
async def test_a_checkpoint_without_the_id_starts_nothing_anew(checkpoint: dict[str, Any]) -> None:
    forge = ScriptedForge([seen("completed")])

    with pytest.raises(UnknownOutcome):
        await Setup(forge).run(context=FakeContext(resumed_from=checkpoint))

    assert forge.begun == []


async def test_the_history_of_stages_survives_a_change_of_worker() -> None:
    forge = ScriptedForge([seen("queued", stage="QUEUED"), seen("running", stage="BUILDING")])
    context = FakeContext(cancel_at=40, time_limit=20_000)
    with pytest.raises(asyncio.CancelledError):
        await Setup(forge).run(context=context)

    ended = ScriptedForge([seen("completed", stage="COMPLETED")])
    result = await Setup(ended).run(context=context.next_attempt())

    assert [stage["name"] for stage in result.output["stages"]] == ["QUEUED", "BUILDING", "COMPLETED"]
    assert result.output["stages"][1]["duration_ms"] >= 30_000


@pytest.mark.parametrize(
    "stages", [[{"name": "QUEUED"}], [["QUEUED", "running", "nan"]], [["QUEUED", "running", "1e999"]]]
)
async def test_a_history_that_another_version_wrote_is_not_needed(stages: list[Any]) -> None:
    context = FakeContext(resumed_from={"pipeline_id": "p-1", "stages": stages})

    result = await Setup(ScriptedForge([seen("completed", stage="COMPLETED")])).run(context=context)

    assert [stage["name"] for stage in result.output["stages"]] == ["COMPLETED"]


async def test_a_server_that_never_stops_inventing_stages_fills_no_checkpoint() -> None:
    polls = [seen("running", stage=f"{number} %") for number in range(300)]
    context = FakeContext(time_limit=20_000)

    await Setup(ScriptedForge([*polls, seen("completed")])).run(context=context)

    assert len(context.checkpoints) == 1 + MAX_STAGES_SEEN


async def test_the_servers_own_history_is_preferred() -> None:
    stages = [{"name": "build", "status": "completed", "duration_ms": 5000}]

    result = await Setup(ScriptedForge([seen("completed", stage="completed", stages=stages)])).run()

    assert result.output["stages"] == stages
    assert result.metadata["stages_are"] == "reported"


@pytest.mark.parametrize("fallback", ["simulate", "fail"])
@pytest.mark.parametrize("status", ["failed", "cancelled", "timeout", "error", "partial"])
async def test_a_pipeline_that_fails_is_a_verdict(status: str, fallback: FallbackChoice) -> None:
    setup = Setup(ScriptedForge([seen(status, error="2 tests failed")]), fallback)

    result = await setup.run()

    assert not result.success
    assert not result.simulated
    assert result.error_message == f"pipeline {status}: 2 tests failed"
    assert result.reason is Reason.VERDICT_FAILED
    assert setup.fallbacks == []


async def test_a_pipeline_that_requires_review_succeeded_and_says_so() -> None:
    result = await Setup(ScriptedForge([seen("requires_review")])).run()

    assert result.success
    assert result.metadata["requires_review"] is True


@pytest.mark.parametrize("fallback", ["simulate", "fail"])
async def test_a_success_that_was_stored_as_failed_is_neither_verdict_nor_outage(fallback: FallbackChoice) -> None:
    """Contracts 1.9, defect 4."""
    stored = seen("failed", error="Object of type datetime is not JSON serializable")
    setup = Setup(ScriptedForge([stored]), fallback)

    with pytest.raises(UnknownOutcome, match="pipeline p-1 is stored as failed because Code Forge could not store"):
        await setup.run()

    assert setup.fallbacks == []


async def test_a_pipeline_that_is_not_found_at_first_is_waited_for() -> None:
    result = await Setup(ScriptedForge([missing()] * 5 + [seen("completed")])).run()

    assert result.success


async def test_a_pipeline_that_is_forgotten_is_neither_repeated_nor_simulated() -> None:
    forge = ScriptedForge([missing()])
    setup, context = Setup(forge), resumed(600)

    with pytest.raises(UnknownOutcome, match="accepted pipeline p-1 but does not know it any more"):
        await setup.run(context=context)

    assert 30 <= context.clock.monotonic() <= 60
    assert forge.begun == []
    assert setup.events == []


async def test_polls_are_quick_at_first_and_as_rare_as_the_ticket_wants() -> None:
    context = FakeContext(time_limit=20_000)

    polls = [*[seen("running")] * 30, seen("completed")]
    await Setup(ScriptedForge(polls)).run({"poll_interval_seconds": "120"}, context)

    assert context.sleeps[0] <= 0.5
    assert 96 <= context.sleeps[-1] <= 120


async def test_a_tiny_interval_pesters_nobody() -> None:
    context = FakeContext(time_limit=20_000)

    polls = [*[seen("running")] * 30, seen("completed")]
    await Setup(ScriptedForge(polls)).run({"poll_interval_seconds": 0.001}, context)

    assert min(context.sleeps) >= 0.4


async def test_the_wish_of_a_server_that_cannot_answer_makes_polls_rarer() -> None:
    context = FakeContext(time_limit=20_000)
    busy = IntegrationUnavailable("HTTP 503", retry_after=45)

    await Setup(ScriptedForge([busy, missing(429, retry_after=70), seen("completed")])).run(context=context)

    assert context.sleeps[1:] == [45, 70]


@pytest.mark.parametrize(
    ("parameters", "limit"), [({}, 14_400), ({"timeout_seconds": "600"}, 600)], ids=["setting", "ticket"]
)
async def test_a_pipeline_that_outlives_its_limit_is_an_outage(parameters: dict[str, Any], limit: float) -> None:
    setup, context = Setup(ScriptedForge([seen("running")])), FakeContext(time_limit=limit)

    result = await setup.run(parameters, context)

    assert result.simulated
    assert result.metadata["fallback_reason"] == "timeout"
    assert result.metadata["abandoned_pipeline_id"] == "p-1"
    assert limit - 10 <= context.clock.monotonic() < limit
    (event,) = setup.fallbacks
    assert (event.integration, event.reason, event.log_event) == ("code_forge", "timeout", "build_code_forge_error")


async def test_under_fail_the_limit_is_an_error_that_names_the_pipeline() -> None:
    context = FakeContext(time_limit=60)

    with pytest.raises(IntegrationUnavailable, match="pipeline p-1 was not over within 60 s") as raised:
        await Setup(ScriptedForge([seen("running")]), "fail", limit_seconds=60).run(context=context)

    assert raised.value.reason is Reason.TIMEOUT
    assert not raised.value.retryable


async def test_the_limit_is_also_the_attempts_where_the_ticket_does_not_say() -> None:
    assert Setup(None, limit_seconds=77).executor.time_limit(ticket_for("BUILD")) == 77


async def test_resuming_does_not_restart_the_clock() -> None:
    context = resumed(14_300)

    result = await Setup(ScriptedForge([seen("running")])).run(context=context)

    assert result.metadata["fallback_reason"] == "timeout"
    assert 90 <= context.clock.monotonic() <= 100


async def test_a_shorter_limit_of_the_attempt_is_the_engines() -> None:
    with pytest.raises(TaskTimedOut):
        await Setup(ScriptedForge([seen("running")])).run(context=FakeContext(time_limit=100))


async def test_code_forge_down_is_simulated_and_said() -> None:
    setup = Setup(ScriptedForge(starting=DOWN))

    result = await setup.run({"artifact_id": "a-1", "branch": "release"})

    assert result.success
    assert result.simulated
    assert result.output["artifact_url"] == "stub://artifact"
    assert result.output["build_id"] == "stub-ticket-1"
    assert result.output["commit_sha"] == "stub-commit-sha"
    assert (result.output["artifact_id"], result.output["branch"]) == ("a-1", "release")
    assert "abandoned_pipeline_id" not in result.metadata
    (event,) = setup.fallbacks
    assert (event.task_type, event.reason, event.message) == ("BUILD", "dependency_unavailable", str(DOWN))


async def test_the_simulated_result_has_every_field_of_the_real_one() -> None:
    real = await Setup(ScriptedForge([seen("completed")])).run()
    simulated = await Setup(ScriptedForge(starting=DOWN)).run()

    assert real.output.keys() <= simulated.output.keys()


async def test_code_forge_down_is_an_error_where_the_fallback_is_fail() -> None:
    setup = Setup(ScriptedForge(starting=DOWN), "fail")

    with pytest.raises(IntegrationUnavailable):
        await setup.run()

    assert setup.events == []


async def test_an_open_breaker_is_simulated_at_once_or_waited_for() -> None:
    refused = BreakerOpen("code_forge is down", integration="code_forge", retry_after=5)

    context = FakeContext()
    assert (await Setup(ScriptedForge(starting=refused)).run(context=context)).simulated
    assert context.sleeps == []

    with pytest.raises(BreakerOpen):
        await Setup(ScriptedForge(starting=refused), "fail").run()


async def test_a_breaker_that_opens_while_a_pipeline_runs_is_outlived() -> None:
    refused = BreakerOpen("code_forge is down", integration="code_forge", retry_after=5)
    forge = ScriptedForge([seen("running"), refused, refused, refused, seen("completed")])

    result = await Setup(forge, "fail").run()

    assert result.success


async def test_a_breaker_that_stays_open_lets_the_ticket_wait_and_resume() -> None:
    refused = BreakerOpen("code_forge is down", integration="code_forge", retry_after=5)
    setup, context = Setup(ScriptedForge([seen("running"), refused]), "fail"), FakeContext(time_limit=20_000)

    with pytest.raises(BreakerOpen):
        await setup.run(context=context)
    assert 60 <= context.clock.monotonic() <= 120

    recovered = ScriptedForge([seen("completed")])
    assert (await Setup(recovered).run(context=context.next_attempt())).success
    assert recovered.begun == []


async def test_code_forge_disabled() -> None:
    setup = Setup(None)

    assert (await setup.run()).metadata["fallback_reason"] == "integration_disabled"
    assert len(setup.fallbacks) == 1
    abandoned = await setup.run(context=resumed())
    assert abandoned.metadata["abandoned_pipeline_id"] == "p-1"
    with pytest.raises(IntegrationDisabled):
        await Setup(None, "fail").run()


@pytest.mark.parametrize(
    "error", [IntegrationRejected("HTTP 400"), UnknownOutcome("lost"), LeaseLost("stale"), JournalError("too large")]
)
async def test_what_is_no_outage_never_falls_back(error: Exception) -> None:
    setup = Setup(ScriptedForge(starting=error))

    with pytest.raises(type(error)):
        await setup.run()

    assert setup.events == []


async def test_a_worker_that_lost_its_lease_triggers_nothing_and_repeats_nothing() -> None:
    forge = ScriptedForge([seen("completed")])
    with pytest.raises(LeaseLost):
        await Setup(forge).run(context=FakeContext(lease_lost=True))
    assert forge.begun == []

    context = FakeContext()
    await Setup(forge).run(context=context)
    context.lease_lost = True
    with pytest.raises(LeaseLost):
        forge.begun[0]["before_repeat"]()


async def test_a_long_outage_while_it_polls_is_one() -> None:
    setup, context = Setup(ScriptedForge([DOWN])), FakeContext(time_limit=20_000)

    result = await setup.run(context=context)

    assert result.metadata["fallback_reason"] == "dependency_unavailable"
    assert result.metadata["abandoned_pipeline_id"] == "p-1"
    assert 60 <= context.clock.monotonic() <= 120


async def test_the_pipeline_of_a_cancelled_ticket_is_named_as_it_runs_on() -> None:
    context = FakeContext(cancel_at=5, cancel_with="cancelled by an operator", time_limit=20_000)

    with pytest.raises(asyncio.CancelledError):
        await Setup(ScriptedForge([seen("running")])).run(context=context)

    assert context.lines[-1] == "pipeline p-1 is left running: Code Forge has no call that would cancel it"


async def test_a_pipeline_that_another_worker_goes_on_with_is_not_called_left() -> None:
    context = FakeContext(cancel_at=5, cancel_with="partition_revoked", time_limit=20_000)

    with pytest.raises(asyncio.CancelledError):
        await Setup(ScriptedForge([seen("running")])).run(context=context)

    assert context.lines[-1] == "pipeline p-1 is running"
