"""The service itself, in a process of its own, with thousands of pipelines that run at the reference Code Forge.

Prints ``idle`` when it is ready for tickets. The pipelines are held until the figures are taken and then let go; with
the last result it prints the figures as one line of JSON, and ends.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

import httpx
import uvloop

from benchmarks.topics import PARTITIONS
from worker_agents.application import StopRequest
from worker_agents.main import build
from worker_agents.runtime import tune_garbage_collector
from worker_agents.settings import Settings, load_settings
from worker_agents.telemetry.events import Event, ExternalCall, PartitionOpened, TicketSettled
from worker_agents.telemetry.logs import configure_logging

# Polls begin every half second and are as rare as the tickets ask after about twice that time.
SETTLE_INTERVALS = 2.5
# Pipelines that began together are asked after together for a while, after nine tenths of the interval on average:
# two whole rounds, wherever the window begins.
WINDOW_INTERVALS = 2 * 0.9


class Seen:
    """What the events have told so far."""

    def __init__(self, tickets: int) -> None:
        self.tickets = tickets
        self.opened = self.begun = self.polls = self.settled = self.simulated = 0
        self.all_opened, self.all_begun, self.all_settled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def __call__(self, event: Event) -> None:
        match event:
            case ExternalCall(operation="pipeline_status"):
                self.polls += 1
            case ExternalCall(operation="pipeline", outcome="ok"):
                self.begun += 1
            case TicketSettled():
                self.settled += 1
                self.simulated += event.simulated
            case PartitionOpened():
                self.opened += 1
        self._tell(self.all_opened, self.opened == PARTITIONS["tickets"])
        self._tell(self.all_begun, self.begun == self.tickets)
        self._tell(self.all_settled, self.settled == self.tickets)

    @staticmethod
    def _tell(moment: asyncio.Event, is_reached: bool) -> None:
        if is_reached:
            moment.set()


async def main(tickets: int, interval: float) -> None:
    """Run the service until ``tickets`` pipelines have ended, which are asked after every ``interval`` seconds."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format, settings.worker_id)
    seen, stop = Seen(tickets), StopRequest()
    application = build(settings, subscribers=[seen])
    tune_garbage_collector()
    running = asyncio.create_task(application.run(stop))
    measuring = asyncio.create_task(_measure(settings, seen, interval))
    await asyncio.wait({running, measuring}, return_when=asyncio.FIRST_COMPLETED)
    stop()
    await running
    print(json.dumps(await measuring), flush=True)


async def _measure(settings: Settings, seen: Seen, interval: float) -> dict[str, float]:
    await seen.all_opened.wait()
    idle = _resident_bytes()
    print("idle", flush=True)
    await seen.all_begun.wait()
    await asyncio.sleep(interval * SETTLE_INTERVALS)
    polls, began, cpu = seen.polls, time.perf_counter(), time.process_time()
    await asyncio.sleep(interval * WINDOW_INTERVALS)
    seconds, waiting = time.perf_counter() - began, _resident_bytes()
    figures = {
        "bytes_a_ticket": (waiting - idle) / seen.tickets,
        "polls_a_minute": (seen.polls - polls) / seconds * 60,
        "cpu_share": (time.process_time() - cpu) / seconds,
    }
    starts = await _let_go(settings.code_forge_url)
    await seen.all_settled.wait()
    return figures | {"pipelines": starts, "simulated": seen.simulated}


async def _let_go(code_forge_url: str) -> int:
    """End all pipelines and say how many there were."""
    async with httpx.AsyncClient(base_url=code_forge_url, trust_env=False, timeout=30) as http:
        starts = (await http.get("/_control/starts")).json()
        await http.post("/_control/behaviour", json={"progress": {"queued": 0, "processing": 0}})
    return sum(len(each["request_ids"]) for each in starts.values())


def _resident_bytes() -> int:
    """Memory of this process that is in RAM now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))
