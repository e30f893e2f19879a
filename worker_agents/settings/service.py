"""Settings of the process: its name, its HTTP port, its logs and traces."""

from __future__ import annotations

import re
import secrets
import socket
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from worker_agents.settings.values import (
    Directory,
    Host,
    KeyValuePairs,
    LowerCase,
    PemFile,
    PodName,
    Port,
    Seconds,
    SecretPairs,
    Token,
    UpperCase,
    Url,
    WorkerId,
)

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LogFormat = Literal["json", "console"]
OtlpProtocol = Literal["grpc", "http/protobuf"]
OtlpCompression = Literal["none", "gzip"]
TracesExporter = Literal["otlp", "none"]
Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


def _unique_name() -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:100]
    return f"{host or 'worker'}-{secrets.token_hex(3)}"


def _format_for_reader() -> LogFormat:
    return "console" if sys.stderr is not None and sys.stderr.isatty() else "json"


def _with_trace_id(template: str) -> str:
    if template and not (template.startswith(("http://", "https://")) and "{trace_id}" in template):
        raise ValueError("must be an http(s) address with {trace_id} in it")
    return template


class ServiceSettings(BaseModel):
    """The process: name, port, logs, traces."""

    worker_id: WorkerId = Field(
        default_factory=_unique_name,
        description="Name of this worker, in results, logs and leases. Unset: the host name and a random suffix.",
    )
    http_host: str = Field("0.0.0.0", description="Address that the HTTP server listens on.")  # noqa: S104 - in a pod
    http_port: Port = Field(8080, description="Port of health, metrics, status page and API; 0 picks a free one.")
    http_advertised_host: Host = Field(
        default_factory=socket.gethostname,
        description="Host name or IP address under which other workers and the command line reach this worker; in Kubernetes "
        "the pod's IP. Unset: the host name.",
    )
    admin_token: Token = Field(SecretStr(""), description="Bearer token for actions. Unset: actions are off.")
    pod_deletion_cost_enabled: bool = Field(
        False,
        description="Tell Kubernetes how much work this pod holds, so that scaling down takes idle ones first; needs the verb patch on "
        "pods.",
    )
    pod_name: PodName = Field("", description="Name of this worker's pod (fieldRef: metadata.name).")
    pod_namespace: PodName = Field("", description="Namespace of this worker's pod (fieldRef: metadata.namespace).")
    kubernetes_api_url: Url = Field(
        "https://kubernetes.default.svc",
        description="Address of the Kubernetes API server, for POD_DELETION_COST_ENABLED.",
    )
    service_account_directory: Directory = Field(
        Path("/var/run/secrets/kubernetes.io/serviceaccount"),
        description="Directory with the service account's token, and ca.crt for the Kubernetes API server.",
    )
    log_level: Annotated[LogLevel, UpperCase] = Field("INFO", description="DEBUG, INFO, WARNING, ERROR or CRITICAL.")
    log_format: Annotated[LogFormat, LowerCase] = Field(
        default_factory=_format_for_reader, description="json or console. Unset: console on a terminal, else json."
    )
    event_loop_stall_seconds: Seconds = Field(
        1.0, description="The event loop standing still for so long is logged, with what it is at."
    )

    otel_exporter_otlp_endpoint: Url = Field(
        "", description="Address of the OpenTelemetry collector. Unset: no tracing."
    )
    otel_exporter_otlp_traces_endpoint: Url = Field(
        "",
        description="Address for traces alone, in place of the one above; with http/protobuf its whole path, as nothing "
        "is appended to it.",
    )
    otel_exporter_otlp_protocol: Annotated[OtlpProtocol, LowerCase] = Field(
        "grpc", description="grpc or http/protobuf."
    )
    otel_exporter_otlp_headers: SecretPairs = Field(
        SecretStr(""), description="Headers for the collector, as name=value pairs; often a token, so kept secret."
    )
    otel_exporter_otlp_timeout: int = Field(10_000, ge=1, description="Longest export, in milliseconds.")
    otel_exporter_otlp_compression: Annotated[OtlpCompression, LowerCase] = Field(
        "none", description="Compression of what the collector is sent: none or gzip."
    )
    otel_exporter_otlp_certificate: PemFile = Field(
        "", description="File (PEM) to check the collector's certificate with."
    )
    otel_exporter_otlp_client_certificate: PemFile = Field(
        "", description="File (PEM) with the certificate that the collector is shown."
    )
    otel_exporter_otlp_client_key: PemFile = Field("", description="File (PEM) with the key of that certificate.")
    otel_service_name: str = Field("worker-agents", description="service.name of the spans.")
    otel_resource_attributes: KeyValuePairs = Field(
        "", description="Further attributes of the spans, as key=value pairs."
    )
    otel_traces_sampler: Annotated[Sampler, LowerCase] = Field(
        "parentbased_always_on", description="Which traces are recorded."
    )
    otel_traces_sampler_arg: float = Field(1.0, ge=0, le=1, description="Share of traces for the ratio samplers.")
    otel_bsp_schedule_delay: int = Field(
        5_000, ge=1, le=3_600_000, description="Longest time that an ended span waits for its export, in milliseconds."
    )
    otel_bsp_max_queue_size: int = Field(
        2_048, ge=1, le=1_000_000, description="Ended spans that wait for their export; more are dropped."
    )
    otel_bsp_max_export_batch_size: int = Field(512, ge=1, le=1_000_000, description="Spans that are exported at once.")
    otel_traces_exporter: Annotated[TracesExporter, LowerCase] = Field(
        "otlp", description="otlp, or none for no tracing."
    )
    otel_sdk_disabled: bool = Field(False, description="Turn tracing off although an endpoint is set.")
    trace_url_template: Annotated[str, AfterValidator(_with_trace_id)] = Field(
        "", description="Address of a trace in your tracing system, with {trace_id} in it; the status page links to it."
    )

    @property
    def collector_endpoint(self) -> str:
        """Where traces go, as it was given; empty for nowhere."""
        return self.otel_exporter_otlp_traces_endpoint or self.otel_exporter_otlp_endpoint

    @property
    def tracing_enabled(self) -> bool:
        """Whether spans are recorded at all."""
        return bool(self.collector_endpoint) and self.otel_traces_exporter != "none" and not self.otel_sdk_disabled
