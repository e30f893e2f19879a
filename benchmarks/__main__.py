"""Measures the service beside a bare aiokafka loop, on one embedded broker, and prints both and their ratio.

Then what telemetry adds to that, what thousands of waiting pipelines cost it, how soon it answers over HTTP meanwhile, how
soon they have a worker again, and what memory a worker needs. ``python -m benchmarks pipelines`` runs one measurement by its name.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from benchmarks.collector import collector
from benchmarks.pages import pages
from benchmarks.processes import ROOT, talking_process
from benchmarks.recovery import recovery
from benchmarks.sizing import sizing
from benchmarks.topics import empty_topics, fill, filled_topics
from worker_agents.devkit.embedded_kafka import EmbeddedKafka

ROUNDS = 3
NO_OP_TICKETS = 60_000
# Long enough that the first and the last wave, which cannot fill all slots, do not count for much.
WAITING_TICKETS = 50_000
WAIT_SECONDS = 0.2
SLOTS = 500
PIPELINES = 2_000
# Half the default: twice the load of as many real ones.
POLL_SECONDS = 15.0
# Pipelines that run until they are let go.
HELD = {"progress": {"queued": 0, "processing": None}}


@dataclass(frozen=True, slots=True)
class Figures:
    """What one process measured."""

    tickets: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.tickets / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        return self.cpu_seconds / self.tickets * 1e6

    def __str__(self) -> str:
        return f"{self.rate:>9,.0f} tickets/s   {self.cpu_microseconds:>6.1f} us of CPU a ticket"


async def measure(broker: EmbeddedKafka, tickets: int, module: str, *arguments: str, **env: str) -> Figures:
    """Run ``module`` on topics of its own, filled beforehand."""
    topics = await filled_topics(broker.bootstrap_servers, tickets)
    environment = {**os.environ, **topics.environment(), "HTTP_PORT": "0", "LOG_FORMAT": "json", **env}
    command = [sys.executable, "-m", module, str(tickets), *arguments]
    finished = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=300
    )
    if finished.returncode != 0:
        raise RuntimeError(f"{module} failed:\n{finished.stderr.decode(errors='replace')}")
    return Figures(**json.loads(finished.stdout.splitlines()[-1]))


async def no_op(broker: EmbeddedKafka) -> None:
    """Tickets that do nothing: what the service itself costs."""
    bare, service = [], []
    for number in range(1, ROUNDS + 1):
        bare.append(await measure(broker, NO_OP_TICKETS, "benchmarks.bare"))
        service.append(await measure(broker, NO_OP_TICKETS, "benchmarks.service", "0", LOG_LEVEL="WARNING"))
        print(f"round {number}: bare loop {bare[-1]}\n         service   {service[-1]}", flush=True)
    ratios = [ours.rate / theirs.rate for ours, theirs in zip(service, bare, strict=True)]
    print(f"no-op: {median(ratios):.2f} of the bare loop (median of {ROUNDS}; aim: at least 0.30)")


async def telemetry(broker: EmbeddedKafka) -> None:
    """Tickets that do nothing, with and without what tells of them: its share of the CPU."""
    off, on, traced = [], [], []
    sampled = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    with collector() as address:
        for number in range(1, ROUNDS + 1):
            service = partial(measure, broker, NO_OP_TICKETS, "benchmarks.service", "0")
            off.append(await service("unobserved", LOG_LEVEL="CRITICAL"))
            on.append(await service(LOG_LEVEL="INFO"))
            traced.append(await service(LOG_LEVEL="INFO", OTEL_EXPORTER_OTLP_ENDPOINT=address, **sampled))
            print(f"round {number}: telemetry off          {off[-1]}", flush=True)
            print(f"         metrics and INFO logs  {on[-1]}\n         and traces at 10 %     {traced[-1]}", flush=True)
    print(
        f"telemetry: metrics and INFO logs add {_added(on, off):.0%} to the CPU of a no-op ticket (median of {ROUNDS}; "
        f"aim: at most 35%); with traces at 10 % sampling it is {_added(traced, off):.0%}"
    )


def _added(measured: Sequence[Figures], base: Sequence[Figures]) -> float:
    return median(m.cpu_microseconds / b.cpu_microseconds for m, b in zip(measured, base, strict=True)) - 1


async def waiting(broker: EmbeddedKafka) -> None:
    """Tickets that wait: whether every slot is always busy."""
    ideal = WAITING_TICKETS / SLOTS * WAIT_SECONDS
    shares = []
    for _ in range(ROUNDS):
        figures = await measure(
            broker,
            WAITING_TICKETS,
            "benchmarks.service",
            str(WAIT_SECONDS),
            LOG_LEVEL="WARNING",
            MAX_CONCURRENT_TASKS=str(SLOTS),
        )
        shares.append(ideal / figures.seconds)
        print(f"{WAIT_SECONDS * 1000:.0f} ms x {SLOTS} slots: {figures}   {shares[-1]:.3f} of the ideal", flush=True)
    print(f"waiting: {median(shares):.3f} of the ideal (median of {ROUNDS}; aim: at least 0.95)")


async def pipelines(broker: EmbeddedKafka) -> None:
    """Builds that wait for Code Forge: what thousands of them cost one worker."""
    topics = await empty_topics(broker.bootstrap_servers)
    async with await talking_process("worker_agents.devkit.code_forge", "--behaviour", json.dumps(HELD)) as forge:
        environment = {
            **topics.environment(),
            "HTTP_PORT": "0",
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "ERROR",
            "CODE_FORGE_URL": await forge.line(),
            "CODE_FORGE_FALLBACK": "fail",
            "MAX_CONCURRENT_TASKS": str(PIPELINES),
            "MAX_BUFFERED_TICKETS": str(PIPELINES),
        }
        arguments = (str(PIPELINES), str(POLL_SECONDS))
        async with await talking_process("benchmarks.pipelines", *arguments, **environment) as service:
            await service.line()
            asked = {"timeout_seconds": 3600, "poll_interval_seconds": POLL_SECONDS}
            await fill(topics, PIPELINES, task_type="BUILD", parameters=asked)
            figures = json.loads(await service.line())
    print(
        f"pipelines: {PIPELINES:,} waiting in one worker, asked after every {POLL_SECONDS:g} s: "
        f"{figures['bytes_a_ticket'] / 1024:.1f} KiB a ticket, {figures['polls_a_minute']:,.0f} polls a minute at "
        f"{figures['cpu_share']:.0%} of a CPU; {figures['pipelines']:,} begun, {figures['simulated']} results simulated"
    )


MEASUREMENTS = {
    "no-op": no_op,
    "telemetry": telemetry,
    "waiting": waiting,
    "pipelines": pipelines,
    "pages": pages,
    "recovery": recovery,
    "sizing": sizing,
}


async def main(names: Sequence[str]) -> None:
    """The measurements of these names, or all, on one broker. Exits with 2 where a name is none."""
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        print(f"no measurement: {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}", file=sys.stderr)
        sys.exit(2)
    async with EmbeddedKafka(heap="1g", on_progress=print) as broker:
        for name in names or MEASUREMENTS:
            await MEASUREMENTS[name](broker)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
