"""How every Kafka client of this process connects."""

from __future__ import annotations

import ssl
from typing import Any

from worker_agents.model.errors import SettingsInvalid
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

    @property
    def uses_tls(self) -> bool:
        return self.security_protocol.endswith("SSL")

    @property
    def uses_sasl(self) -> bool:
        return self.security_protocol.startswith("SASL")

    @property
    def authenticates(self) -> bool:
        """Whether brokers learn who this client is."""
        return self.uses_sasl or self.ssl_certificate_location is not None

    def options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes.

        Raises :class:`SettingsInvalid` for a certificate or key that cannot be used.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "request_timeout_ms": int(self.request_timeout * 1000),
        }
        if self.uses_tls:
            options["ssl_context"] = self._ssl_context()
        if self.uses_sasl:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        """Read anew for every client: certificates are renewed in their files."""
        try:
            context = ssl.create_default_context(cafile=self.ssl_ca_location)
        except OSError as error:
            raise _unusable("KAFKA_SSL_CA_LOCATION", str(self.ssl_ca_location), error) from error
        if self.ssl_certificate_location is not None:
            files = f"{self.ssl_certificate_location} with key {self.ssl_key_location}"
            try:
                # The empty password: OpenSSL would ask for that of an encrypted key at the terminal.
                context.load_cert_chain(self.ssl_certificate_location, self.ssl_key_location, password="")
            except OSError as error:
                raise _unusable("KAFKA_SSL_CERTIFICATE_LOCATION", files, error) from error
        return context


def _unusable(variable: str, files: str, error: OSError) -> SettingsInvalid:
    why = getattr(error, "reason", None) or error.strerror or str(error)
    return SettingsInvalid([f"{variable}: {files} cannot be used: {why}"])
