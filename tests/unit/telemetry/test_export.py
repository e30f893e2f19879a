"""Spans on their way to a collector: over gRPC and HTTP, and when there is none."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.otlp_receiver import Received, grpc_receiver, http_receiver
from worker_agents.collector import tracing_to_collector
from worker_agents.model.errors import SettingsInvalid
from worker_agents.settings import load_settings
from worker_agents.telemetry.events import Event, Passage, SpansAbandoned, TicketSettled
from worker_agents.telemetry.export import Tracing

Receiver = Callable[[], AbstractContextManager[tuple[str, Received]]]

SENDER = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
RECEIVERS = [pytest.param("grpc", grpc_receiver, id="grpc"), pytest.param("http/protobuf", http_receiver, id="http")]


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """An exporter that tries again in the background takes random numbers, which hypothesis holds against other tests."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith(("last-spans", "OtelBatch")):
            thread.join(10)
            assert not thread.is_alive(), thread.name


def tracing(told: list[Event], **environ: str) -> Tracing:
    settings = load_settings({"WORKER_ID": "w-1", "OTEL_BSP_SCHEDULE_DELAY": "50", **environ})
    assert settings.tracing_enabled
    return tracing_to_collector(settings, told.append, mask=str)


def settle(tracing: Tracing, headers: list[tuple[str, bytes | None]] | None = None) -> None:
    trace = tracing.begin_trace([("traceparent", SENDER)] if headers is None else headers)
    passage = Passage("3", 17, "c-1", age=0.5, publishing=0.1, answer=trace.child())
    event = TicketSettled("t-1", "BUILD", "COMPLETED", "", simulated=False, attempts=1, duration=0.4, trace=trace)
    event.passage = passage  # type: ignore[misc] # frozen for the type checker only
    tracing.subscriber(event)


@pytest.mark.parametrize(("protocol", "receiver"), RECEIVERS)
async def test_spans_reach_a_collector(protocol: str, receiver: Receiver, told: list[Event]) -> None:
    with receiver() as (address, received):
        worker = tracing(
            told,
            OTEL_EXPORTER_OTLP_ENDPOINT=address,
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20abc, x-tenant=blue",
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test,team=a%20b",
        )
        settle(worker)
        spans = received.wait(lambda spans: len(spans) >= 2)
        await worker.close()

    assert {span.name for span in spans} == {"process execution.tickets", "send execution.results"}
    assert {span.trace_id for span in spans} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    headers = {name.lower(): value for name, value in received.headers[0].items()}
    assert (headers["authorization"], headers["x-tenant"]) == ("Bearer abc", "blue")
    (resource,) = received.resources
    assert resource["service.name"] == "worker-agents"
    assert resource["service.instance.id"] == "w-1"
    assert (resource["deployment.environment.name"], resource["team"]) == ("test", "a b")
    assert received.paths == ["/v1/traces" if protocol != "grpc" else ""]
    assert told == []


async def test_the_address_for_traces_alone_is_used_as_it_stands(told: list[Event]) -> None:
    with http_receiver() as (address, received):
        worker = tracing(
            told,
            OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{address}/own/path",
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
            OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="http/protobuf",
        )
        settle(worker)
        await worker.close()

    assert received.paths == ["/own/path"]


@pytest.mark.parametrize(("protocol", "receiver"), RECEIVERS)
async def test_what_is_left_is_sent_at_the_end(protocol: str, receiver: Receiver, told: list[Event]) -> None:
    with receiver() as (address, received):
        worker = tracing(
            told,
            OTEL_EXPORTER_OTLP_ENDPOINT=address,
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_BSP_SCHEDULE_DELAY="3600000",
        )
        for _ in range(40):
            settle(worker)
        assert received.spans == []
        await worker.close()

        assert len(received.spans) == 80
    assert told == []


@pytest.fixture
def silent_port() -> Iterator[int]:
    """One that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_collector_that_hangs_holds_up_nobody(protocol: str, silent_port: int, told: list[Event]) -> None:
    worker = tracing(
        told,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent_port}",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_BSP_MAX_QUEUE_SIZE="64",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="64",
        OTEL_EXPORTER_OTLP_TIMEOUT="1500",
    )
    worker._limit = 0.5
    began = time.monotonic()
    for _ in range(500):
        settle(worker)
    await worker.close()

    assert time.monotonic() - began < 5
    assert told == [SpansAbandoned(0.5)]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_collector_that_is_away_costs_spans_only(protocol: str, told: list[Event]) -> None:
    worker = tracing(
        told,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_TIMEOUT="1500",
    )
    worker._limit = 0.5
    settle(worker)
    began = time.monotonic()
    await worker.close()

    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("sampler", "share", "sender", "sampled"),
    [
        ("parentbased_always_on", "1", "01", True),
        ("parentbased_always_on", "1", "00", False),
        ("parentbased_always_on", "1", None, True),
        ("parentbased_always_off", "1", None, False),
        ("parentbased_always_off", "1", "01", True),
        ("parentbased_traceidratio", "0", "01", True),
        ("parentbased_traceidratio", "0", None, False),
        ("traceidratio", "0", "01", False),
        ("traceidratio", "1", "00", True),
        ("always_on", "1", "00", True),
        ("always_off", "1", "01", False),
    ],
)
async def test_the_sampler_decides_and_the_decision_is_passed_on(
    sampler: str, share: str, sender: str | None, sampled: bool, told: list[Event]
) -> None:
    headers = [] if sender is None else [("traceparent", SENDER[:-2] + sender.encode())]
    with grpc_receiver() as (address, received):
        worker = tracing(
            told,
            OTEL_EXPORTER_OTLP_ENDPOINT=address,
            OTEL_TRACES_SAMPLER=sampler,
            OTEL_TRACES_SAMPLER_ARG=share,
        )
        trace = worker.begin_trace(headers)
        settle(worker, list(headers))
        await worker.close()

    assert trace.recorded is sampled
    assert trace.traceparent.endswith("-01" if sampled else "-00")
    assert trace.child().traceparent.endswith("-01" if sampled else "-00")
    assert len(received.spans) == (2 if sampled else 0)


@pytest.mark.parametrize(
    ("environ", "enabled"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_tracing_is_on_with_an_endpoint(environ: dict[str, str], enabled: bool) -> None:
    assert load_settings(environ).tracing_enabled is enabled


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT: must be an address"),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: must be 'grpc' or 'http/protobuf'",
        ),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, "OTEL_TRACES_SAMPLER: must be "),
        ({"OTEL_TRACES_SAMPLER_ARG": "10"}, "OTEL_TRACES_SAMPLER_ARG: must be at most 1"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: must be 'otlp' or 'none'"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "blue"}, "OTEL_RESOURCE_ATTRIBUTES: must be name=value pairs"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "Bearer hunter2"}, "OTEL_EXPORTER_OTLP_HEADERS: must be name=value pairs"),
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere.pem"}, "OTEL_EXPORTER_OTLP_CERTIFICATE: cannot be read: No such"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "OTEL_BSP_MAX_QUEUE_SIZE: must be at least 1"),
        (
            {"OTEL_BSP_MAX_QUEUE_SIZE": "100"},
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: is 512, more than OTEL_BSP_MAX_QUEUE_SIZE",
        ),
        ({"EVENT_LOOP_STALL_SECONDS": "0"}, "EVENT_LOOP_STALL_SECONDS: must be more than 0"),
    ],
)
def test_what_is_wrong_is_told_before_the_start(environ: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        load_settings(environ)
    (line,) = refused.value.problems
    assert line.startswith(problem)
    assert "hunter2" not in line


def test_a_certificate_must_be_one(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("not PEM")
    with pytest.raises(SettingsInvalid, match="OTEL_EXPORTER_OTLP_CERTIFICATE: is no PEM file"):
        load_settings({"OTEL_EXPORTER_OTLP_CERTIFICATE": str(file)})
