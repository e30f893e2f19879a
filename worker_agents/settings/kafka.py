"""Settings of the connection to Kafka and of the four topics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr

from worker_agents.settings.values import Seconds, Servers, Topic, UpperCase

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class KafkaSettings(BaseModel):
    """Brokers, topics, group and login."""

    kafka_bootstrap_servers: Servers = Field(
        ("localhost:9092",), description="Brokers to ask first, as host:port pairs."
    )
    kafka_tickets_topic: Topic = Field("execution.tickets", description="Topic that tickets come from.")
    kafka_results_topic: Topic = Field("execution.results", description="Topic that results go to.")
    kafka_dlq_topic: Topic = Field("execution.tickets.dlq", description="Topic that dead letters go to.")
    kafka_state_topic: Topic = Field(
        "execution.tickets.state",
        description="Compacted topic of the ledger: as many partitions as the tickets topic, one group only.",
    )
    kafka_consumer_group_id: str = Field(
        "worker-agents", max_length=200, description="Consumer group; workers of one group share the tickets."
    )
    kafka_create_topics: bool = Field(
        True,
        description="Create missing topics, with 12 (tickets, state), 6 (results) and 3 (DLQ) partitions.",
    )
    kafka_connect_timeout_seconds: Seconds = Field(
        60.0, le=3600, description="How long the start tries to reach Kafka before it gives up with exit code 3."
    )
    kafka_session_timeout_seconds: float = Field(
        45.0,
        ge=6,
        le=1800,
        description="A worker that is silent for so long loses its partitions; also the length of the ledger's lease.",
    )
    kafka_security_protocol: Annotated[SecurityProtocol, UpperCase] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."
    )
    kafka_sasl_mechanism: Annotated[SaslMechanism | None, UpperCase] = Field(
        None, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; needed by the SASL protocols."
    )
    kafka_sasl_username: str = Field("", description="User name for SASL.")
    kafka_sasl_password: SecretStr = Field(SecretStr(""), description="Password for SASL.")
    kafka_ssl_ca_location: str = Field(
        "", description="File with the certificates (PEM) that brokers are checked against; unset: the system's."
    )
    kafka_ssl_certificate_location: str = Field("", description="File with this client's certificate (PEM), for mTLS.")
    kafka_ssl_key_location: str = Field("", description="File with the key (PEM) of this client's certificate.")

    @property
    def uses_sasl(self) -> bool:
        return self.kafka_security_protocol.startswith("SASL_")

    @property
    def uses_tls(self) -> bool:
        return self.kafka_security_protocol.endswith("SSL")
