"""EXTERNAL_TOOLS_SETUP.md and the Strimzi example set Kafka up: their commands and permissions are tried on a real broker."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import need_embedded_kafka, running
from tests.support.fleet import Fleet, assert_all_work_is_done, fleet
from tests.support.kafka_programs import write_kafka_programs
from tests.support.secure_kafka import Acl, SecureKafka
from tests.support.setup_guide import block, blocks, exports, manifests, shell
from worker_agents.kafka.topics import DEFAULT_PARTITIONS, DLQ_CONFIG, STATE_CONFIG

pytestmark = pytest.mark.integration

EXAMPLE = manifests("kafka-strimzi.yaml")
ADMIN_PASSWORD = "the administrator's"
KINDS = {
    "execution.tickets": "tickets",
    "execution.tickets.state": "state",
    "execution.results": "results",
    "execution.tickets.dlq": "dlq",
}


def commands(words: str) -> str:
    return block("bash", "Kafka", words)


class AsDocumented(Fleet):
    """The topics and the group have the names that the documents and the defaults have."""

    @property
    def topics(self) -> dict[str, str]:
        return {kind: name for name, kind in KINDS.items()}

    @property
    def counts(self) -> dict[str, int]:
        return {**DEFAULT_PARTITIONS, "state": DEFAULT_PARTITIONS["tickets"]}

    @property
    def group(self) -> str:
        return "worker-agents"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    need_embedded_kafka()
    with running(SecureKafka(tmp_path_factory.mktemp("certificates"))) as broker:
        yield broker


@pytest.fixture
def environment(tmp_path: Path, secure: SecureKafka) -> dict[str, str]:
    """Of an administrator with Kafka's own programs, who logs in as the guide shows."""
    programs = tmp_path / "bin"
    programs.mkdir()
    write_kafka_programs(programs)
    (properties,) = blocks("properties", "Kafka")
    properties = properties.replace("…", ADMIN_PASSWORD).replace(
        "/etc/kafka/ca.pem", str(secure.certificates.authority)
    )
    (tmp_path / "admin.properties").write_text(properties)
    return {"PATH": f"{programs}:{os.environ['PATH']}", "BROKER": secure.sasl_servers}


async def test_the_guides_commands_are_all_that_a_worker_needs(
    secure: SecureKafka, environment: dict[str, str], tmp_path: Path
) -> None:
    await secure.set_password("admin", ADMIN_PASSWORD)
    for script in (commands("kafka-topics.sh"), commands("kafka-configs.sh"), commands("kafka-acls.sh")):
        on_one_broker = script.replace("--replication-factor 3", "--replication-factor 1")
        shell(on_one_broker.replace("min.insync.replicas=2", "min.insync.replicas=1"), tmp_path, environment)
    (tmp_path / "password").write_text("change-me\n")
    settings = exports(commands("KAFKA_SASL_PASSWORD_FILE="), tmp_path, environment) | {
        "KAFKA_BOOTSTRAP_SERVERS": secure.sasl_servers,
        "KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "password"),
        "KAFKA_SSL_CA_LOCATION": str(secure.certificates.authority),
        "KAFKA_CREATE_TOPICS": "false",
    }
    ships = AsDocumented(secure.bootstrap_servers, tmp_path, DEFAULT_PARTITIONS["tickets"], settings)

    try:
        await assert_all_work_is_done(ships)
    finally:
        await ships.close()


@pytest.mark.parametrize("listener", ["sasl", "mtls"])
async def test_the_strimzi_users_permissions_are_all_that_a_worker_needs(
    secure: SecureKafka, tmp_path: Path, listener: str
) -> None:
    user = f"strimzi-{listener}"
    if listener == "sasl":
        await secure.set_password(user, "change-me")
        settings = secure.sasl(user, "change-me")
    else:
        settings = secure.mtls(secure.certificates.client(user))
    async with fleet(secure.bootstrap_servers, tmp_path, partitions=2, **settings) as ships:
        await secure.allow(user, [renamed(acl, ships) for acl in strimzi_acls()])

        await assert_all_work_is_done(ships)


def strimzi_acls() -> list[Acl]:
    """As Strimzi's user operator makes them."""
    (user,) = (each for each in EXAMPLE if each["kind"] == "KafkaUser")
    resources = {"topic": "topic", "group": "group", "transactionalId": "transactional-id"}
    patterns = {"literal": "literal", "prefix": "prefixed"}
    return [
        Acl(operation, resources[rule["resource"]["type"]], rule["resource"]["name"], patterns[_pattern(rule)])
        for rule in user["spec"]["authorization"]["acls"]
        for operation in rule["operations"]
    ]


def _pattern(rule: dict[str, Any]) -> str:
    return str(rule["resource"].get("patternType", "literal"))


def renamed(acl: Acl, ships: Fleet) -> Acl:
    """The same for a test's own topics and group."""
    match acl.resource:
        case "topic":
            name = ships.topics[KINDS[acl.name]]
        case "group":
            assert acl.name == "worker-agents"
            name = ships.group
        case _:
            assert acl.name == "worker-agents-execution.tickets-"
            name = f"{ships.group}-{ships.topics['tickets']}-"
    return Acl(acl.operation, acl.resource, name, acl.pattern)


def test_the_guides_and_the_strimzi_topics_are_as_a_worker_makes_them() -> None:
    by_strimzi = {
        each["metadata"]["name"]: (
            each["spec"]["partitions"],
            {name: str(value) for name, value in each["spec"]["config"].items() if name != "min.insync.replicas"},
        )
        for each in EXAMPLE
        if each["kind"] == "KafkaTopic"
    }
    script = commands("kafka-topics.sh").replace("\\\n", " ")
    by_commands = {
        name: (int(partitions), dict(re.findall(r"--config (\S+)=(\S+)", config)))
        for name, partitions, config in re.findall(
            r"^topic --topic (\S+) +--partitions (\d+) +(.*)$", script, re.MULTILINE
        )
    }
    week = {"retention.ms": "604800000"}

    assert by_strimzi == by_commands
    assert {KINDS[name]: partitions for name, (partitions, _) in by_commands.items()} == {
        **DEFAULT_PARTITIONS,
        "state": DEFAULT_PARTITIONS["tickets"],
    }
    assert {KINDS[name]: config for name, (_, config) in by_commands.items()} == {
        "tickets": week,
        "results": week,
        "dlq": DLQ_CONFIG,
        "state": STATE_CONFIG,
    }
