"""Why brokers turn a client away. aiokafka logs that and raises the same error as when nobody is there."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import replace

from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from worker_agents.kafka.connection import KafkaConnection

_CONNECTION_ERRORS = (KafkaError, OSError, TimeoutError)


async def refusal(connection: KafkaConnection) -> str | None:
    """A sentence on what is wrong with this client's settings, if every broker that answers turns it away for that.

    ``None`` when one of them takes it, when nobody is there, and when the reason is not to be found out.
    """
    hosts = [(host, port) for host, port, _ in collect_hosts(connection.bootstrap_servers)]
    answers = await asyncio.gather(*(_ask(connection, host, port) for host, port in hosts))
    refused = [answer for answer in answers if isinstance(answer, str)]
    return refused[0] if refused and True not in answers else None


async def _ask(connection: KafkaConnection, host: str, port: int) -> str | bool:
    """Connect as any client does: whether the broker takes us, or the sentence why it does not."""
    try:
        if not connection.uses_sasl and (logins := await _logins(connection, host, port)):
            return (
                f"the Kafka broker {host}:{port} wants a login ({logins}), but KAFKA_SECURITY_PROTOCOL is "
                f"{connection.security_protocol}"
            )
        await _exchange(await _connect(connection, host, port))
    except _CONNECTION_ERRORS as error:
        return await _explain(error, connection, host, port) or False
    return True


async def _exchange(broker: AIOKafkaConnection) -> None:
    # The first request after TLS and login: with TLS 1.3 a client learns only now that its certificate is refused.
    try:
        await broker.send(MetadataRequest([]))
    finally:
        broker.close()


async def _connect(connection: KafkaConnection, host: str, port: int) -> AIOKafkaConnection:
    options = connection.options()
    del options["bootstrap_servers"]
    return await create_conn(host, port, **options)


async def _explain(error: BaseException, connection: KafkaConnection, host: str, port: int) -> str | None:
    broker = f"{host}:{port}"
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"the certificate of the Kafka broker {broker} is not accepted: {cause.verify_message.rstrip('.')}; "
                "check KAFKA_SSL_CA_LOCATION, and that KAFKA_BOOTSTRAP_SERVERS has the names of the certificates"
            )
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            alert = cause.reason.partition("ALERT_")[2].replace("_", " ").lower()
            return (
                f"the Kafka broker {broker} refused the TLS handshake: {alert}; "
                "check KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION"
            )
        if isinstance(cause, SaslAuthenticationFailed):
            return (
                f"the Kafka broker {broker} refused the login of user {connection.sasl_username!r}: {cause.args[0]}; "
                "check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
            )
        if isinstance(cause, UnsupportedSaslMechanismError):
            return f"the Kafka broker {broker} has no login by {connection.sasl_mechanism}; check KAFKA_SASL_MECHANISM"
        if isinstance(cause, IllegalSaslStateError):
            return f"the Kafka broker {broker} takes no logins at this port; check KAFKA_SECURITY_PROTOCOL"
    return await _other_protocol(connection, host, port)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def _other_protocol(connection: KafkaConnection, host: str, port: int) -> str | None:
    """A broker that hangs up without a word may speak another protocol at this port."""
    broker, ours = f"the Kafka broker {host}:{port}", f"KAFKA_SECURITY_PROTOCOL is {connection.security_protocol}"
    if connection.uses_tls:
        return f"{broker} does not speak TLS, but {ours}" if await _speaks_plainly(connection, host, port) else None
    if await _speaks_tls(connection, host, port):
        return f"{broker} speaks TLS, but {ours}"
    return None


async def _speaks_plainly(connection: KafkaConnection, host: str, port: int) -> bool:
    try:
        broker = await _connect(replace(connection, security_protocol="PLAINTEXT"), host, port)
    except _CONNECTION_ERRORS:
        return False
    broker.close()
    return True


async def _speaks_tls(connection: KafkaConnection, host: str, port: int) -> bool:
    context = ssl.create_default_context()
    # Nothing is sent: the question is whether there is any certificate.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(connection.request_timeout):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _logins(connection: KafkaConnection, host: str, port: int) -> str:
    """The login mechanisms of a port, none where it takes no logins."""
    broker = await _connect(connection, host, port)
    try:
        answer = await broker.send(SaslHandShakeRequest(""))
        return ", ".join(answer.enabled_mechanisms)
    finally:
        broker.close()
