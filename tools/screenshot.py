"""Takes ``docs/status-page.png``, a picture of a busy worker's status page: ``python -m tools.screenshot``.

Nothing in it is made up: a real broker, the reference Code Forge and a worker run here for some minutes, with pipelines that
never end, an OPA that is not there (its breaker opens, and what needs it waits), an Argo CD that is switched off (what needs it
is simulated), attempts that run out of time and wait for the next one, and tickets that wait for others. It needs Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
from playwright.async_api import FloatRect, ViewportSize, async_playwright

from worker_agents.devkit.child_process import ChildProcess
from worker_agents.devkit.code_forge import (
    STANDARD_TEMPLATES,
    Behaviour,
    CodeForgeServer,
    Peculiarities,
    Progress,
    Script,
)
from worker_agents.devkit.embedded_kafka import EmbeddedKafka
from worker_agents.devkit.ports import free_ports
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.submitter import TicketSubmitter, default_key
from worker_agents.settings import Settings

PICTURE = Path(__file__).parents[1] / "docs" / "status-page.png"
WIDTH, HEIGHT = 1400, 1100
LAST_CARD = "waiting"
LONGEST_START_SECONDS = 60.0
ROUND_SECONDS = 2.0

SERVICES = (
    "shop",
    "cart",
    "search",
    "billing",
    "login",
    "stock",
    "mail",
    "prices",
    "orders",
    "media",
    "tax",
    "gateway",
)
FORGE = Behaviour(
    progress=Progress(queued=0, processing=3, unit="seconds"),
    peculiarities=Peculiarities.none(),
    templates={
        **STANDARD_TEMPLATES,
        "held": Script(progress=Progress(queued=20, processing=None, unit="seconds")),
        "quick": Script(progress=Progress(queued=0, processing=0)),
    },
)

Ticket = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """What was started: where tickets go, and where the worker answers."""

    kafka: EmbeddedKafka
    url: str

    async def send(self, tickets: Iterator[Ticket]) -> None:
        connection = KafkaConnection(self.kafka.bootstrap_servers, client_id="screenshot")
        async with TicketSubmitter(connection, Settings().kafka_tickets_topic) as submitter:
            for ticket in tickets:
                key = default_key(ticket) or ""
                await submitter.submit(orjson.dumps({"status": "PENDING", **ticket}), key.encode())


def long_ones() -> Iterator[Ticket]:
    """What is still there when the picture is taken: pipelines, and what waits."""
    for number, service in enumerate(SERVICES):
        yield _build(service, minutes=4 + 3 * number)
    for service in SERVICES[:2]:
        name = f"deploy-{service}-1.4.2"
        yield _ticket(name, "DEPLOY", service, _deployment(service), dependencies=[f"build-{service}-1.4.2"])
    for service in SERVICES[2:5]:
        yield _ticket(f"policy-{service}-1.4.2", "VALIDATE", service, _policy(service))
    for service in SERVICES[5:8]:
        slow = {"template_id": "held", "language": "python"}
        sla = {"timeout_ms": 20_000, "max_retries": 3}
        yield _ticket(f"generate-{service}-api", "EXECUTE", service, slow, sla=sla)


def short_ones(number: int) -> Iterator[Ticket]:
    """What comes to its end at once: some good, some bad, now and then a simulated one."""
    service = SERVICES[number % len(SERVICES)]
    for part in range(1 + number * 5 % 4):
        template = {"template_id": "quick", "language": "python"}
        yield _ticket(f"generate-{service}-{number}{part}", "EXECUTE", service, template)
    if number % 7 == 3:
        yield _ticket(f"generate-{service}-docs-{number}", "EXECUTE", service, {"template_id": "fail"})
    if number % 11 == 5:
        shell = {"test_command": "bash -c 'pytest && echo done'"}
        yield _ticket(f"test-{service}-{number}", "TEST", service, shell)
    if number % 17 == 8:
        yield _ticket(f"deploy-{service}-{number}", "DEPLOY", service, _deployment(service))


def _build(service: str, *, minutes: int) -> Ticket:
    sla = {"timeout_ms": minutes * 60_000, "max_retries": 3}
    parameters = {"artifact_id": f"held:{service}", "branch": "main", "poll_interval_seconds": 5}
    return _ticket(f"build-{service}-1.4.2", "BUILD", service, parameters, sla=sla)


def _policy(service: str) -> Ticket:
    return {"validation_type": "policy", "policy_path": "release", "input_data": {"service": service}}


def _deployment(service: str) -> Ticket:
    image = f"registry.example/{service}:1.4.2"
    repository = f"https://git.example/{service}.git"
    return {"deployment_name": service, "repo_url": repository, "chart_path": "chart", "image": image}


def _ticket(name: str, task_type: str, service: str, parameters: Ticket, **fields: Any) -> Ticket:
    return {"ticket_id": name, "plan_id": f"plan-{service}", "task_type": task_type, "parameters": parameters, **fields}


def _environment(kafka: EmbeddedKafka, forge: CodeForgeServer, ports: Sequence[int], folder: Path) -> dict[str, str]:
    http, nobody = ports
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "CODE_FORGE_URL": forge.url,
        "OPA_URL": f"http://127.0.0.1:{nobody}",
        "FALLBACK_MODE": "fail",
        "ARGOCD_FALLBACK": "simulate",
        "MAX_CONCURRENT_TASKS": "40",
        "MAX_CONCURRENT_BUILD": "16",
        "RETRY_BACKOFF_BASE_SECONDS": "400",
        "RETRY_BACKOFF_MAX_SECONDS": "600",
        "SCRATCH_DIRECTORY": str(folder / "scratch"),
        "TRIVY_CACHE_DIR": str(folder / "trivy"),
        "WORKER_ID": "worker-agents-0",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(http),
        "LOG_FORMAT": "json",
    }


async def take(picture: Path, minutes: float) -> None:
    """Start everything, keep it busy for so long, take the picture, end everything."""
    with tempfile.TemporaryDirectory(prefix="worker-agents-screenshot-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        async with EmbeddedKafka(on_progress=print) as kafka, CodeForgeServer(FORGE) as forge:
            ports = free_ports(2)
            command, log = [sys.executable, "-m", "worker_agents.cli", "run"], folder / "worker.log"
            worker = ChildProcess(command, log=log, env=_environment(kafka, forge, ports, folder))
            worker.start()
            try:
                built = Stage(kafka, f"http://127.0.0.1:{ports[0]}")
                await _until_ready(built.url, worker, log)
                await _keep_busy(built, minutes)
                await _photograph(built.url, picture)
            finally:
                worker.kill()


async def _until_ready(url: str, worker: ChildProcess, log: Path) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http, asyncio.timeout(LONGEST_START_SECONDS):
        # The worker is another process.
        while not await _is_ready(http):
            if not worker.running:
                raise RuntimeError(f"the worker ended; the end of its log:\n{_end_of(log)}")
            await asyncio.sleep(0.2)


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


async def _is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/ready")).is_success
    except httpx.TransportError:
        return False


async def _keep_busy(built: Stage, minutes: float) -> None:
    print(f"the worker works at {built.url} for {minutes:g} min")
    await built.send(long_ones())
    for number in range(round(minutes * 60 / ROUND_SECONDS)):
        await built.send(short_ones(number))
        await asyncio.sleep(ROUND_SECONDS)


async def _photograph(url: str, picture: Path) -> None:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise RuntimeError("Chromium is not installed: `make tools` does it where it may")
    async with async_playwright() as playwright:
        # The sandbox needs rights that root in a container has not; only a page of our own is opened.
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            page = await browser.new_page(viewport=ViewportSize(width=WIDTH, height=HEIGHT), color_scheme="light")
            await page.goto(url)
            await page.locator("#connection:has-text('live')").wait_for()
            # As far as a whole card: the rest is for those who scroll.
            box = await page.locator(f"#{LAST_CARD}").bounding_box()
            assert box is not None
            clip = FloatRect(x=0, y=0, width=WIDTH, height=box["y"] + box["height"])
            await page.screenshot(path=picture, full_page=True, clip=clip)
        finally:
            await browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.screenshot", description=take.__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--to", type=Path, default=PICTURE, metavar="FILE")
    options = parser.parse_args()
    asyncio.run(take(options.to, options.minutes))
    print(f"{options.to}: {options.to.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
