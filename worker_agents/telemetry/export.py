"""Spans on their way to an OpenTelemetry collector: OTLP over gRPC or HTTP, in batches, from a thread of its own.

A collector that is away costs spans and nothing else: what does not fit into the queue is dropped, and the worker's end waits
for the last of them for a few seconds only. What no setting names (``OTEL_SPAN_EVENT_COUNT_LIMIT`` and the like) the SDK
reads from the environment by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)

import worker_agents
from worker_agents.model.structs import struct
from worker_agents.telemetry import semconv
from worker_agents.telemetry.events import Emit, SpansAbandoned
from worker_agents.telemetry.spans import Places, SpanSubscriber, TraceSampler
from worker_agents.telemetry.tracing import BeginTrace

_TRACES_PATH = "/v1/traces"

_SAMPLERS: Mapping[str, Callable[[float], Sampler]] = {
    "always_on": lambda _: ALWAYS_ON,
    "always_off": lambda _: ALWAYS_OFF,
    "traceidratio": TraceIdRatioBased,
    "parentbased_always_on": lambda _: DEFAULT_ON,
    "parentbased_always_off": lambda _: DEFAULT_OFF,
    "parentbased_traceidratio": ParentBasedTraceIdRatio,
}


@struct
class Collector:
    """Where spans go. ``endpoint`` is the address as it is called, ``timeout`` seconds; ``headers`` hold tokens.

    The three files are PEM; an empty name is none.
    """

    endpoint: str
    protocol: str
    headers: Mapping[str, str]
    timeout: float
    compressed: bool = False
    certificate: str = ""
    client_certificate: str = ""
    client_key: str = ""


@struct
class TracingConfig:
    """``sampler`` is a value of ``OTEL_TRACES_SAMPLER``, ``flush_limit`` the seconds that the worker's end may wait."""

    collector: Collector
    places: Places
    sampler: str
    ratio: float
    resource: Mapping[str, str]
    queue: int = 2_048
    batch: int = 512
    delay: float = 5.0
    flush_limit: float = 5.0


class Tracing:
    """The spans of one worker, from events to the collector."""

    begin_trace: BeginTrace

    def __init__(self, config: TracingConfig, emit: Emit, *, mask: Callable[[str], str]) -> None:
        self._emit = emit
        self._limit = config.flush_limit
        self._processor = BatchSpanProcessor(
            span_exporter(config.collector),
            max_queue_size=config.queue,
            schedule_delay_millis=config.delay * 1000,
            max_export_batch_size=config.batch,
        )
        resource = Resource.create({semconv.SERVICE_VERSION: worker_agents.__version__, **config.resource})
        self.begin_trace = TraceSampler(_SAMPLERS[config.sampler](config.ratio)).begin
        self.subscriber = SpanSubscriber(config.places, self._processor, resource, mask=mask)

    async def close(self) -> None:
        """Send what is left, within the limit. Nothing is recorded from here on."""
        closed, loop = asyncio.Event(), asyncio.get_running_loop()

        def close() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call] # it has no types
            with contextlib.suppress(RuntimeError):  # the loop has ended without waiting for this
                loop.call_soon_threadsafe(closed.set)

        # No thread of the loop's own: the process would wait for those at its end.
        threading.Thread(target=close, name="last-spans", daemon=True).start()
        try:
            async with asyncio.timeout(self._limit):
                await closed.wait()
        except TimeoutError:
            self._emit(SpansAbandoned(self._limit))


def span_exporter(collector: Collector) -> SpanExporter:
    if collector.protocol == "grpc":
        return GrpcSpanExporter(
            collector.endpoint,
            credentials=_credentials(collector),
            headers={name.lower(): value for name, value in collector.headers.items()},
            timeout=collector.timeout,
            compression=grpc.Compression.Gzip if collector.compressed else grpc.Compression.NoCompression,
        )
    return HttpSpanExporter(
        collector.endpoint,
        certificate_file=collector.certificate or None,
        client_certificate_file=collector.client_certificate or None,
        client_key_file=collector.client_key or None,
        headers=dict(collector.headers),
        timeout=collector.timeout,
        compression=HttpCompression.Gzip if collector.compressed else HttpCompression.NoCompression,
    )


def traces_address(endpoint: str, traces_endpoint: str, protocol: str) -> str:
    """The address of an endpoint for all signals, or the one for traces as it stands.

    https://opentelemetry.io/docs/specs/otel/protocol/exporter/#endpoint-urls-for-otlphttp
    """
    if traces_endpoint:
        return traces_endpoint
    return endpoint if protocol == "grpc" else endpoint.rstrip("/") + _TRACES_PATH


def read_pairs(text: str) -> dict[str, str]:
    """``name=value`` pairs as the standard variables hold them: separated by commas, values percent-encoded."""
    pairs = (pair.partition("=") for pair in text.split(",") if pair.strip())
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}


def _credentials(collector: Collector) -> grpc.ChannelCredentials | None:
    """``None`` leaves them to the exporter: those of the system, or none for a plain address."""
    files = (collector.certificate, collector.client_key, collector.client_certificate)
    if not any(files):
        return None
    return grpc.ssl_channel_credentials(*(Path(file).read_bytes() if file else None for file in files))
