"""How every Kafka client of this process connects."""

from __future__ import annotations

from typing import Any

from aiokafka.helpers import create_ssl_context

from worker_agents.model.structs import struct


@struct
class KafkaConnection:
    """Address and credentials of the cluster.

    ``request_timeout`` is seconds. It is short, since everything that waits on the broker retries anyway and a
    transaction has only seconds to end.
    """

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_ca_location: str | None = None
    ssl_certificate_location: str | None = None
    ssl_key_location: str | None = None
    client_id: str = "worker-agents"
    request_timeout: float = 5.0

    def options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "request_timeout_ms": int(self.request_timeout * 1000),
        }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = create_ssl_context(
                cafile=self.ssl_ca_location,
                certfile=self.ssl_certificate_location,
                keyfile=self.ssl_key_location,
            )
        if self.security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password
        return options
