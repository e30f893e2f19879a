"""Builds the service from its settings. The only place that knows both."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from worker_agents.application import Application, ApplicationConfig, Parts
from worker_agents.clients.code_forge import CodeForgeClient
from worker_agents.clients.http import HttpClient
from worker_agents.clients.vault import KubernetesLogin, TokenLogin, VaultClient
from worker_agents.dispatch.admission import AdmissionPolicy
from worker_agents.dispatch.config import DispatchConfig, Ordering
from worker_agents.dispatch.dispatcher import Dispatcher
from worker_agents.engine.execution_engine import ExecutionEngine
from worker_agents.engine.retry import RetryPolicy
from worker_agents.executors.base import BaseTaskExecutor
from worker_agents.executors.execute import ExecuteExecutor
from worker_agents.executors.registry import TaskExecutorRegistry
from worker_agents.introspection import WorkerStatus
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.topics import TopicNames
from worker_agents.kafka.worker import KafkaWorker, KafkaWorkerConfig
from worker_agents.model.clock import Clock, SystemClock
from worker_agents.model.errors import SettingsInvalid
from worker_agents.settings import Settings
from worker_agents.telemetry.events import Emit, EventBus
from worker_agents.telemetry.logs import LogSubscriber
from worker_agents.telemetry.metrics import Metrics, MetricsSubscriber
from worker_agents.web.app import create_app
from worker_agents.web.server import HttpServer


def build(
    settings: Settings,
    *,
    executors: Iterable[BaseTaskExecutor[Any]] = (),
    subscribers: Iterable[Emit] = (),
    clock: Clock | None = None,
) -> Application:
    """The whole service, unstarted. ``executors`` are served besides the built-in ones, ``subscribers`` told of events.

    Raises :class:`StartupError` and :class:`RegistryError` for what cannot work.
    """
    _refuse_references(settings)
    clock = clock or SystemClock()
    bus, metrics = EventBus(), Metrics()
    integrations = Integrations(settings, bus.emit)
    registry = integrations.registry(executors)
    bus.subscribe(LogSubscriber())
    bus.subscribe(MetricsSubscriber(metrics, registry.types()))
    for subscriber in subscribers:
        bus.subscribe(subscriber)
    status = WorkerStatus(clock, poll_limit=max(60.0, 3 * settings.kafka_session_timeout_seconds))
    dispatcher = _dispatcher(settings, registry, clock, bus.emit)
    parts = Parts(
        kafka=KafkaWorker(kafka_config(settings), dispatcher.lane, dispatcher.room, clock, bus.emit),
        dispatcher=dispatcher,
        http=HttpServer(create_app(status, metrics), settings.http_host, settings.http_port),
        metrics=metrics,
        close=integrations.close,
    )
    config = ApplicationConfig(settings.worker_id, registry.types(), settings.drain_timeout_seconds)
    application = Application(config, parts, clock, bus.emit)
    status.observe(application)
    status.provide_gauges(metrics)
    return application


def _refuse_references(settings: Settings) -> None:
    """A reference that nobody resolves would be sent as if it were the secret."""
    if references := settings.vault_references():
        raise SettingsInvalid(
            [
                f"{name.upper()}: {reference} was not resolved before the service was built"
                for name, reference in references.items()
            ]
        )


class Integrations:
    """The clients of external systems, and the executors that use them."""

    def __init__(self, settings: Settings, emit: Emit) -> None:
        self._settings = settings
        self._emit = emit
        self.vault = vault_client(settings, emit) if settings.vault_enabled else None
        self.code_forge = _code_forge(settings, emit) if settings.code_forge_enabled else None

    def registry(self, extra: Iterable[BaseTaskExecutor[Any]]) -> TaskExecutorRegistry:
        """Register every executor here. Adding one of your own is a line in this method, or an entry point."""
        registry = TaskExecutorRegistry()
        registry.register(
            ExecuteExecutor(
                vault_client=self.vault,
                code_forge_client=self.code_forge,
                fallback=self._settings.fallback_for("code_forge"),
                emit=self._emit,
            )
        )
        for executor in extra:
            registry.register(executor)
        registry.load_entry_points(vault_client=self.vault, code_forge_client=self.code_forge)
        self._check_supported(registry)
        return registry

    def _check_supported(self, registry: TaskExecutorRegistry) -> None:
        unserved = [name for name in self._settings.supported_task_types or () if name not in registry]
        if unserved:
            raise SettingsInvalid(
                [
                    f"SUPPORTED_TASK_TYPES: no executor for {', '.join(unserved)} (there are: {', '.join(registry.types())})"
                ]
            )

    async def close(self) -> None:
        for client in (self.code_forge, self.vault):
            if client is not None:
                await client.aclose()


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
        kill_grace=settings.kill_grace_seconds,
        dedup_retention=settings.dedup_retention_seconds,
        result_max_bytes=settings.result_max_bytes,
    )


def _dispatcher(settings: Settings, registry: TaskExecutorRegistry, clock: Clock, emit: Emit) -> Dispatcher:
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
        publish_running=settings.publish_running,
    )
    return Dispatcher(config, policy, engine, clock, emit)


def _code_forge(settings: Settings, emit: Emit) -> CodeForgeClient:
    token = settings.code_forge_token if settings.code_forge_token.get_secret_value() else None
    return CodeForgeClient(HttpClient(settings.code_forge_url, integration="code_forge", emit=emit, token=token))


def vault_client(settings: Settings, emit: Emit) -> VaultClient:
    """Vault as the settings describe it, not asked for anything yet; also used by the command line."""
    return VaultClient(
        settings.vault_address,
        login=TokenLogin(settings.vault_token) if settings.vault_token else _kubernetes_login(settings),
        emit=emit,
        mount=settings.vault_mount_kv,
        namespace=settings.vault_namespace,
        cache_seconds=settings.vault_cache_seconds,
    )


def _kubernetes_login(settings: Settings) -> KubernetesLogin:
    return KubernetesLogin(
        settings.vault_kubernetes_role, settings.vault_kubernetes_token_path, settings.vault_kubernetes_mount
    )
