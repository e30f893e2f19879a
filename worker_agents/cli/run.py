"""``worker-agents run``: one worker, until it is told to stop."""

from __future__ import annotations

import asyncio

import structlog

from worker_agents.application import StopRequest
from worker_agents.main import build
from worker_agents.model.errors import WorkerAgentsError
from worker_agents.runtime import loop_factory, tune_garbage_collector
from worker_agents.settings import Settings, load_settings
from worker_agents.telemetry.logs import configure_logging


def run_worker() -> None:
    """Serve until SIGTERM or SIGINT, then drain. Raises :class:`StartupError` when it cannot start."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format, settings.worker_id, secrets=settings.secret_values())
    log = structlog.get_logger()
    for warning in settings.warnings:
        log.warning("settings_warning", message=warning)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_serve(settings))
    except WorkerAgentsError:
        raise
    except Exception:
        log.exception("worker_crashed")
        raise


async def _serve(settings: Settings) -> None:
    stop = StopRequest()
    with stop.on_signals():
        application = build(settings)
        tune_garbage_collector()
        await application.run(stop)
