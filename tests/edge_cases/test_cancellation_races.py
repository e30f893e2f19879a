"""Cancelling what is just ending, and what runs elsewhere; over HTTP, on real Kafka."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.fleet import Fleet, WorkerProcess, probe
from worker_agents.devkit.argocd import ArgoCdServer, Operation
from worker_agents.devkit.argocd import Behaviour as ArgoCdBehaviour
from worker_agents.devkit.argocd import Script as Rollout
from worker_agents.devkit.code_forge import Behaviour, CodeForgeServer, Progress
from worker_agents.devkit.ports import free_ports

TOKEN = "an-admin-token-for-tests"
TICKETS = 60
SLOTS = TICKETS // 3
TOLD_WITHIN = 1.0


class Operator:
    """Cancels tickets at one worker."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.port = free_ports(1)[0]
        self._http = http

    def worker(self, ships: Fleet, **env: str) -> WorkerProcess:
        """The worker that is asked; the last one that was started."""
        return ships.worker(HTTP_PORT=str(self.port), ADMIN_TOKEN=TOKEN, LOG_LEVEL="DEBUG", **env)

    async def cancel(self, ticket_id: str) -> tuple[int, str]:
        """The status and the outcome that the worker answers with."""
        url = f"http://127.0.0.1:{self.port}/api/v1/tickets/{ticket_id}/cancel"
        answer = await self._http.post(url, headers={"Authorization": f"Bearer {TOKEN}"}, json={"by": "ana"})
        return answer.status_code, answer.json()["outcome"]


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    async with httpx.AsyncClient(trust_env=False) as http:
        yield Operator(http)


async def test_executors_are_told_within_a_second(ships: Fleet, operator: Operator) -> None:
    """Whatever they wait for: a clock, or a pipeline that is asked after every half minute."""
    async with CodeForgeServer(Behaviour(progress=Progress(queued=1, processing=None))) as forge:
        worker = operator.worker(ships, CODE_FORGE_URL=forge.url)
        await ships.submit([probe("sleeps", sleep_ms=600_000), build("polls")])
        await worker.says("attempt_started", 2)
        await forge.log.wait_until(lambda log: len(log.find(method="GET")) >= 3)

        for ticket_id in ("sleeps", "polls"):
            async with asyncio.timeout(TOLD_WITHIN):
                assert await operator.cancel(ticket_id) == (202, "running")
                await worker.says("attempt_ended", ticket_id=ticket_id)

        results = {result["ticket_id"]: result for result in await ships.results(2)}
        assert {result["error_reason"] for result in results.values()} == {"cancelled"}
        # Code Forge has no call that would cancel it.
        assert results["polls"]["result"]["logs"][-1].endswith(
            "is left running: Code Forge has no call that would cancel it"
        )


async def test_a_sync_is_terminated_for_an_operator_and_not_for_a_hand_over(ships: Fleet, operator: Operator) -> None:
    held = ArgoCdBehaviour(scripts={"held": Rollout(sync_seconds=600)}, pickup_seconds=0.1, compare_seconds=0.1)
    async with ArgoCdServer(held) as argocd:
        env = {"ARGOCD_ENABLED": "true", "ARGOCD_URL": argocd.url, "ARGOCD_TOKEN": "any", "DRAIN_TIMEOUT_SECONDS": "0"}
        first = operator.worker(ships, **env)
        await ships.submit([deploy("d")])
        await argocd.log.wait_until(lambda log: bool(log.find(Operation.SYNC)))
        await ships.read("state", lambda found: any(b'"checkpoint"' in record.value for record in found), timeout=30)
        assert await first.stop() == 0
        assert argocd.log.find(Operation.TERMINATE) == []

        second = operator.worker(ships, **env)
        await second.says("attempt_started", resumed=True)
        async with asyncio.timeout(TOLD_WITHIN):
            assert await operator.cancel("d") == (202, "running")
            await argocd.log.wait_until(lambda log: bool(log.find(Operation.TERMINATE)))

        (result,) = await ships.results(1)
        assert (result["error_reason"], result["error_message"]) == ("cancelled", "cancelled by ana")
        assert [call.status for call in argocd.log.find(Operation.TERMINATE)] == [200]
        assert len(argocd.log.find(Operation.SYNC)) == 1


async def test_tickets_that_end_while_they_are_cancelled(ships: Fleet, operator: Operator) -> None:
    """Either wins, and whoever asked was told the truth about it."""
    names = [f"r-{number}" for number in range(TICKETS)]
    operator.worker(ships, MAX_CONCURRENT_TASKS=str(SLOTS))
    await ships.submit([probe(name, sleep_ms=1_000 + 15 * number) for number, name in enumerate(names)])
    await ships.probe_says("end", 1)

    ending, following, waiting = names[:SLOTS], names[SLOTS : 2 * SLOTS], names[2 * SLOTS :]
    order = list(itertools.chain(*zip(ending, reversed(waiting), following, strict=True)))
    answers = dict(zip(order, await asyncio.gather(*map(operator.cancel, order)), strict=True))

    await ships.submit([probe("last")])
    await ships.results(TICKETS + 1)
    # Whatever was written besides lies before the last one's.
    results = [json.loads(record.value) for record in await ships.existing("results")]
    assert Counter(result["ticket_id"] for result in results) == dict.fromkeys([*names, "last"], 1)
    ended = {line[1] for line in ships.probe_log() if line[0] == "end"}
    for result in results:
        if result["ticket_id"] != "last":
            assert_agree(answers[result["ticket_id"]], result, did_end=result["ticket_id"] in ended)
    # Else there was no race.
    assert {status for status, _ in answers.values()} == {202, 409}
    assert {outcome for _, outcome in answers.values()} >= {"running", "waiting"}


def assert_agree(answer: tuple[int, str], result: dict[str, Any], *, did_end: bool) -> None:
    """What the operator was told, what the executor did, and what was published."""
    is_cancelled = result["error_reason"] == "cancelled"
    assert result["status"] == ("FAILED" if is_cancelled else "COMPLETED")
    assert is_cancelled is not did_end
    match answer:
        case (202, "waiting"):
            assert is_cancelled
        case (202, "running"):
            # It is told; whether it lets itself be interrupted any more is its own affair.
            assert is_cancelled or did_end
        case (409, "too_late" | "settled"):
            assert not is_cancelled
        case _:
            raise AssertionError(f"{result['ticket_id']}: {answer}")


def build(ticket_id: str) -> dict[str, Any]:
    return {"ticket_id": ticket_id, "task_type": "BUILD", "parameters": {"artifact_id": "a-1"}}


def deploy(ticket_id: str) -> dict[str, Any]:
    parameters = {
        "deployment_name": "app",
        "image": "registry.example/app:1.2",
        "repo_url": "https://git.example/charts.git",
        "annotations": {"behaviour": "held"},
        # Argo CD would otherwise sync by itself at once, and ours would have to wait for that.
        "sync_strategy": "manual",
        "timeout_seconds": "300",
    }
    return {"ticket_id": ticket_id, "task_type": "DEPLOY", "parameters": parameters}
