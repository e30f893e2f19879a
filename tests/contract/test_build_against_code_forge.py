"""BuildExecutor and its client against the reference Code Forge, over real connections.

Waiting is done on a clock of the test's own; work at the server moves on by polls. Client and breaker share that clock
with the attempt.
"""

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from tests.support.code_forge_starts import LOST_ANSWERS, started
from tests.support.hired_workers import HiredWorker, hiring
from worker_agents.clients.breaker import BreakerPolicy, BreakerState, CircuitBreaker
from worker_agents.clients.code_forge import CodeForgeClient
from worker_agents.clients.http import HttpLimits
from worker_agents.devkit.code_forge import (
    POLLS,
    STARTS,
    CodeForgeServer,
    Fault,
    Operation,
    Progress,
)
from worker_agents.devkit.executor_kit import FakeContext, VirtualClock, run_executor, ticket_for
from worker_agents.executors.build import BuildExecutor
from worker_agents.executors.fallback import FallbackChoice
from worker_agents.model.errors import BreakerOpen, IntegrationRejected, UnknownOutcome
from worker_agents.model.result import TaskResult
from worker_agents.telemetry.events import BreakerChanged, ExternalCall, FallbackUsed

SOON = HttpLimits(read=1.0)


class Worker(HiredWorker):
    """One worker's executor, client and breaker."""

    def __init__(self, forge: CodeForgeServer, fallback: FallbackChoice = "simulate", **http: Any) -> None:
        super().__init__(VirtualClock())
        self.breaker = CircuitBreaker(
            "code_forge", clock=self.clock, emit=self.emitted.append, rng=random.Random(1), policy=BreakerPolicy()
        )
        client = CodeForgeClient(self.connect("code_forge", forge.url, breaker=self.breaker, **http))
        self.executor = BuildExecutor(emit=self.emitted.append, code_forge_client=client, fallback=fallback)

    def attempt(self, ticket_id: str = "ticket-1", **changes: Any) -> FakeContext:
        return FakeContext(ticket_id, clock=self.clock, **({"time_limit": 14_400} | changes))

    def resume(self, earlier: FakeContext) -> FakeContext:
        """The attempt after ``earlier``, which another worker may have had."""
        return self.attempt(resumed_from=earlier.checkpoints[-1], checkpoint_age=earlier.seconds_since_checkpoint())

    async def run(self, artifact: str = "app", context: FakeContext | None = None, **parameters: Any) -> TaskResult:
        attempt = context or self.attempt()
        ticket = ticket_for("BUILD", {"artifact_id": artifact, **parameters}, ticket_id=attempt.ticket_id)
        return await run_executor(self.executor, ticket, attempt)


Hire = Callable[..., Worker]


@pytest.fixture
async def hire(forge: CodeForgeServer) -> AsyncIterator[Hire]:
    """Makes workers that are gone when the test is."""
    async with hiring(partial(Worker, forge)) as hire:
        yield hire


def peculiar(forge: CodeForgeServer, **changes: Any) -> None:
    forge.change(peculiarities=dataclasses.replace(forge.behaviour.peculiarities, **changes))


async def test_a_pipeline_with_every_peculiarity_of_the_peer(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(progress=Progress(queued=2, processing=3))
    peculiar(forge, pipeline_unknown_polls=3)
    worker = hire()
    context = worker.attempt()

    result = await worker.run(context=context)

    (pipeline_id,) = forge.log.starts_by_ticket()["ticket-1"].request_ids
    assert result.success
    assert result.output["pipeline_id"] == pipeline_id
    assert result.output["artifacts"][0]["name"] == "app:latest"
    assert (result.output["sbom"], result.output["signature"]) == (None, None)
    assert [stage["name"] for stage in result.output["stages"]] == ["QUEUED", "BUILDING", "COMPLETED"]
    assert result.metadata["polls"] == 3 + 2 + 3 + 1
    assert context.checkpoints[0]["pipeline_id"] == pipeline_id
    assert [call.status for call in forge.log.find(operation=Operation.POLL_PIPELINE)] == [404] * 3 + [200] * 6
    assert worker.breaker.state is BreakerState.CLOSED


async def test_sbom_and_signature_of_a_server_that_shows_them(forge: CodeForgeServer, hire: Hire) -> None:
    peculiar(forge, no_sbom=False)

    result = await hire().run()

    assert result.output["sbom"]["format"] == "CycloneDX"
    assert result.output["signature"] == f"signature-{result.output['pipeline_id']}"


async def test_what_is_sent(forge: CodeForgeServer, hire: Hire) -> None:
    await hire().run(branch="release", build_args={"JDK": "21"})

    (post,) = forge.log.find(operation=Operation.START_PIPELINE)
    assert post.idempotency_key == "ticket-1:pipeline"
    assert post.traceparent is not None
    assert post.body == {
        "artifact_id": "app",
        "parameters": {"ticket_id": "ticket-1", "branch": "release", "build_args": {"JDK": "21"}},
    }
    assert all(call.traceparent for call in forge.log.find(operation=Operation.POLL_PIPELINE))


async def test_the_bundled_mock_with_its_own_history(forge: CodeForgeServer, hire: Hire) -> None:
    peculiar(forge, bundled_mock=True)

    result = await hire().run()

    assert result.success
    assert result.output["artifacts"] == [{"type": "image", "name": "app:latest"}]
    assert [stage["name"] for stage in result.output["stages"]] == [
        "queued",
        "building",
        "testing",
        "packaging",
        "completed",
    ]
    assert result.metadata["stages_are"] == "reported"


async def test_stage_as_a_list(forge: CodeForgeServer, hire: Hire) -> None:
    peculiar(forge, stage_as_list=True)

    result = await hire().run()

    assert [stage["name"] for stage in result.output["stages"]] == ["QUEUED", "BUILDING", "COMPLETED"]


async def test_a_failed_pipeline_is_a_verdict(hire: Hire) -> None:
    worker = hire()

    result = await worker.run("fail:app")

    assert not result.success
    assert result.error_message == "pipeline failed: template cannot be rendered"
    assert worker.count(FallbackUsed) == 0


async def test_a_success_with_datetimes_is_stored_as_failed_and_not_believed(hire: Hire) -> None:
    worker = hire()

    with pytest.raises(UnknownOutcome, match="could not store its artifacts"):
        await worker.run("datetime:app")

    assert worker.count(FallbackUsed) == 0


@pytest.mark.parametrize("as_stored", [True, False])
async def test_endings_that_the_peer_stores_as_others(forge: CodeForgeServer, hire: Hire, as_stored: bool) -> None:
    peculiar(forge, stores_other_status=as_stored)

    review = await hire().run("review:app")
    partial = await hire().run("partial:app", FakeContext("ticket-2", time_limit=14_400))

    assert review.success
    assert review.metadata["requires_review"] is not as_stored
    assert review.output["artifacts"]
    assert partial.error_message == f"pipeline {'failed' if as_stored else 'partial'}: 2 of 3 artifacts were built"


@pytest.mark.parametrize("fault", LOST_ANSWERS.values(), ids=LOST_ANSWERS.keys())
async def test_an_answer_that_is_lost_starts_nothing_twice(forge: CodeForgeServer, hire: Hire, fault: Fault) -> None:
    forge.change(faults=(fault,))

    result = await hire(limits=SOON).run()

    assert result.success
    assert not result.simulated
    assert started(forge) == ((fault.times or 0) + 1, 1)


async def test_a_service_that_ignores_keys_may_start_twice_as_the_documents_say(
    forge: CodeForgeServer, hire: Hire
) -> None:
    forge.change(idempotency=False, faults=(Fault.loses_answer(on=STARTS),))

    assert (await hire().run()).success

    assert started(forge) == (2, 2)


async def test_a_killed_attempt_is_resumed_by_another_worker_without_a_post(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(progress=Progress(queued=5, processing=5))
    first, second = hire(), hire()
    context = first.attempt(cancel_at=2)
    with pytest.raises(asyncio.CancelledError):
        await first.run(context=context)

    result = await second.run(context=second.resume(context))

    assert result.success
    assert started(forge) == (1, 1)


async def test_a_worker_killed_before_its_checkpoint_finds_its_pipeline_by_the_key(
    forge: CodeForgeServer, hire: Hire
) -> None:
    await hire().run()

    await hire().run()

    assert started(forge) == (2, 1)


async def test_a_pipeline_that_the_server_forgot_is_an_unknown_outcome(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(progress=Progress(processing=None))
    worker = hire()
    context = worker.attempt(cancel_at=2)
    with pytest.raises(asyncio.CancelledError):
        await worker.run(context=context)
    peculiar(forge, expire_after_seconds=0)

    with pytest.raises(UnknownOutcome, match="does not know it any more"):
        await worker.run(context=worker.resume(context))

    assert started(forge) == (1, 1)


async def test_a_pipeline_that_never_ends_is_an_outage_at_the_limit(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(progress=Progress(processing=None))
    worker = hire()

    result = await worker.run()

    assert result.simulated
    assert result.metadata["fallback_reason"] == "timeout"
    assert result.metadata["abandoned_pipeline_id"]
    assert worker.clock.monotonic() < 14_400


async def test_a_refused_request_is_never_simulated(forge: CodeForgeServer, hire: Hire) -> None:
    worker = hire()

    with pytest.raises(IntegrationRejected, match="told to fail"):
        await worker.run("rejected:app")

    assert started(forge) == (1, 0)
    assert worker.count(FallbackUsed) == 0


async def test_a_short_outage_while_it_polls_is_outlived(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(faults=(Fault.refuses(on=POLLS, times=7),))
    worker = hire("fail")

    result = await worker.run()

    assert result.success
    assert started(forge) == (1, 1)
    assert worker.breaker.state is BreakerState.CLOSED


# --- down: what the table says -----------------------------------------------------------------------------------


@pytest.mark.parametrize("outage", ["503", "refused"])
async def test_down_and_simulate_is_a_marked_result_and_at_once_while_the_breaker_is_open(
    forge: CodeForgeServer, hire: Hire, outage: str
) -> None:
    if outage == "refused":
        await forge.stop()
    forge.change(down=True)
    worker = hire()

    first = await worker.run()
    assert worker.breaker.state is BreakerState.OPEN
    calls, moment = worker.count(ExternalCall), worker.clock.monotonic()
    second = await worker.run(context=worker.attempt("ticket-2"))

    assert first.simulated
    assert second.simulated
    assert worker.count(FallbackUsed) == 2
    assert worker.count(ExternalCall) == calls
    assert worker.clock.monotonic() == moment


async def test_down_and_fail_waits_without_end_and_recovers_by_itself(forge: CodeForgeServer, hire: Hire) -> None:
    """Every end of an attempt is a ``BreakerOpen``, probes that fail included: none uses up an attempt."""
    forge.change(down=True)
    worker = hire("fail")
    for _ in range(20):
        with pytest.raises(BreakerOpen) as raised:
            await worker.run()
        assert raised.value.retry_after
        assert raised.value.retry_after <= 60
        worker.clock.advance(worker.breaker.wait_seconds())

    forge.change(down=False)
    result = await worker.run()

    assert result.success
    assert worker.breaker.state is BreakerState.CLOSED
    assert started(forge)[1] == 1
    states = [event.state for event in worker.emitted if isinstance(event, BreakerChanged)]
    assert states[:3] == ["open", "half_open", "open"]
    assert states[-1] == "closed"


async def test_an_outage_in_the_middle_makes_the_ticket_wait_and_resume(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(progress=Progress(processing=None))
    worker = hire("fail")
    context = worker.attempt(cancel_at=5)
    with pytest.raises(asyncio.CancelledError):
        await worker.run(context=context)
    forge.change(down=True)

    with pytest.raises(BreakerOpen):
        await worker.run(context=worker.resume(context))

    forge.change(down=False, progress=Progress(queued=0, processing=0))
    worker.clock.advance(worker.breaker.wait_seconds())
    result = await worker.run(context=worker.resume(context))
    assert result.success
    assert started(forge) == (1, 1)
