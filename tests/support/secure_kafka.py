"""A real broker with logins, TLS and access control, and what an administrator does to it.

Its plain listener is for the test itself: whoever comes there is a super user, and so is the user "admin".
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactBytes, CompactString, Int8, Int16, Int32, Schema, TaggedFields

from tests.support.certificates import Certificates
from worker_agents.devkit.embedded_kafka import QUICK_RETURN, EmbeddedKafka
from worker_agents.devkit.ports import free_ports

_HOST = "127.0.0.1"
_ITERATIONS = 4096
_SCRAM_SHA_512 = 2

# org.apache.kafka.common.resource.ResourceType, .PatternType and common.acl.AclOperation, by their codes.
_RESOURCES = {"topic": 2, "group": 3, "cluster": 4, "transactional-id": 5}
_PATTERNS = {"literal": 3, "prefixed": 4}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
_ALLOW = 3


@dataclass(frozen=True)
class Acl:
    """One operation allowed on one resource."""

    operation: str
    resource: str
    name: str
    pattern: str = "literal"

    def __str__(self) -> str:
        return f"{self.operation} {self.resource} {self.name}"

    def fields(self, principal: str) -> tuple[Any, ...]:
        codes = _RESOURCES[self.resource], _PATTERNS[self.pattern], _OPERATIONS[self.operation]
        return codes[0], self.name, codes[1], f"User:{principal}", "*", codes[2], _ALLOW


class SecureKafka:
    """Listeners: SCRAM over TLS, mTLS, and a plain one for the test. Users and permissions change while it runs."""

    def __init__(self, folder: Path) -> None:
        self.certificates = Certificates(folder)
        plain, sasl, mtls, controller = free_ports(4)
        self.sasl_servers = f"{_HOST}:{sasl}"
        self.mtls_servers = f"{_HOST}:{mtls}"
        self._broker = EmbeddedKafka(
            port=plain,
            properties={
                **QUICK_RETURN,
                "listeners": f"PLAINTEXT://{_HOST}:{plain},SASL://{_HOST}:{sasl},MTLS://{_HOST}:{mtls},"
                f"CONTROLLER://{_HOST}:{controller}",
                "advertised.listeners": f"PLAINTEXT://{_HOST}:{plain},SASL://{_HOST}:{sasl},MTLS://{_HOST}:{mtls}",
                "controller.quorum.voters": f"1@{_HOST}:{controller}",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MTLS:SSL",
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS;User:admin",
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(self.certificates.broker()),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(self.certificates.authority),
                "listener.name.sasl.sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.sasl.scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ),
                "listener.name.mtls.ssl.client.auth": "required",
                "listener.name.mtls.ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
            },
        )

    @property
    def bootstrap_servers(self) -> str:
        """Of the plain listener."""
        return self._broker.bootstrap_servers

    @property
    def log_path(self) -> Path:
        return self._broker.log_path

    async def start(self) -> None:
        await self._broker.start()

    async def restart(self) -> None:
        """All connections are cut, and everybody has to log in again."""
        await self._broker.kill()
        await self._broker.start_again()

    async def stop(self) -> None:
        await self._broker.stop()

    def sasl(self, user: str, password: str) -> dict[str, str]:
        """Settings of a worker that logs in."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.sasl_servers,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": password,
            "KAFKA_SSL_CA_LOCATION": str(self.certificates.authority),
        }

    def mtls(self, certificate: dict[str, str]) -> dict[str, str]:
        """Settings of a worker that shows a certificate."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.mtls_servers,
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CA_LOCATION": str(self.certificates.authority),
            **certificate,
        }

    async def allow(self, principal: str, acls: Iterable[Acl]) -> None:
        async with self._admin() as admin:
            for acl in acls:
                (answer,) = (await _ask(admin, CreateAclsRequest(*acl.fields(principal)))).creation_responses
                _check(*answer)

    async def forbid(self, principal: str, acls: Iterable[Acl]) -> None:
        async with self._admin() as admin:
            for acl in acls:
                (answer,) = (await _ask(admin, DeleteAclsRequest(*acl.fields(principal)))).filter_responses
                _check(*answer[:2])
                assert answer[2], f"{principal} had no {acl}"

    async def set_password(self, user: str, password: str) -> None:
        salt = os.urandom(16)
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
        await self._alter_users([], [(user, _SCRAM_SHA_512, _ITERATIONS, salt, salted, {})])

    async def remove_user(self, user: str) -> None:
        await self._alter_users([(user, _SCRAM_SHA_512, {})], [])

    async def _alter_users(self, deletions: list[Any], upsertions: list[Any]) -> None:
        async with self._admin() as admin:
            response = await _ask(admin, _AlterScramRequest(deletions, upsertions))
            for _user, code, message, _tags in response.results:
                _check(code, message)

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


async def _ask(admin: AIOKafkaAdminClient, request: Request[Any]) -> Any:
    return await admin._send_request(request)


def _check(code: int, message: str | None) -> None:
    if code:
        raise for_code(code)(message)


class _AlterScramResponse(Response):
    """https://kafka.apache.org/protocol#The_Messages_AlterUserScramCredentials"""

    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScramRequestStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 51
    API_VERSION = 0
    RESPONSE_TYPE = _AlterScramResponse
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScramRequest(Request[_AlterScramRequestStruct]):
    API_KEY = 51

    def __init__(self, deletions: list[Any], upsertions: list[Any]) -> None:
        self._deletions = deletions
        self._upsertions = upsertions

    def build(self, request_struct_class: type[_AlterScramRequestStruct]) -> _AlterScramRequestStruct:
        return request_struct_class(self._deletions, self._upsertions, {})
