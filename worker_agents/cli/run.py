"""``worker-agents run``: one worker, until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import structlog

from worker_agents.application import StopRequest
from worker_agents.cli.vault import connected_vault
from worker_agents.clients.process_privacy import forbid_inspection
from worker_agents.clients.vault import VaultClient
from worker_agents.main import build
from worker_agents.model.errors import WorkerAgentsError
from worker_agents.runtime import loop_factory, tune_garbage_collector
from worker_agents.settings import Settings, load_settings, resolve_references
from worker_agents.telemetry.events import Event
from worker_agents.telemetry.logs import LogSubscriber, configure_logging

T = TypeVar("T")


def run_worker() -> None:
    """Serve until SIGTERM or SIGINT, then drain. Raises :class:`StartupError` when it cannot start."""
    # Test commands run as the same user, and this process's environment holds secrets.
    forbid_inspection()
    settings = load_settings()
    _start_logging(settings, settings.warnings)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_serve(settings))
    except WorkerAgentsError:
        raise
    except Exception:
        structlog.get_logger().exception("worker_crashed")
        raise


async def _serve(settings: Settings) -> None:
    stop = StopRequest()
    with stop.on_signals():
        async with AsyncExitStack() as stack:
            prepared = await _unless_asked(stop, _with_secrets(settings, stack))
            if prepared is None:
                return
            resolved, vault = prepared
            application = build(resolved, vault=vault)
            tune_garbage_collector()
            await application.run(stop)


async def _with_secrets(settings: Settings, stack: AsyncExitStack) -> tuple[Settings, VaultClient | None]:
    """The settings with the secrets that lie in Vault, and Vault, which stays connected until ``stack`` ends."""
    if not settings.vault_enabled:
        return settings, None
    timeout = settings.vault_connect_timeout_seconds
    vault = await stack.enter_async_context(connected_vault(settings, _log, timeout))
    resolved = await resolve_references(settings, vault)
    _start_logging(resolved, resolved.warnings[len(settings.warnings) :])
    return resolved, vault


async def _unless_asked(stop: StopRequest, work: Coroutine[Any, Any, T]) -> T | None:
    """What comes of ``work``; ``None`` when a stop was asked for first, and ``work`` is then cancelled."""
    working, asked = asyncio.create_task(work), asyncio.create_task(stop.asked.wait())
    await asyncio.wait([working, asked], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if working.done():
        return working.result()
    working.cancel()
    await asyncio.wait([working])
    return None


def _start_logging(settings: Settings, warnings: tuple[str, ...]) -> None:
    configure_logging(settings.log_level, settings.log_format, settings.worker_id, secrets=settings.secret_values())
    for warning in warnings:
        structlog.get_logger().warning("settings_warning", message=warning)


def _log(event: Event) -> None:
    # A subscriber for each of these few events: logging is set up anew once the secrets to mask are known.
    LogSubscriber()(event)
