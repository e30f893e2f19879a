"""One trace id, from the header of a producer to everything that a worker tells of its ticket."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.support.fleet import Fleet, fleet, probe
from tests.support.otlp_receiver import Received, ReceivedSpan, grpc_receiver
from worker_agents.devkit.code_forge import CodeForgeServer, Operation
from worker_agents.devkit.ports import free_ports

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENDER = "00f067aa0ba902b7"
TRACEPARENT = ("traceparent", f"00-{TRACE}-{SENDER}-01".encode())
BUILD = {"ticket_id": "build-1", "task_type": "BUILD", "parameters": {"artifact_id": "app"}}


@pytest.fixture
def collector() -> Iterator[tuple[str, Received]]:
    with grpc_receiver() as receiver:
        yield receiver


@pytest.fixture
async def forge() -> AsyncIterator[CodeForgeServer]:
    async with CodeForgeServer() as server:
        yield server


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path, collector: tuple[str, Received]) -> AsyncIterator[Fleet]:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector[0], "OTEL_BSP_SCHEDULE_DELAY": "100", "LOG_LEVEL": "DEBUG"}
    async with fleet(kafka.bootstrap_servers, tmp_path, partitions=1, **environment) as started:
        yield started


async def exemplars(port: int) -> set[str]:
    """The traces that the worker's durations name."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text"})
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    samples = families["worker_agents_task_duration_seconds"].samples
    return {sample.exemplar.labels["trace_id"] for sample in samples if sample.exemplar}


def by_name(spans: list[ReceivedSpan]) -> dict[str, ReceivedSpan]:
    named = {span.name.split(" t-")[0]: span for span in spans}
    assert len(named) == len(spans), [span.name for span in spans]
    return named


async def test_a_trace_is_followed_from_the_producer_to_spans_logs_metrics_and_the_result(
    ships: Fleet, forge: CodeForgeServer, collector: tuple[str, Received]
) -> None:
    (port,) = free_ports(1)
    worker = ships.worker(HTTP_PORT=str(port), CODE_FORGE_URL=forge.url)

    await ships.submit([BUILD], headers=[TRACEPARENT])
    (record,) = await ships.read("results", lambda found: len(found) >= 1, timeout=60)
    (settled,) = await worker.says("ticket_settled")
    found = await exemplars(port)
    assert await worker.stop() == 0
    spans = by_name(collector[1].wait(lambda spans: len(spans) >= 5))

    assert json.loads(record.value)["status"] == "COMPLETED"
    assert spans.keys() == {"process", "queue wait", "attempt", "code_forge pipeline", "send"}
    assert {span.trace_id for span in spans.values()} == {TRACE}
    process, attempt, call, send = (spans[name] for name in ("process", "attempt", "code_forge pipeline", "send"))
    assert process.parent_id == SENDER
    assert {attempt.parent_id, send.parent_id, spans["queue wait"].parent_id} == {process.span_id}
    assert call.parent_id == attempt.span_id
    assert process.begins <= attempt.begins <= call.begins <= call.ends <= attempt.ends <= process.ends

    polls = forge.log.find(operation=Operation.POLL_PIPELINE)
    assert [name for name, _ in attempt.events] == ["poll"] * len(polls)
    assert attempt.attributes["worker_agents.polls"] == len(polls) > 0
    assert {poll.traceparent for poll in polls} == {f"00-{TRACE}-{attempt.span_id}-01"}
    (start,) = forge.log.find(operation=Operation.START_PIPELINE)
    assert start.traceparent == f"00-{TRACE}-{call.span_id}-01"
    assert dict(record.headers)["traceparent"] == f"00-{TRACE}-{send.span_id}-01".encode()

    assert found == {TRACE}
    assert (settled["trace_id"], settled["ticket_id"]) == (TRACE, "build-1")
    (started,) = worker.events("attempt_started")
    assert (started["trace_id"], started["worker_id"]) == (TRACE, "worker-1")
    calls = worker.events("external_call")
    assert {(line["trace_id"], line["ticket_id"]) for line in calls} == {(TRACE, "build-1")}
    assert {resource["service.instance.id"] for resource in collector[1].resources} == {"worker-1"}


async def test_what_executors_log_names_their_ticket_and_no_other(ships: Fleet) -> None:
    worker = ships.worker(MAX_CONCURRENT_TASKS="2")
    names = [f"ticket-{number}" for number in range(20)]

    await ships.submit([probe(name, say=name, sleep_ms=20) for name in names])
    lines = await worker.says("probe_says", 20)
    by_library = [(await worker.says(name))[0] for name in names]

    assert {line["ticket_id"] for line in lines} == set(names)
    assert all(line["said"] == line["ticket_id"] for line in lines)
    assert [line["ticket_id"] for line in by_library] == names
    traces = {line["ticket_id"]: line["trace_id"] for line in lines}
    assert len(set(traces.values())) == 20
    settled = {line["ticket_id"]: line["trace_id"] for line in await worker.says("ticket_settled", 20)}
    assert settled == traces


async def test_a_worker_without_its_collector_works_and_stops_in_time(ships: Fleet) -> None:
    (port,) = free_ports(1)
    worker = ships.worker(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")

    await ships.submit([probe(f"ticket-{number}") for number in range(50)])
    assert len(await ships.results(50)) == 50
    async with asyncio.timeout(20):
        assert await worker.stop() == 0
    assert worker.events("worker_stopped")


async def test_a_worker_whose_loop_stands_still_says_where(ships: Fleet) -> None:
    worker = ships.worker(EVENT_LOOP_STALL_SECONDS="0.3", STALL_SECONDS="1")
    await worker.says("partition_opened")

    worker.send(signal.SIGUSR2)

    (stalled,) = await worker.says("event_loop_stalled")
    (resumed,) = await worker.says("event_loop_resumed")
    assert "in stall" in stalled["stack"]
    assert 0.3 <= stalled["seconds"] <= resumed["duration"]
    assert resumed["seen"]
