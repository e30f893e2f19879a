"""Where doctor looks for the collector of traces."""

import pytest

from worker_agents.cli.doctor.machine import collector_address
from worker_agents.settings import load_settings


@pytest.mark.parametrize(
    ("environment", "host", "port"),
    [
        ({"ENDPOINT": "http://collector:4317"}, "collector", 4317),
        ({"ENDPOINT": "http://collector"}, "collector", 443),
        ({"ENDPOINT": "https://collector"}, "collector", 443),
        ({"ENDPOINT": "http://collector", "PROTOCOL": "http/protobuf"}, "collector", 80),
        ({"ENDPOINT": "https://collector/otlp", "PROTOCOL": "http/protobuf"}, "collector", 443),
        ({"ENDPOINT": "http://all:4317", "TRACES_ENDPOINT": "http://traces:4319"}, "traces", 4319),
        ({"TRACES_ENDPOINT": "http://[fd00::1]:4317"}, "fd00::1", 4317),
    ],
)
def test_it_looks_where_spans_are_sent(environment: dict[str, str], host: str, port: int) -> None:
    settings = load_settings({f"OTEL_EXPORTER_OTLP_{name}": value for name, value in environment.items()})

    assert settings.tracing_enabled
    assert collector_address(settings) == (host, port)
