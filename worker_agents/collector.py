"""Where spans go, as the settings say. Imported only where they go anywhere."""

from __future__ import annotations

from collections.abc import Callable

from worker_agents.settings import Settings
from worker_agents.telemetry import semconv
from worker_agents.telemetry.events import Emit
from worker_agents.telemetry.export import Collector, Tracing, TracingConfig, read_pairs, traces_address
from worker_agents.telemetry.spans import Places

_SERVICE = "worker-agents"


def tracing_to_collector(settings: Settings, emit: Emit, mask: Callable[[str], str]) -> Tracing:
    """Spans on their way to the collector; :meth:`Tracing.close` ends it."""
    config = TracingConfig(
        _collector(settings),
        Places(
            tickets_topic=settings.kafka_tickets_topic,
            results_topic=settings.kafka_results_topic,
            group=settings.kafka_consumer_group_id,
            client_id=settings.worker_id,
        ),
        sampler=settings.otel_traces_sampler,
        ratio=settings.otel_traces_sampler_arg,
        resource=_resource(settings),
        queue=settings.otel_bsp_max_queue_size,
        batch=settings.otel_bsp_max_export_batch_size,
        delay=settings.otel_bsp_schedule_delay / 1000,
    )
    return Tracing(config, emit, mask=mask)


def _collector(settings: Settings) -> Collector:
    protocol = settings.otel_exporter_otlp_protocol
    return Collector(
        endpoint=traces_address(
            settings.otel_exporter_otlp_endpoint, settings.otel_exporter_otlp_traces_endpoint, protocol
        ),
        protocol=protocol,
        headers=read_pairs(settings.otel_exporter_otlp_headers.get_secret_value()),
        timeout=settings.otel_exporter_otlp_timeout / 1000,
        compressed=settings.otel_exporter_otlp_compression == "gzip",
        certificate=settings.otel_exporter_otlp_certificate,
        client_certificate=settings.otel_exporter_otlp_client_certificate,
        client_key=settings.otel_exporter_otlp_client_key,
    )


def _resource(settings: Settings) -> dict[str, str]:
    """OTEL_SERVICE_NAME goes before a name among OTEL_RESOURCE_ATTRIBUTES, and that before the default."""
    attributes = {
        semconv.SERVICE_NAME: _SERVICE,
        semconv.SERVICE_INSTANCE_ID: settings.worker_id,
        **read_pairs(settings.otel_resource_attributes),
    }
    if settings.otel_service_name != _SERVICE:
        attributes[semconv.SERVICE_NAME] = settings.otel_service_name
    return attributes
