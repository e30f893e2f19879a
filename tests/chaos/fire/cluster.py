"""One to three Kafka brokers in KRaft mode, and for each worker an address of its own to every broker.

A client reaches only the addresses that brokers advertise. So each broker has one listener for each worker's slot
beside the direct one, and advertises a toxiproxy link for it: what is done to that link hits that worker alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest

from tests.chaos.fire.elections import ElectLeadersRequest
from tests.chaos.fire.toxiproxy import HOST, Link
from worker_agents.devkit.embedded_kafka import EmbeddedKafka, new_cluster_id
from worker_agents.devkit.ports import free_ports


class Cluster:
    """Replication factor 3 and 2 in-sync replicas at least, where there are three brokers."""

    def __init__(self, brokers: int, slots: int, folder: Path) -> None:
        self.replicas = brokers
        self.links = {slot: [] for slot in range(slots)}  # type: dict[int, list[Link]]
        ports = iter(free_ports(brokers * (2 + 2 * slots)))
        direct = [next(ports) for _ in range(brokers)]
        voters = [next(ports) for _ in range(brokers)]
        shared = {**_replication(brokers), **_QUICK_RETURN}
        shared["controller.quorum.voters"] = ",".join(f"{n}@{HOST}:{port}" for n, port in enumerate(voters, 1))
        cluster_id = new_cluster_id()
        self.brokers = []
        for number in range(1, brokers + 1):
            listeners = {"PLAINTEXT": (direct[number - 1], direct[number - 1])}
            for slot in range(slots):
                port, proxied = next(ports), next(ports)
                listeners[f"SLOT{slot}"] = (port, proxied)
                self.links[slot].append(Link(f"slot-{slot}-broker-{number}", proxied, f"{HOST}:{port}"))
            properties = {**shared, "node.id": str(number), **_listeners(listeners, voters[number - 1])}
            data = folder / f"broker-{number}"
            self.brokers.append(
                EmbeddedKafka(
                    data_dir=data, port=direct[number - 1], properties=properties, cluster_id=cluster_id, heap="384m"
                )
            )

    @property
    def bootstrap_servers(self) -> str:
        """The direct addresses, which nothing is ever done to."""
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    def bootstrap_servers_of(self, slot: int) -> str:
        return ",".join(link.address for link in self.links[slot])

    async def start(self) -> None:
        # Together: none of them is ready before most of them are.
        await asyncio.gather(*(broker.start() for broker in self.brokers))

    async def stop(self) -> None:
        for broker in self.brokers:
            broker.resume()
            await broker.kill()
            await broker.stop()

    async def move_a_leader(self, rng: random.Random) -> str:
        """Make another in-sync replica the leader of some partition, of internal topics too; the partition's name."""
        for _ in range(_TRIES):
            with contextlib.suppress(KafkaError):  # a broker that is only coming back
                return await self._move_a_leader(rng)
            await asyncio.sleep(1)
        return await self._move_a_leader(rng)

    async def _move_a_leader(self, rng: random.Random) -> str:
        async with self.admin() as admin:
            topics = await admin.describe_topics()
            partitions = [(topic["topic"], each) for topic in topics for each in topic["partitions"]]
            movable = [(topic, each) for topic, each in partitions if set(each["isr"]) - {each["leader"]}]
            topic, partition = rng.choice(sorted(movable, key=lambda pair: (pair[0], pair[1]["partition"])))
            number, replicas = partition["partition"], partition["replicas"]
            heir = rng.choice(sorted(set(partition["isr"]) - {partition["leader"]}))
            order = [heir, *(replica for replica in replicas if replica != heir)]
            await admin._send_to_controller(
                AlterPartitionReassignmentsRequest(10_000, [(topic, [(number, order, {})], {})], {})
            )
            await admin._send_to_controller(ElectLeadersRequest(topic, number))
        return f"{topic}-{number}"

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Any]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


_TRIES = 10

# A killed broker's old registration must expire before it is taken back (default 9 s).
_QUICK_RETURN = {"broker.session.timeout.ms": "6000", "broker.heartbeat.interval.ms": "1000"}


def _replication(brokers: int) -> dict[str, str]:
    in_sync = str(min(brokers, 2))
    return {
        "default.replication.factor": str(brokers),
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": str(brokers),
        "transaction.state.log.replication.factor": str(brokers),
        "transaction.state.log.min.isr": in_sync,
        # Each listener has as many threads of its own, and there are many listeners here.
        "num.network.threads": "1",
    }


def _listeners(ports: dict[str, tuple[int, int]], controller: int) -> dict[str, str]:
    """For each name the port that the broker listens on, and the one that it advertises."""
    return {
        "listeners": ",".join(
            [*(f"{name}://{HOST}:{port}" for name, (port, _) in ports.items()), f"CONTROLLER://{HOST}:{controller}"]
        ),
        "advertised.listeners": ",".join(f"{name}://{HOST}:{port}" for name, (_, port) in ports.items()),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in (*ports, "CONTROLLER")),
        "inter.broker.listener.name": "PLAINTEXT",
    }
