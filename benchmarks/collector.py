"""A collector of spans that throws them away."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


class _Sink(TraceServiceServicer):
    def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802 # gRPC's name
        del request, context
        return ExportTraceServiceResponse()


@contextmanager
def collector() -> Iterator[str]:
    """Its address, over gRPC."""
    server = grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(_Sink(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
