"""ExecuteExecutor and its client against the reference Code Forge, over real connections.

Waiting is done on a clock of the test's own; work at the server moves on by polls.
"""

import asyncio
import dataclasses
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
    Peculiarities,
    Progress,
)
from worker_agents.devkit.executor_kit import FakeContext, VirtualClock, run_executor, ticket_for
from worker_agents.executors.execute import ExecuteExecutor
from worker_agents.executors.fallback import FallbackChoice
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable, UnknownOutcome
from worker_agents.model.result import TaskResult
from worker_agents.telemetry.events import ExternalCall, FallbackUsed

SOON = HttpLimits(read=1.0)


class Worker(HiredWorker):
    """One worker's executor and client."""

    def __init__(self, forge: CodeForgeServer, fallback: FallbackChoice = "simulate", **http: Any) -> None:
        super().__init__(VirtualClock())
        client = CodeForgeClient(self.connect("code_forge", forge.url, **http))
        self.executor = ExecuteExecutor(emit=self.emitted.append, code_forge_client=client, fallback=fallback)

    async def run(self, template: str = "service", context: FakeContext | None = None) -> TaskResult:
        ticket = ticket_for("EXECUTE", {"template_id": template, "language": "python"})
        return await run_executor(self.executor, ticket, context)


Hire = Callable[..., Worker]


@pytest.fixture
async def hire(forge: CodeForgeServer) -> AsyncIterator[Hire]:
    """Makes workers that are gone when the test is."""
    async with hiring(partial(Worker, forge)) as hire:
        yield hire


async def test_a_generation_with_every_peculiarity_of_the_peer(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(progress=Progress(queued=3, processing=5), peculiarities=Peculiarities(generation_unknown_polls=2))
    context = FakeContext()

    result = await hire().run(context=context)

    (request_id,) = forge.log.starts_by_ticket()["ticket-1"].request_ids
    assert result.success
    assert result.output["request_id"] == request_id
    assert result.output["pipeline_id"] == request_id
    assert result.output["artifacts"][0]["template_id"] == "service"
    assert result.metadata["simulated"] is False
    assert result.metadata["polls"] == 2 + 3 + 5 + 1
    assert context.checkpoints == [{"request_id": request_id}]
    assert [call.status for call in forge.log.find(operation=Operation.POLL_GENERATION)] == [404] * 2 + [500] * 8 + [
        200
    ]


async def test_the_500_of_a_queued_generation_opens_no_breaker(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(progress=Progress(queued=20, processing=20))
    touchy = BreakerPolicy(failures=1, spread=0.0)
    breaker = CircuitBreaker("code_forge", clock=VirtualClock(), emit=lambda _: None, policy=touchy)

    result = await hire("fail", breaker=breaker).run()

    assert result.success
    assert breaker.state is BreakerState.CLOSED


async def test_what_is_submitted(forge: CodeForgeServer, hire: Hire) -> None:
    await hire().run()

    (post,) = forge.log.find(operation=Operation.START_GENERATION)
    assert post.idempotency_key == "ticket-1:generate"
    assert post.traceparent is not None
    assert post.body["ticket_id"] == "ticket-1"
    assert post.body["parameters"] == {"template_id": "service", "language": "python"}
    assert all(call.traceparent for call in forge.log.find(operation=Operation.POLL_GENERATION))


async def test_a_failed_generation_that_can_be_seen_is_a_verdict(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(peculiarities=Peculiarities.none())

    result = await hire().run("fail")

    assert not result.success
    assert result.error_message == "generation failed: template cannot be rendered"


async def test_a_failed_generation_that_the_peer_hides_is_an_outage_at_the_limit(hire: Hire) -> None:
    context = FakeContext(time_limit=1800)

    result = await hire().run("fail", context)

    assert result.simulated
    assert result.metadata["fallback_reason"] == "timeout"
    assert context.clock.monotonic() < 1800


@pytest.mark.parametrize("fault", LOST_ANSWERS.values(), ids=LOST_ANSWERS.keys())
async def test_an_answer_that_is_lost_starts_nothing_twice(forge: CodeForgeServer, hire: Hire, fault: Fault) -> None:
    forge.change(faults=(fault,))

    result = await hire(limits=SOON).run()

    assert result.success
    assert not result.simulated
    posts, generations = started(forge)
    assert (posts, generations) == ((fault.times or 0) + 1, 1)


async def test_a_service_that_ignores_keys_may_start_twice_as_the_documents_say(
    forge: CodeForgeServer, hire: Hire
) -> None:
    forge.change(idempotency=False, faults=(Fault.loses_answer(on=STARTS),))

    assert (await hire().run()).success

    assert started(forge) == (2, 2)


async def test_a_killed_attempt_is_resumed_by_another_worker_without_a_post(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(progress=Progress(queued=5, processing=5))
    context = FakeContext(cancel_at=2)
    with pytest.raises(asyncio.CancelledError):
        await hire().run(context=context)

    result = await hire().run(context=context.next_attempt())

    assert result.success
    assert started(forge) == (1, 1)


async def test_a_worker_killed_before_its_checkpoint_finds_its_generation_by_the_key(
    forge: CodeForgeServer, hire: Hire
) -> None:
    context = FakeContext(resumed_from=None)
    await hire().run(context=context)

    await hire().run(context=FakeContext())

    assert started(forge) == (2, 1)


async def test_a_service_that_is_busy_for_a_moment(forge: CodeForgeServer, hire: Hire) -> None:
    worker = hire()

    assert (await worker.run("flaky")).success

    assert started(forge) == (3, 1)
    assert worker.count(FallbackUsed) == 0
    assert worker.count(ExternalCall) == len(forge.log)


@pytest.mark.parametrize("outage", ["503", "refused"])
async def test_a_service_that_is_down(forge: CodeForgeServer, hire: Hire, outage: str) -> None:
    if outage == "refused":
        await forge.stop()
    forge.change(down=True)
    worker, strict = hire(), hire("fail")

    result = await worker.run()

    assert result.simulated
    assert worker.count(FallbackUsed) == 1
    with pytest.raises(IntegrationUnavailable):
        await strict.run()


async def test_an_outage_in_the_middle_is_outlived(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(faults=(Fault.refuses(on=POLLS, times=7),))

    result = await hire("fail").run()

    assert result.success
    assert started(forge) == (1, 1)


async def test_a_refused_request_is_never_simulated(forge: CodeForgeServer, hire: Hire) -> None:
    worker = hire()

    with pytest.raises(IntegrationRejected, match="told to fail"):
        await worker.run("rejected")

    assert started(forge) == (1, 0)
    assert worker.count(FallbackUsed) == 0


async def test_a_wrong_token_is_never_simulated(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(token="right")

    with pytest.raises(IntegrationRejected, match="HTTP 401: Not authenticated"):
        await hire().run()


async def test_a_request_that_the_server_forgot_is_an_unknown_outcome(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(progress=Progress(processing=None))
    context = FakeContext(cancel_at=2)
    with pytest.raises(asyncio.CancelledError):
        await hire().run(context=context)
    forge.change(peculiarities=dataclasses.replace(Peculiarities(), expire_after_seconds=0))

    with pytest.raises(UnknownOutcome):
        await hire().run(context=context.next_attempt())

    assert started(forge) == (1, 1)


async def test_retry_after_is_heeded_while_it_polls(forge: CodeForgeServer, hire: Hire) -> None:
    forge.change(faults=(Fault.answers(503, retry_after=40, on=POLLS),))
    context = FakeContext()

    await hire().run(context=context)

    assert context.sleeps[1] == 40
