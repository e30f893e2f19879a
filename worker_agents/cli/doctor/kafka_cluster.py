"""Judges brokers, transactions and the consumer group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from worker_agents.cli.doctor.findings import Finding, Subject, ok_unless
from worker_agents.kafka.inspection import ASSIGNOR, BrokerFacts, GroupFacts
from worker_agents.kafka.producer import TRANSACTION_TIMEOUT
from worker_agents.settings import Settings

_BROKERS = Subject("kafka.brokers")
_TRANSACTIONS = Subject("kafka.transactions")
_SESSION = Subject("kafka.session")
_GROUP = Subject("kafka.group")

_FETCH, _ADD_PARTITIONS_TO_TXN = 1, 24
_VERIFICATION = "transaction.partition.verification.enable"
_HANGING = (
    "A transaction may stay open for ever after a crash (KIP-890); results behind it are then hidden from "
    "read_committed readers."
)


# --- brokers ---------------------------------------------------------------------------------------------------------


def judge_brokers(brokers: Sequence[BrokerFacts]) -> list[Finding]:
    return ok_unless(
        (_not_reached(broker) for broker in brokers if broker.problem),
        _BROKERS.ok(f"{len(brokers)} brokers, each reachable" if len(brokers) > 1 else "one broker, reachable"),
    )


def _not_reached(broker: BrokerFacts) -> Finding:
    return _BROKERS.error(
        f"broker {broker.node_id} is not reachable at {broker.address}, the address that it tells clients: {broker.problem}",
        why="Partitions that it leads cannot be worked on from here.",
        advice="If the broker is up, correct its advertised.listeners, or let this host resolve and reach that address.",
    )


# --- transactions ----------------------------------------------------------------------------------------------------


def judge_broker_age(broker: BrokerFacts, settings: Mapping[str, str] | None) -> Iterator[Finding]:
    """``settings`` are the broker's, ``None`` where they are hidden: then what it speaks gives its age away."""
    if settings is None:
        if broker.versions.get(_ADD_PARTITIONS_TO_TXN, 0) < 4:
            yield _too_old()
        elif broker.versions.get(_FETCH, 0) < 16:
            yield _TRANSACTIONS.skipped(
                "whether the broker is Kafka 3.6 or newer is not to be seen: its configuration is hidden",
                advice="Grant DescribeConfigs on the cluster to have it checked.",
            )
    elif _VERIFICATION not in settings:
        yield _too_old()
    elif settings[_VERIFICATION] != "true":
        yield _TRANSACTIONS.warning(
            f"the broker has {_VERIFICATION}={settings[_VERIFICATION]}", why=_HANGING, advice="Set it to true."
        )
    yield from _longest_transaction(settings or {})


def _too_old() -> Finding:
    return _TRANSACTIONS.warning(
        "the broker is older than Kafka 3.6", why=_HANGING, advice="Update the brokers to Kafka 3.6 or newer."
    )


def _longest_transaction(settings: Mapping[str, str]) -> Iterator[Finding]:
    longest = settings.get("transaction.max.timeout.ms", "")
    if longest.isdecimal() and int(longest) < TRANSACTION_TIMEOUT * 1000:
        yield _TRANSACTIONS.error(
            f"the broker's transaction.max.timeout.ms is {longest}, and the ledger asks for {TRANSACTION_TIMEOUT:g} s",
            why="Kafka refuses every transaction: no partition can be opened.",
            advice=f"Set transaction.max.timeout.ms of the brokers to at least {TRANSACTION_TIMEOUT * 1000:.0f}.",
        )


def judge_session(broker: Mapping[str, str] | None, settings: Settings) -> Iterator[Finding]:
    """Whether the broker accepts the session time-out of a worker."""
    if broker is None:
        yield _SESSION.skipped(
            "whether the broker accepts KAFKA_SESSION_TIMEOUT_SECONDS is not to be seen: its configuration is hidden"
        )
        return
    shortest, longest = (int(broker.get(f"group.{end}.session.timeout.ms") or bound) for end, bound in _BOUNDS)
    asked = settings.kafka_session_timeout_seconds * 1000
    if shortest <= asked <= longest:
        yield _SESSION.ok(f"the broker accepts a session of {settings.kafka_session_timeout_seconds:g} s")
    else:
        yield _SESSION.error(
            f"KAFKA_SESSION_TIMEOUT_SECONDS is {settings.kafka_session_timeout_seconds:g}, and the broker accepts "
            f"{shortest / 1000:g} to {longest / 1000:g} s",
            why="No worker can join the group.",
            advice="Change it, or group.min.session.timeout.ms and group.max.session.timeout.ms of the brokers.",
        )


_BOUNDS = (("min", 0), ("max", 2**31))


# --- the group -------------------------------------------------------------------------------------------------------


def judge_group(group: GroupFacts, partitions: int, settings: Settings) -> list[Finding]:
    """``partitions`` is how many the tickets topic has; 0 where that is not known."""
    name = settings.kafka_consumer_group_id
    number = len(group.members)
    workers = f"{number} worker{'' if number == 1 else 's'}"
    fine = f"{name} is stable, with {workers}" if group.members else f"{name} has no members: no worker runs"
    return ok_unless(_group(group, partitions, settings), _GROUP.ok(fine))


def _group(group: GroupFacts, partitions: int, settings: Settings) -> Iterator[Finding]:
    name = settings.kafka_consumer_group_id
    if group.members and (group.protocol_type != "consumer" or group.protocol not in ("", ASSIGNOR)):
        yield _GROUP.error(
            f"{name} is used by others: its members share by {group.protocol_type}/{group.protocol or '?'}, workers by "
            f"consumer/{ASSIGNOR}",
            why="No worker can join while they are in the group.",
            advice="Give the workers a group of their own (KAFKA_CONSUMER_GROUP_ID), or stop: "
            + ", ".join(sorted({f"{member.client_id} at {member.host}" for member in group.members})),
        )
        return
    yield from _other_topics(group, settings)
    if group.state in ("PreparingRebalance", "CompletingRebalance"):
        yield _GROUP.warning(
            f"{name} is sharing its partitions anew just now",
            why="Nothing is taken in meanwhile. It lasts seconds, unless workers come and go all the time.",
            advice="Look again in a minute.",
        )
    yield from _too_many(group, partitions, name)
    for client_id, times in Counter(member.client_id for member in group.members).items():
        if times > 1:
            yield _same_name(client_id, times)


def _other_topics(group: GroupFacts, settings: Settings) -> Iterator[Finding]:
    tickets = settings.kafka_tickets_topic
    foreign = [member for member in group.members if member.topics and set(member.topics) != {tickets}]
    if foreign:
        yield _GROUP.error(
            f"{settings.kafka_consumer_group_id} has members that read other topics: "
            + ", ".join(sorted({f"{member.client_id} ({', '.join(member.topics)})" for member in foreign})),
            why="Who shares a group shares partitions and offsets: tickets may go to those that do not work on them.",
            advice="Give the workers a group of their own (KAFKA_CONSUMER_GROUP_ID).",
        )


def _too_many(group: GroupFacts, partitions: int, name: str) -> Iterator[Finding]:
    if partitions and len(group.members) > partitions:
        yield _GROUP.warning(
            f"{name} has {len(group.members)} workers for {partitions} partitions",
            why="The workers beyond that have no partition and do nothing but stand by.",
            advice="Fewer replicas, or more partitions of the tickets topic and the state topic.",
        )


def _same_name(client_id: str, times: int) -> Finding:
    return _GROUP.warning(
        f"{times} workers are called {client_id}",
        why="Results, logs and leases do not tell them apart.",
        advice="Leave WORKER_ID unset, or give each worker its own.",
    )
