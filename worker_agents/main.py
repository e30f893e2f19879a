"""Builds the service from its settings. The only place that knows both."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from worker_agents.application import Application, ApplicationConfig, Parts
from worker_agents.clients.code_forge import CodeForgeClient
from worker_agents.clients.vault import VaultClient
from worker_agents.deletion_cost import PodDeletionCost
from worker_agents.dispatch.admission import AdmissionPolicy
from worker_agents.dispatch.config import DispatchConfig, Ordering
from worker_agents.dispatch.dispatcher import Dispatcher
from worker_agents.engine.execution_engine import ExecutionEngine
from worker_agents.engine.retry import RetryPolicy
from worker_agents.executors.base import BaseTaskExecutor
from worker_agents.executors.build import BuildExecutor
from worker_agents.executors.deploy import DeployExecutor
from worker_agents.executors.execute import ExecuteExecutor
from worker_agents.executors.registry import TaskExecutorRegistry
from worker_agents.executors.test import TestExecutor
from worker_agents.executors.validate import ValidateExecutor
from worker_agents.integrations import Integrations
from worker_agents.introspection import WorkerStatus
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.topics import TopicNames
from worker_agents.kafka.worker import KafkaWorker, KafkaWorkerConfig
from worker_agents.model.clock import Clock, SystemClock
from worker_agents.model.errors import SettingsInvalid
from worker_agents.overview import Overview
from worker_agents.settings import Settings
from worker_agents.site import Site, http_server, surroundings
from worker_agents.telemetry.events import Emit, EventBus
from worker_agents.telemetry.history import History
from worker_agents.telemetry.logs import LogSubscriber
from worker_agents.telemetry.metrics import BREAKER_STATE, LOOP_LAG, TASK_TYPE_PAUSED, Metrics, MetricsSubscriber
from worker_agents.telemetry.stalls import LoopWatchdog
from worker_agents.telemetry.tracing import TraceContext
from worker_agents.web.audit import Audit
from worker_agents.web.operator_actions import OperatorActions, Service

if TYPE_CHECKING:
    from worker_agents.telemetry.export import Tracing


# Longer than it takes to read a few thousand tickets after an opening.
_GATHERING_SECONDS = 1.0


def build(
    settings: Settings,
    *,
    executors: Iterable[BaseTaskExecutor[Any]] = (),
    subscribers: Iterable[Emit] = (),
    clock: Clock | None = None,
    vault: VaultClient | None = None,
    observed: bool = True,
) -> Application:
    """The whole service, unstarted. ``executors`` are served besides the built-in ones, ``subscribers`` told of events.

    ``vault`` is a client that is logged in already, for settings whose secrets came from there. Without ``observed`` there are
    neither logs nor metrics nor spans of events: to measure what those cost.

    Raises :class:`StartupError` and :class:`RegistryError` for what cannot work.
    """
    _refuse_references(settings)
    clock = clock or SystemClock()
    bus, metrics, log, history = EventBus(), Metrics(), LogSubscriber(), History(clock)
    integrations = Integrations(settings, clock, bus.emit, vault)
    registry = task_executors(settings, integrations, bus.emit, executors)
    tracing = _tracing(settings, bus.emit, integrations.mask) if observed else None
    own = _subscribers(log, MetricsSubscriber(metrics, registry.types()), history, tracing) if observed else []
    for subscriber in (*own, *subscribers):
        bus.subscribe(subscriber)
    status = WorkerStatus(clock, poll_limit=max(60.0, 3 * settings.kafka_session_timeout_seconds))
    overview = Overview(surroundings(settings, registry.types(), integrations), status, history, clock)
    dispatcher = _dispatcher(settings, registry, clock, bus.emit, tracing)
    kafka = KafkaWorker(kafka_config(settings), dispatcher.lane, dispatcher.room, clock, bus.emit)
    # The application is made further down, of what this is part of.
    service = _service(dispatcher, kafka, integrations, drain=lambda: application.drain())  # noqa: PLW0108
    site = Site(status, metrics, overview, OperatorActions(service, Audit(clock, bus.emit)))
    parts = Parts(
        kafka=kafka,
        dispatcher=dispatcher,
        http=http_server(settings, site, clock),
        metrics=metrics,
        watchdog=LoopWatchdog(settings.event_loop_stall_seconds, bus.emit, log),
        close=partial(_close, integrations, tracing),
        deletion_cost=_deletion_cost(integrations, dispatcher, clock, bus.emit),
    )
    config = ApplicationConfig(
        settings.worker_id, registry.types(), settings.http_advertised_host, settings.drain_timeout_seconds
    )
    application = Application(config, parts, clock, bus.emit)
    status.observe(application)
    overview.observe(application)
    _provide_gauges(status, parts, integrations, registry.types())
    return application


def _subscribers(log: Emit, metrics: Emit, history: Emit, tracing: Tracing | None) -> list[Emit]:
    """Who is told of events, in this order."""
    return [log, metrics, history, *([tracing.subscriber] if tracing else [])]


def _service(
    dispatcher: Dispatcher, kafka: KafkaWorker, integrations: Integrations, drain: Callable[[], bool]
) -> Service:
    """What operators act on."""
    return Service(dispatcher, kafka.dead_letters, kafka.holders, drain=drain, probe=integrations.probe_now)


def _deletion_cost(
    integrations: Integrations, dispatcher: Dispatcher, clock: Clock, emit: Emit
) -> PodDeletionCost | None:
    pod = integrations.kubernetes
    return None if pod is None else PodDeletionCost(pod, dispatcher, clock, emit)


def _provide_gauges(status: WorkerStatus, parts: Parts, integrations: Integrations, task_types: Iterable[str]) -> None:
    """Those of the worker's own view of itself, and those that are no part of it."""
    metrics, pauses = parts.metrics, parts.dispatcher.pauses
    status.provide_gauges(metrics)
    metrics.provide(TASK_TYPE_PAUSED, lambda: {(name,): float(name in pauses) for name in task_types})
    metrics.provide(LOOP_LAG, lambda: {(): parts.watchdog.greatest_lag()})
    metrics.provide(BREAKER_STATE, lambda: {(name,): float(b.state) for name, b in integrations.breakers.items()})


def _refuse_references(settings: Settings) -> None:
    """A reference that nobody resolves would be sent as if it were the secret."""
    if references := settings.vault_references():
        raise SettingsInvalid(
            [
                f"{name.upper()}: {reference} was not resolved before the service was built"
                for name, reference in references.items()
            ]
        )


class _Shared(TypedDict):
    """What every built-in executor is made with."""

    emit: Emit
    vault_client: VaultClient | None
    code_forge_client: CodeForgeClient | None


def task_executors(
    settings: Settings, clients: Integrations, emit: Emit, extra: Iterable[BaseTaskExecutor[Any]] = ()
) -> TaskExecutorRegistry:
    """Register every executor here. Adding one of your own is a line in this function, or an entry point."""
    registry = TaskExecutorRegistry()
    shared = _Shared(emit=emit, vault_client=clients.vault, code_forge_client=clients.code_forge)
    registry.register(ExecuteExecutor(**shared, fallback=settings.code_forge_fallback))
    registry.register(
        BuildExecutor(
            **shared,
            fallback=settings.code_forge_fallback,
            limit_seconds=settings.code_forge_timeout_seconds,
        )
    )
    registry.register(
        ValidateExecutor(
            **shared,
            opa_client=clients.opa,
            trivy=clients.trivy,
            workspaces=clients.workspaces,
            opa_fallback=settings.opa_fallback,
            trivy_fallback=settings.trivy_fallback,
            scan_timeout_seconds=settings.trivy_timeout_seconds,
            fail_severities=settings.trivy_fail_severities,
            concurrent_scans=settings.trivy_concurrent_scans,
        )
    )
    registry.register(
        TestExecutor(
            **shared,
            runner=clients.commands,
            workspaces=clients.workspaces,
            fallback=settings.test_fallback,
            timeout_seconds=settings.test_execution_timeout_seconds,
            mask=clients.mask,
        )
    )
    registry.register(DeployExecutor(**shared, argocd_client=clients.argocd, fallback=settings.argocd_fallback))
    for executor in extra:
        registry.register(executor)
    registry.load_entry_points(vault_client=clients.vault, code_forge_client=clients.code_forge)
    _check_supported(settings, registry)
    return registry


def _check_supported(settings: Settings, registry: TaskExecutorRegistry) -> None:
    unserved = [name for name in settings.supported_task_types or () if name not in registry]
    if unserved:
        there_are = ", ".join(registry.types())
        raise SettingsInvalid([f"SUPPORTED_TASK_TYPES: no executor for {', '.join(unserved)} (there are: {there_are})"])


def kafka_connection(settings: Settings) -> KafkaConnection:
    """How to reach the cluster; also used by the command line."""
    return KafkaConnection(
        bootstrap_servers=",".join(settings.kafka_bootstrap_servers),
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism or "PLAIN",
        sasl_username=settings.kafka_sasl_username or None,
        sasl_password=settings.kafka_sasl_password.get_secret_value() or None,
        ssl_ca_location=settings.kafka_ssl_ca_location or None,
        ssl_certificate_location=settings.kafka_ssl_certificate_location or None,
        ssl_key_location=settings.kafka_ssl_key_location or None,
        client_id=settings.worker_id,
    )


def topic_names(settings: Settings) -> TopicNames:
    return TopicNames(
        tickets=settings.kafka_tickets_topic,
        results=settings.kafka_results_topic,
        dlq=settings.kafka_dlq_topic,
        state=settings.kafka_state_topic,
    )


def kafka_config(settings: Settings) -> KafkaWorkerConfig:
    return KafkaWorkerConfig(
        connection=kafka_connection(settings),
        topics=topic_names(settings),
        group_id=settings.kafka_consumer_group_id,
        worker_id=settings.worker_id,
        owner=f"{settings.worker_id}#{secrets.token_hex(4)}",
        create_topics=settings.kafka_create_topics,
        connect_timeout=settings.kafka_connect_timeout_seconds,
        session_timeout=settings.kafka_session_timeout_seconds,
        lease_limit=settings.lease_seconds,
        dedup_retention=settings.dedup_retention_seconds,
        result_max_bytes=settings.result_max_bytes,
    )


def _tracing(settings: Settings, emit: Emit, mask: Callable[[str], str]) -> Tracing | None:
    if not settings.tracing_enabled:
        return None
    # What it stands on takes long to import and much memory: only where it is used.
    from worker_agents.collector import tracing_to_collector  # noqa: PLC0415

    return tracing_to_collector(settings, emit, mask)


async def _close(integrations: Integrations, tracing: Tracing | None) -> None:
    await integrations.close()
    if tracing is not None:
        await tracing.close()


def _dispatcher(
    settings: Settings, registry: TaskExecutorRegistry, clock: Clock, emit: Emit, tracing: Tracing | None
) -> Dispatcher:
    retry = RetryPolicy(
        default_retries=settings.max_retries_per_ticket,
        base=settings.retry_backoff_base_seconds,
        longest=settings.retry_backoff_max_seconds,
    )
    engine = ExecutionEngine(registry, retry, clock, emit, timeout_multiplier=settings.task_timeout_multiplier)
    supported = settings.supported_task_types
    policy = AdmissionPolicy(
        task_types=frozenset(registry.types()),
        supported=None if supported is None else frozenset(supported),
        max_deliveries=settings.max_deliveries,
    )
    config = DispatchConfig(
        max_concurrent=settings.max_concurrent_tasks,
        limits=settings.concurrency_limits(),
        max_buffered=settings.max_buffered_tickets,
        max_parked=settings.max_parked_tickets,
        ordering=Ordering(settings.ordering),
        dependency_timeout=settings.dependency_timeout_seconds,
        cancel_grace=settings.kill_grace_seconds,
        gathering_time=_GATHERING_SECONDS,
        publish_running=settings.publish_running,
    )
    begin_trace = TraceContext.from_headers if tracing is None else tracing.begin_trace
    return Dispatcher(config, policy, engine, clock, emit, begin_trace=begin_trace)
