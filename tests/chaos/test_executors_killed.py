"""A worker that is killed in the middle of an executor's work: another one goes on with it, and starts nothing again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.fleet import Fleet
from tests.support.scenario import Scenario
from worker_agents.devkit.argocd import ArgoCdServer, Operation, Step
from worker_agents.devkit.argocd import Behaviour as ArgoCdBehaviour
from worker_agents.devkit.argocd import Script as Rollout
from worker_agents.devkit.code_forge import Behaviour, CodeForgeServer, Progress

TICKETS = 40


def tickets(task_type: str, count: int = TICKETS, **parameters: object) -> list[dict[str, Any]]:
    return [
        {
            "ticket_id": f"{task_type.lower()}-{number}",
            "plan_id": f"plan-{number}",
            "task_type": task_type,
            "parameters": {name: str(value).format(number=number) for name, value in parameters.items()},
        }
        for number in range(count)
    ]


def all_real(results: list[dict[str, Any]]) -> bool:
    return all(result["status"] == "COMPLETED" and not result["result"]["metadata"]["simulated"] for result in results)


async def test_sigkill_while_pipelines_run(ships: Fleet, scenario: Scenario) -> None:
    held = Behaviour(progress=Progress(queued=1, processing=None))
    async with CodeForgeServer(held) as forge:
        workers = [ships.worker(CODE_FORGE_URL=forge.url) for _ in range(2)]
        sent = tickets("BUILD", artifact_id="artifact-{number}")
        await ships.submit(sent)
        checkpointed = await ships.checkpointed(TICKETS)

        workers[0].kill()
        calls_before = len(forge.log)
        scenario.faults += 1
        ships.worker(CODE_FORGE_URL=forge.url)
        forge.change(progress=Progress(queued=0, processing=0))

        results = await ships.results(TICKETS, timeout=120)
        scenario.take([ticket["ticket_id"] for ticket in sent], results, forge.log)
        assert len(checkpointed) == TICKETS
        assert forge.log.find(method="POST", since=calls_before) == []
        assert all_real(results)
        assert {len(result["result"]["output"]["artifacts"]) for result in results} == {1}


async def test_sigkill_while_argocd_syncs(ships: Fleet, scenario: Scenario) -> None:
    rollout = Rollout(sync_seconds=20, health=(Step(status="Progressing", seconds=0.5), Step(status="Healthy")))
    held = ArgoCdBehaviour(scripts={"held": rollout}, pickup_seconds=0.1, compare_seconds=0.1)
    async with ArgoCdServer(held) as argocd:
        env = {"ARGOCD_ENABLED": "true", "ARGOCD_URL": argocd.url, "ARGOCD_TOKEN": "any"}
        workers = [ships.worker(**env) for _ in range(2)]
        sent = tickets(
            "DEPLOY",
            deployment_name="app-{number}",
            image="registry.example/app:1.2",
            repo_url="https://git.example/charts.git",
            annotations='{{"behaviour": "held"}}',
            # Argo CD would otherwise sync by itself at once, and ours would have to wait for that.
            sync_strategy="manual",
            timeout_seconds="300",
        )
        await ships.submit(sent)
        await ships.checkpointed(TICKETS)

        workers[0].kill()
        calls_before = len(argocd.log)
        scenario.faults += 1
        ships.worker(**env)
        results = await ships.results(TICKETS, timeout=120)
        scenario.take([ticket["ticket_id"] for ticket in sent], results)
        begun = {ticket: syncs.begun for ticket, syncs in argocd.log.syncs_by_ticket().items()}
        scenario.double_starts = sum(count > 1 for count in begun.values())
        assert begun == {ticket["ticket_id"]: 1 for ticket in sent}
        assert argocd.log.find(Operation.SYNC, since=calls_before) == []
        assert all_real(results), ships.tails()


async def test_sigkill_while_test_programs_run(ships: Fleet, scenario: Scenario, tmp_path: Path) -> None:
    """Tests begin anew elsewhere, and what the killed worker left running is gone, escaped processes too."""
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "suite.sh").write_text(
        "setsid sleep 600 & echo $! >> pids\n"
        "echo $$ >> pids\n"
        "while [ ! -e go ]; do sleep 0.05; done\n"
        "echo '=== 1 passed in 0.01s ==='\n"
    )
    env = {
        "TEST_WORKSPACE_ROOT": str(root),
        "SCRATCH_DIRECTORY": str(tmp_path / "scratch"),
        "ALLOWED_TEST_COMMANDS": '["bash suite.sh"]',
        "MAX_CONCURRENT_TEST": "4",
    }
    workers = [ships.worker(**env) for _ in range(2)]
    sent = tickets("TEST", count=8, test_command="bash suite.sh")
    await ships.submit(sent)
    await _until(lambda: len(_pids(root)) >= 16)

    workers[0].kill()
    workers[1].kill()
    scenario.faults += 2
    await _until(lambda: not _alive(_pids(root)))
    (root / "go").touch()
    ships.worker(**env)

    results = await ships.results(len(sent), timeout=120)
    scenario.take([ticket["ticket_id"] for ticket in sent], results)
    assert all_real(results), ships.tails()
    assert {result["result"]["output"]["tests_passed"] for result in results} == {1}
    await _until(lambda: not _alive(_pids(root)))


async def test_sigkill_while_opa_decides(ships: Fleet, scenario: Scenario) -> None:
    """A decision only reads: it is asked for again, and given once."""
    async with _holding_opa() as (url, asked, release):
        workers = [ships.worker(OPA_URL=url) for _ in range(2)]
        sent = tickets("VALIDATE", policy_path="policy/allow")
        await ships.submit(sent)
        await _until(lambda: len(asked) >= TICKETS)

        workers[0].kill()
        scenario.faults += 1
        ships.worker(OPA_URL=url)
        release.set()

        results = await ships.results(TICKETS, timeout=120)
        scenario.take([ticket["ticket_id"] for ticket in sent], results)
        assert all_real(results), ships.tails()


@asynccontextmanager
async def _holding_opa() -> AsyncIterator[tuple[str, list[bytes], asyncio.Event]]:
    """Takes questions and answers none before it is released: real OPA cannot be held up."""
    asked: list[bytes] = []
    release = asyncio.Event()
    body = b'{"result": true}'
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked.append(await reader.readexactly(_content_length(head)))
                await release.wait()
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", asked, release
    finally:
        server.close()


def _content_length(head: bytes) -> int:
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n") if b":" in line)
    return int(fields[b"content-length"])


async def _until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.to_thread(time.sleep, 0.05)


def _pids(root: Path) -> list[int]:
    file = root / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def _alive(pids: list[int]) -> list[int]:
    """Processes that exist and are no zombies."""
    alive = []
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        if stat.rpartition(")")[2].split()[0] != "Z":
            alive.append(pid)
    return alive
