"""``worker-agents doctor`` on real Kafka: a whole set-up that is well, each thing at Kafka that is not, and no trace left."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.support.fleet import ROOT, Fleet, fleet, probe
from tests.support.opa_server import running_opa
from tests.support.tools import TOOLS, tool
from worker_agents.devkit.argocd import ArgoCdServer
from worker_agents.devkit.code_forge import CodeForgeServer
from worker_agents.devkit.embedded_kafka import EmbeddedKafka
from worker_agents.devkit.ports import free_ports
from worker_agents.devkit.vault import Policy, VaultServer
from worker_agents.kafka.topics import STATE_CONFIG

pytestmark = pytest.mark.integration

TOKEN = "t0k3n-t0k3n-t0k3n"
NOTHING_ELSE = {
    "CODE_FORGE_ENABLED": "false",
    "OPA_ENABLED": "false",
    "TRIVY_ENABLED": "false",
    "ALLOWED_TEST_COMMANDS": "[]",
    "FALLBACK_MODE": "fail",
}


@dataclass(frozen=True)
class Ended:
    code: int
    out: str

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document

    def said(self, check: str) -> list[tuple[str, str]]:
        return [(each["level"], each["what"]) for each in self.document["findings"] if each["check"] == check]


async def doctor(environment: Mapping[str, str], *arguments: str) -> Ended:
    """The real command, which keeps its standard error empty."""
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker_agents.cli", "doctor", *arguments),
        cwd=ROOT,
        env=inherited | dict(environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert err == b"", err.decode()
    assert process.returncode is not None
    assert TOKEN not in out.decode()
    return Ended(process.returncode, out.decode())


def kafka_settings(ships: Fleet) -> dict[str, str]:
    topics = {f"KAFKA_{kind.upper()}_TOPIC": name for kind, name in ships.topics.items()}
    return {
        "KAFKA_BOOTSTRAP_SERVERS": ships.bootstrap_servers,
        "KAFKA_CONSUMER_GROUP_ID": ships.group,
        **topics,
        **NOTHING_ELSE,
    }


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(kafka.bootstrap_servers, tmp_path) as started:
        yield started


async def look(ships: Fleet, **changed: str) -> Ended:
    return await doctor({**kafka_settings(ships), **changed}, "--json")


# --- all is well -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def everything(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Settings fit for production, and all that they name."""
    async with AsyncExitStack() as stack:
        forge = await stack.enter_async_context(CodeForgeServer())
        argocd = await stack.enter_async_context(ArgoCdServer())
        vault = await stack.enter_async_context(VaultServer())
        opa = stack.enter_context(running_opa(folder / "opa", {"allow.rego": "package policy\n\nallow := true\n"}))
        forge.change(token=TOKEN)
        argocd.change(token=TOKEN)
        vault.policies["worker-agents"] = Policy({"secret/data/worker/*": ["read"]})
        vault.kv("secret").write("worker/argocd", {"token": TOKEN})
        (folder / "admin").write_text("9f2c61d07ab84e359f2c61d07ab84e35\n")
        (folder / "volume").mkdir()
        yield {
            "FALLBACK_MODE": "fail",
            "KAFKA_CREATE_TOPICS": "false",
            "ADMIN_TOKEN_FILE": str(folder / "admin"),
            "CODE_FORGE_URL": forge.url,
            "CODE_FORGE_TOKEN": TOKEN,
            "OPA_URL": opa,
            "ARGOCD_ENABLED": "true",
            "ARGOCD_URL": argocd.url,
            "ARGOCD_TOKEN": "vault:worker/argocd#token",
            "VAULT_ENABLED": "true",
            "VAULT_ADDRESS": vault.url,
            "VAULT_TOKEN": vault.tokens.create(["worker-agents"]).id,
            "PATH": f"{TOOLS}:{os.environ['PATH']}",
            "TRIVY_SCANNERS": "secret,misconfig",
            "TRIVY_CONCURRENT_SCANS": "1",
            "ALLOWED_TEST_COMMANDS": "true",
            "ALLOWED_GIT_URLS": "https://git.example/",
            "TEST_WORKSPACE_ROOT": str(folder / "volume"),
            "SCRATCH_DIRECTORY": str(folder / "scratch"),
            "TRIVY_CACHE_DIR": str(folder / "trivy"),
            "TERMINATION_GRACE_PERIOD_SECONDS": "60",
            "OTEL_EXPORTER_OTLP_ENDPOINT": forge.url,
        }


async def test_a_set_up_that_is_well(ships: Fleet, tmp_path: Path) -> None:
    tool("trivy")
    worker = ships.worker()
    await worker.says("partition_opened", ships.partitions)
    async with everything(tmp_path) as settings:
        environment = {
            **kafka_settings(ships),
            "OPA_ENABLED": "true",
            "CODE_FORGE_ENABLED": "true",
            "TRIVY_ENABLED": "true",
        }
        ended = await doctor({**environment, **settings}, "--json")
        text = await doctor({**environment, **settings})

    assert ended.code == text.code == 0
    # A broker of one node cannot have more.
    odd = [each for each in ended.document["findings"] if each["level"] in ("warning", "error")]
    assert [each["check"] for each in odd] == ["kafka.durability"]
    assert odd[0]["what"].startswith("one replica only: ")
    assert ended.said("kafka.group") == [("ok", f"{ships.group} is stable, with 1 worker")]
    assert ended.said("kafka.transactions") == [("ok", "supported, with the ledger's time-out and ids")]
    assert [level for level, _ in ended.said("clock.skew")] == ["ok"]
    assert text.out.splitlines()[-1].startswith("0 errors, 1 warning, ")


async def test_strict_makes_a_warning_fail(ships: Fleet) -> None:
    assert (await doctor(kafka_settings(ships))).code == 0
    assert (await doctor(kafka_settings(ships), "--strict")).code == 1


async def test_nothing_is_written_and_nothing_committed(ships: Fleet) -> None:
    worker = ships.worker()
    await worker.says("partition_opened", ships.partitions)
    await ships.submit([probe("a")])
    await ships.results(1)
    await worker.stop()
    before = await ends(ships), await ships.committed_floor()

    assert (await look(ships)).code == 0

    assert (await ends(ships), await ships.committed_floor()) == before
    assert all(sum(each or 0 for each in found.values()) > 0 for found in before)


async def ends(ships: Fleet) -> dict[TopicPartition, int]:
    async with ships.consumer() as consumer:
        return dict(await consumer.end_offsets([tp for kind in ships.topics for tp in ships.partitions_of(kind)]))


# --- topics ----------------------------------------------------------------------------------------------------------


async def test_topics_that_are_missing(kafka: Any, tmp_path: Path) -> None:
    ships = Fleet(kafka.bootstrap_servers, tmp_path)

    made_later = await look(ships)
    assert made_later.code == 0
    assert (
        len(
            [
                level
                for level, what in made_later.said("kafka.topics")
                if level == "warning" and "does not exist" in what
            ]
        )
        == 4
    )

    never = await look(ships, KAFKA_CREATE_TOPICS="false")
    assert never.code == 1
    assert {level for level, _ in never.said("kafka.topics")} == {"error"}


async def test_topics_that_a_worker_could_not_use(ships: Fleet) -> None:
    await ships.configure("state", {"cleanup.policy": "delete"})
    await ships.configure("tickets", {"retention.ms": "60000", "min.insync.replicas": "2"})
    ended = await look(ships)

    assert ended.code == 1
    assert ended.said("kafka.topics") == [("error", f"{ships.topics['state']} has cleanup.policy=delete, not compact")]
    assert ("error", f"min.insync.replicas is more than there are replicas: {ships.topics['tickets']}") in ended.said(
        "kafka.durability"
    )
    assert any("keeps tickets for 1 min" in what for _, what in ended.said("kafka.retention"))


async def test_a_state_topic_of_another_size(ships: Fleet) -> None:
    await ships.configure("dlq", dict(STATE_CONFIG))
    ended = await look(ships, KAFKA_STATE_TOPIC=ships.topics["dlq"], KAFKA_DLQ_TOPIC=ships.topics["state"])

    assert ended.said("kafka.topics") == [
        ("error", f"{ships.topics['dlq']} has 1 partitions, {ships.topics['tickets']} has {ships.partitions}")
    ]


async def test_records_from_the_future(ships: Fleet) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=ships.bootstrap_servers)
    await producer.start()
    try:
        ahead = int(time.time() * 1000) + 600_000
        await producer.send_and_wait(ships.topics["results"], b"{}", partition=2, timestamp_ms=ahead)
    finally:
        await producer.stop()
    ended = await look(ships)

    assert ended.code == 1
    ((level, what),) = ended.said("clock.skew")
    assert (level, what.endswith("s behind the youngest record in Kafka")) == ("error", True)


# --- the group -------------------------------------------------------------------------------------------------------


async def test_a_group_that_somebody_else_is_in(ships: Fleet) -> None:
    async with ships.consumer(group_id=ships.group, client_id="stranger") as stranger:
        await joined(stranger, ships.topics["results"])
        ended = await look(ships)

    assert ended.code == 1
    ((level, what),) = ended.said("kafka.group")
    assert level == "error"
    assert "its members share by consumer/roundrobin, workers by consumer/sticky" in what


async def joined(consumer: AIOKafkaConsumer, topic: str) -> None:
    consumer.subscribe([topic])
    async with asyncio.timeout(30):
        while not consumer.assignment():
            await consumer.getmany(timeout_ms=100)


# --- the brokers -----------------------------------------------------------------------------------------------------


async def test_brokers_with_limits_and_an_address_that_lead_nowhere(tmp_path: Path) -> None:
    inside, outside, controller = free_ports(3)
    listeners = f"PLAINTEXT://127.0.0.1:{inside},OUTSIDE://127.0.0.1:{{}}"
    properties = {
        "listeners": f"{listeners.format(outside)},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners.format(1),
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "transaction.max.timeout.ms": "5000",
        "transaction.partition.verification.enable": "false",
        "group.max.session.timeout.ms": "30000",
    }
    async with (
        EmbeddedKafka(port=inside, properties=properties) as broker,
        fleet(broker.bootstrap_servers, tmp_path) as ships,
    ):
        limited = await look(ships)
        lost = await look(ships, KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{outside}")

    assert limited.code == lost.code == 1
    transactions = limited.said("kafka.transactions")
    assert ("warning", "the broker has transaction.partition.verification.enable=false") in transactions
    assert ("error", "the broker's transaction.max.timeout.ms is 5000, and the ledger asks for 10 s") in transactions
    assert any(what.startswith("the cluster gives no transactional producer") for _, what in transactions)
    assert limited.said("kafka.session")[0][0] == "error"
    ((level, what),) = lost.said("kafka.brokers")
    assert (level, what.startswith("broker 1 is not reachable at 127.0.0.1:1, the address that it tells")) == (
        "error",
        True,
    )
    assert "please report" not in lost.out


async def test_a_cluster_too_small_for_its_own_topics(tmp_path: Path) -> None:
    three = {"offsets.topic.replication.factor": "3", "transaction.state.log.replication.factor": "3"}
    async with EmbeddedKafka(properties=three) as broker, fleet(broker.bootstrap_servers, tmp_path) as ships:
        ended = await doctor(kafka_settings(ships), "--json", "--timeout", "3")

    assert ended.code == 1
    assert ended.said("kafka.transactions")[0] == (
        "error",
        "the cluster gives no transactional producer: no coordinator of transactions answers",
    )
    ((level, what),) = ended.said("kafka.group")
    assert (level, "Kafka does not answer: " in what, "Coordinator" in what) == ("error", True, True)
