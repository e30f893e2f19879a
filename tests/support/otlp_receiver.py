"""OpenTelemetry collectors for tests: real OTLP receivers, over gRPC and over HTTP, that keep what they are sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it came over the wire; ids are hex."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    begins: int
    ends: int
    is_error: bool
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass
class Received:
    """Everything that one receiver was sent. Filled by its threads."""

    spans: list[ReceivedSpan] = field(default_factory=list)
    resources: list[Mapping[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    _came: threading.Condition = field(default_factory=threading.Condition)

    def take(self, request: ExportTraceServiceRequest, headers: Mapping[str, str], path: str) -> None:
        with self._came:
            self.headers.append(headers)
            self.paths.append(path)
            for of_resource in request.resource_spans:
                self.resources.append(_attributes(of_resource.resource.attributes))
                for scope in of_resource.scope_spans:
                    self.spans += [_read(span) for span in scope.spans]
            self._came.notify_all()

    def wait(self, enough: Callable[[list[ReceivedSpan]], object], timeout: float = 20.0) -> list[ReceivedSpan]:
        """Block until there are enough, or the time is over; then whatever there is."""
        with self._came:
            self._came.wait_for(lambda: enough(self.spans), timeout)
            return list(self.spans)


@contextmanager
def grpc_receiver() -> Iterator[tuple[str, Received]]:
    """Its address, and what it receives."""
    received = Received()

    class Servicer(TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802 # gRPC's name
            received.take(request, dict(context.invocation_metadata()), "")
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", received
    finally:
        server.stop(grace=None).wait()


@contextmanager
def http_receiver() -> Iterator[tuple[str, Received]]:
    """Its address, without path, and what it receives."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the base class's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received.take(ExportTraceServiceRequest.FromString(body), dict(self.headers), self.path)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the base class's name
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", received
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def _read(span: Any) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        begins=span.start_time_unix_nano,
        ends=span.end_time_unix_nano,
        is_error=span.status.code == 2,
        attributes=_attributes(span.attributes),
        events=tuple((event.name, _attributes(event.attributes)) for event in span.events),
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
