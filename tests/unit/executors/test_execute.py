"""EXECUTE, alone and on a clock of its own, with a Code Forge that does what each test says."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.scripted_work import Emitted, ScriptedWork
from worker_agents.clients.code_forge import GenerationStatus
from worker_agents.devkit.executor_kit import FakeContext, run_executor, ticket_for
from worker_agents.executors.execute import ExecuteExecutor
from worker_agents.executors.fallback import FallbackChoice
from worker_agents.model.errors import (
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
from worker_agents.model.ticket import Ticket

TEMPLATE = {"template_id": "service", "language": "go"}
DOWN = IntegrationUnavailable("code_forge generate: no connection")


def seen(status: str, **more: Any) -> GenerationStatus:
    return GenerationStatus.model_validate({"request_id": "r-1", "status": status, **more})


def hidden(http_status: int = 500, retry_after: float | None = None) -> GenerationStatus:
    return GenerationStatus.unseen("r-1", http_status, retry_after)


class ScriptedForge(ScriptedWork[GenerationStatus]):
    """Its work is generations."""

    async def submit_generation_request(self, **submission: Any) -> str:
        self.begin(submission)
        return "r-1"

    async def get_generation_status(
        self, request_id: str, headers: Mapping[str, str], *, within: float | None = None
    ) -> GenerationStatus:
        assert request_id == "r-1"
        return self.poll(headers, within)


class Setup(Emitted):
    def __init__(self, forge: ScriptedForge | None, fallback: FallbackChoice = "simulate") -> None:
        super().__init__()
        self.executor = ExecuteExecutor(
            emit=self.events.append, code_forge_client=forge, fallback=fallback, rng=random.Random(1)
        )

    async def run(self, parameters: Mapping[str, Any] = TEMPLATE, context: FakeContext | None = None) -> Any:
        return await run_executor(self.executor, ticket(parameters), context)


def ticket(parameters: Mapping[str, Any] = TEMPLATE) -> Ticket:
    return ticket_for("EXECUTE", parameters)


async def test_a_generation_is_submitted_remembered_and_followed_to_its_end() -> None:
    artifact = {"type": "code", "content_hash": "abc"}
    forge = ScriptedForge([hidden(404), hidden(500), seen("completed", artifacts=[artifact], pipeline_id="p-1")])
    context = FakeContext("ticket-1")

    result = await Setup(forge).run({**TEMPLATE, "target_repo": "git@x:y.git", "branch": "main"}, context)

    assert result.success
    assert result.output == {"request_id": "r-1", "artifacts": [artifact], "pipeline_id": "p-1"}
    assert result.metadata == {
        "executor": "ExecuteExecutor",
        "runtime": "code_forge",
        "simulated": False,
        "duration_seconds": pytest.approx(sum(context.sleeps), abs=0.001),
        "polls": 3,
    }
    assert context.checkpoints == [{"request_id": "r-1"}]
    (submission,) = forge.begun
    assert submission["headers"]["Idempotency-Key"] == "ticket-1:generate"
    assert submission["template_id"] == "service"
    assert submission["parameters"]["language"] == "go"
    assert (submission["target_repo"], submission["branch"]) == ("git@x:y.git", "main")


async def test_the_template_may_be_given_by_its_other_name() -> None:
    forge = ScriptedForge([seen("completed")])

    await Setup(forge).run({"template_id": "", "template": "service", "runtime": "Code_Forge", "command": ""})

    assert forge.begun[0]["template_id"] == "service"


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({}, "template_id \\(or template\\) is missing: this worker executes through Code Forge templates only"),
        ({"command": "ls"}, "template_id \\(or template\\) is missing"),
        ({**TEMPLATE, "runtime": "k8s"}, "runtime 'k8s' is not available: this worker executes through"),
        ({**TEMPLATE, "command": ["ls", "-l"]}, "command cannot be run"),
        ({"template_id": 5}, "template_id"),
        ({**TEMPLATE, "timeout_seconds": "-1"}, "timeout_seconds"),
        ({**TEMPLATE, "timeout_seconds": "nan"}, "timeout_seconds"),
        ({**TEMPLATE, "timeout_seconds": 1e300}, "timeout_seconds"),
    ],
)
async def test_what_it_cannot_do_is_refused_with_a_sentence(parameters: dict[str, Any], sentence: str) -> None:
    forge = ScriptedForge()

    with pytest.raises(InvalidParameters, match=sentence):
        await Setup(forge).run(parameters)

    assert forge.begun == []


async def test_a_later_attempt_goes_on_with_the_generation_of_the_first() -> None:
    forge = ScriptedForge([seen("completed")])
    context = FakeContext(resumed_from={"request_id": "r-1"}, checkpoint_age=100, attempt=2)

    result = await Setup(forge).run(context=context)

    assert result.output["request_id"] == "r-1"
    assert result.metadata["duration_seconds"] == pytest.approx(100, abs=1)
    assert forge.begun == []
    assert context.starts == []
    assert context.checkpoints == []


async def test_a_checkpoint_without_the_id_starts_nothing_anew() -> None:
    forge = ScriptedForge([seen("completed")])

    with pytest.raises(UnknownOutcome):
        await Setup(forge).run(context=FakeContext(resumed_from={"phase": 1}))

    assert forge.begun == []


@pytest.mark.parametrize("fallback", ["simulate", "fail"])
@pytest.mark.parametrize("status", ["failed", "cancelled", "error", "timeout"])
async def test_a_generation_that_fails_is_a_verdict(status: str, fallback: FallbackChoice) -> None:
    setup = Setup(ScriptedForge([seen(status, error="no such template")]), fallback)

    result = await setup.run()

    assert not result.success
    assert not result.simulated
    assert result.error_message == f"generation {status}: no such template"
    assert result.reason is Reason.VERDICT_FAILED
    assert setup.fallbacks == []


async def test_polls_are_quick_at_first_and_grow_rare() -> None:
    context = FakeContext()

    await Setup(ScriptedForge([*[seen("processing")] * 30, seen("completed")])).run(context=context)

    assert context.sleeps[0] <= 0.5
    assert 24 <= context.sleeps[-1] <= 30


async def test_the_servers_wish_makes_polls_rarer() -> None:
    context = FakeContext()

    await Setup(ScriptedForge([hidden(429, retry_after=45), seen("completed")])).run(context=context)

    assert context.sleeps[1] == 45


async def test_changes_of_status_are_logged_once_each() -> None:
    context = FakeContext()

    await Setup(ScriptedForge([seen("queued"), seen("queued"), seen("completed")])).run(context=context)

    assert context.lines == [
        "submitted generation r-1 of template service",
        "generation r-1 is queued",
        "generation r-1 is completed",
    ]


async def test_http_500_is_put_up_with_until_the_limit_which_is_an_outage() -> None:
    setup, context = Setup(ScriptedForge([hidden(500)])), FakeContext(time_limit=1800)

    result = await setup.run(context=context)

    assert result.success
    assert result.simulated
    assert result.metadata["fallback_reason"] == "timeout"
    assert result.metadata["abandoned_request_id"] == "r-1"
    assert 1790 <= context.clock.monotonic() < 1800
    (event,) = setup.fallbacks
    assert (event.integration, event.reason, event.log_event) == ("code_forge", "timeout", "execute_code_forge_error")


async def test_a_ticket_may_set_the_limit() -> None:
    context = FakeContext(time_limit=60)

    with pytest.raises(IntegrationUnavailable, match="not over within 60 s") as raised:
        await Setup(ScriptedForge([seen("processing")]), "fail").run({**TEMPLATE, "timeout_seconds": "60"}, context)

    assert raised.value.reason is Reason.TIMEOUT
    assert not raised.value.retryable
    assert context.clock.monotonic() < 60


async def test_the_limit_counts_from_when_the_remote_work_began() -> None:
    forge = ScriptedForge([seen("processing")])
    context = FakeContext(resumed_from={"request_id": "r-1"}, checkpoint_age=1700)

    result = await Setup(forge).run(context=context)

    assert result.metadata["fallback_reason"] == "timeout"
    assert 90 <= context.clock.monotonic() <= 100


async def test_work_that_ended_while_nobody_looked_is_seen_once_more_after_the_limit() -> None:
    context = FakeContext(resumed_from={"request_id": "r-1"}, checkpoint_age=5000)

    result = await Setup(ScriptedForge([seen("completed")])).run(context=context)

    assert result.success
    assert not result.simulated


async def test_a_shorter_limit_of_the_attempt_is_the_engines() -> None:
    with pytest.raises(TaskTimedOut):
        await Setup(ScriptedForge([seen("processing")])).run(context=FakeContext(time_limit=100))


async def test_code_forge_down_is_simulated_and_said() -> None:
    setup = Setup(ScriptedForge(starting=DOWN))

    result = await setup.run()

    assert result.simulated
    assert result.metadata["fallback_reason"] == "dependency_unavailable"
    assert "abandoned_request_id" not in result.metadata
    (event,) = setup.fallbacks
    assert (event.ticket_id, event.task_type, event.reason) == ("ticket-1", "EXECUTE", "dependency_unavailable")
    assert event.message == str(DOWN)


async def test_code_forge_down_is_an_error_where_the_fallback_is_fail() -> None:
    setup = Setup(ScriptedForge(starting=DOWN), "fail")

    with pytest.raises(IntegrationUnavailable):
        await setup.run()

    assert setup.events == []


async def test_code_forge_disabled() -> None:
    setup = Setup(None)

    assert (await setup.run()).metadata["fallback_reason"] == "integration_disabled"
    assert len(setup.fallbacks) == 1
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


async def test_a_worker_that_lost_its_lease_submits_nothing_and_repeats_nothing() -> None:
    forge = ScriptedForge([seen("completed")])
    with pytest.raises(LeaseLost):
        await Setup(forge).run(context=FakeContext(lease_lost=True))
    assert forge.begun == []

    context = FakeContext()
    await Setup(forge).run(context=context)
    context.lease_lost = True
    with pytest.raises(LeaseLost):
        forge.begun[0]["before_repeat"]()


async def test_a_short_outage_while_it_polls_costs_nothing() -> None:
    setup = Setup(ScriptedForge([seen("processing"), DOWN, DOWN, seen("completed")]), "fail")

    assert (await setup.run()).success


async def test_a_long_outage_while_it_polls_is_one() -> None:
    setup, context = Setup(ScriptedForge([DOWN])), FakeContext()

    result = await setup.run(context=context)

    assert result.metadata["fallback_reason"] == "dependency_unavailable"
    assert result.metadata["abandoned_request_id"] == "r-1"
    assert 60 <= context.clock.monotonic() <= 120


async def test_a_request_that_is_forgotten_is_neither_repeated_nor_simulated() -> None:
    forge = ScriptedForge([hidden(404)])
    setup = Setup(forge)
    context = FakeContext(resumed_from={"request_id": "r-1"}, checkpoint_age=600)

    with pytest.raises(UnknownOutcome, match="accepted generation r-1 but does not know it any more"):
        await setup.run(context=context)

    assert 30 <= context.clock.monotonic() <= 60
    assert forge.begun == []
    assert setup.events == []


async def test_a_404_between_others_does_not_add_up() -> None:
    polls = [hidden(404), hidden(500)] * 20

    result = await Setup(ScriptedForge([*polls, seen("completed")])).run()

    assert result.success


async def test_a_cancelled_attempt_leaves_its_checkpoint_for_the_next() -> None:
    forge = ScriptedForge([*[seen("processing")] * 10, seen("completed")])
    setup, context = Setup(forge), FakeContext(cancel_at=5, cancel_with="drain")

    with pytest.raises(asyncio.CancelledError):
        await setup.run(context=context)
    assert context.cancel_reason == "drain"

    result = await setup.run(context=context.next_attempt())
    assert result.success
    assert len(forge.begun) == 1


async def test_code_forge_disabled_between_two_attempts() -> None:
    context = FakeContext(resumed_from={"request_id": "r-1"})

    result = await Setup(None).run(context=context)

    assert result.metadata["fallback_reason"] == "integration_disabled"
    assert result.metadata["abandoned_request_id"] == "r-1"
