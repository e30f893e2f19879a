"""The service itself, in a process of its own, that tells which partitions it opened and which tickets it resumed.

Each is one line of JSON: ``opened`` or ``resumed`` with what it was, and ``at`` in seconds since the epoch.
"""

from __future__ import annotations

import json
import time

import uvloop

from worker_agents.application import StopRequest
from worker_agents.main import build
from worker_agents.runtime import tune_garbage_collector
from worker_agents.settings import load_settings
from worker_agents.telemetry.events import AttemptStarted, Event, PartitionOpened
from worker_agents.telemetry.logs import configure_logging


def tell(event: Event) -> None:
    """Print it, where it is one of the two."""
    match event:
        case PartitionOpened():
            line: dict[str, object] = {"opened": event.partition}
        case AttemptStarted(resumed=True):
            line = {"resumed": event.ticket_id}
        case _:
            return
    print(json.dumps({**line, "at": time.time()}), flush=True)


async def main() -> None:
    """Serve until SIGTERM, as ``worker-agents run`` does."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format, settings.worker_id)
    stop = StopRequest()
    with stop.on_signals():
        application = build(settings, subscribers=[tell])
        tune_garbage_collector()
        await application.run(stop)


if __name__ == "__main__":
    uvloop.run(main())
