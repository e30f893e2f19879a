"""Looks at Kafka: first whether it answers, then everything else at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from worker_agents.cli.doctor.checks import Check, run_check, run_checks
from worker_agents.cli.doctor.clock import MAX_SKEW_MS, Readings
from worker_agents.cli.doctor.findings import Finding, Subject, ok_unless
from worker_agents.cli.doctor.kafka_cluster import judge_broker_age, judge_brokers, judge_group, judge_session
from worker_agents.cli.doctor.kafka_topics import judge_topics
from worker_agents.kafka.inspection import KafkaInspection, inspected
from worker_agents.kafka.producer import PRODUCER_ERRORS, TransactionalProducer
from worker_agents.main import kafka_config, kafka_connection, topic_names
from worker_agents.model.errors import KafkaRefused, KafkaUnreachable, SettingsInvalid
from worker_agents.settings import Settings

_CONNECTION = Subject("kafka.connection")
_REST = Subject("kafka.rest")
_BROKERS = Subject("kafka.brokers")
_PERMISSIONS = Subject("kafka.permissions")
_TRANSACTIONS = Subject("kafka.transactions")
_TOPICS = Subject("kafka.topics")
_GROUP = Subject("kafka.group")
_RECORDS = Subject("kafka.records")

# What is forbidden is told by the check of permissions.
_FORBIDDEN = (GroupAuthorizationFailedError, TopicAuthorizationFailedError, TransactionalIdAuthorizationFailed)

# Of a check's time: the rest is for ending well what did not answer.
_SHARE = 0.6
# As many requests in a row may be left unanswered before a check is over.
_REQUESTS = 6


class KafkaExamination:
    """Examines Kafka as ``settings`` describe it. ``is_unreachable`` is known afterwards.

    Each check gets ``seconds``. ``readings`` is told what records say of clocks. ``lacks_password``: the login's password lies in Vault, unread.
    """

    def __init__(self, settings: Settings, readings: Readings, seconds: float, *, lacks_password: bool = False) -> None:
        self.is_unreachable = False
        self._settings = settings
        self._connection = replace(kafka_connection(settings), request_timeout=min(5.0, seconds / _REQUESTS))
        self._readings = readings
        self._seconds = seconds
        self._lacks_password = lacks_password
        self._kafka: KafkaInspection | None = None

    async def findings(self) -> list[Finding]:
        """Everything that there is to say. Never raises."""
        seconds = self._seconds
        async with AsyncExitStack() as stack:
            self.is_unreachable = True
            found = await run_check(Check(_CONNECTION.check, lambda: self._connect(stack)), seconds)
            if self._kafka is None:
                return [*found, _REST.skipped("everything else at Kafka: it cannot be looked at without a connection")]
            self.is_unreachable = False
            return [*found, *await run_checks(self._checks(self._kafka), seconds)]

    async def _connect(self, stack: AsyncExitStack) -> list[Finding]:
        if self._lacks_password:
            self.is_unreachable = False
            return [_password_unknown()]
        connection, patience = self._connection, _SHARE * self._seconds
        try:
            async with asyncio.timeout(patience):
                self._kafka = await stack.enter_async_context(inspected(connection))
        except TimeoutError:
            return [_unreachable(f"no Kafka broker answered at {connection.bootstrap_servers} within {patience:.0f} s")]
        except KafkaUnreachable as error:
            return [_unreachable(str(error))]
        except (KafkaRefused, SettingsInvalid) as error:
            self.is_unreachable = False
            return [_refused(str(error))]
        return [_CONNECTION.ok(f"{connection.bootstrap_servers} answers ({connection.security_protocol})")]

    def _checks(self, kafka: KafkaInspection) -> list[Check]:
        looks = {
            _BROKERS: self._brokers,
            _TRANSACTIONS: self._transactions,
            _PERMISSIONS: self._permissions,
            _TOPICS: self._topics,
            _GROUP: self._group,
            _RECORDS: self._records,
        }
        return [
            Check(subject.check, partial(_unless_kafka_fails, subject, partial(look, kafka)))
            for subject, look in looks.items()
        ]

    async def _brokers(self, kafka: KafkaInspection) -> Iterable[Finding]:
        return judge_brokers(await kafka.brokers())

    async def _transactions(self, kafka: KafkaInspection) -> Iterable[Finding]:
        """The broker's age and limits, and whether it really gives a producer's id to a transactional client."""
        reached = [broker for broker in await kafka.brokers() if not broker.problem]
        if not reached:
            return [_TRANSACTIONS.skipped("no broker is reachable at the address that it tells clients")]
        settings = await kafka.broker_settings(reached[0].node_id)
        found = [*judge_broker_age(reached[0], settings), *await self._producer_id()]
        fine = _TRANSACTIONS.ok("supported, with the ledger's time-out and ids")
        return [*ok_unless(found, fine), *judge_session(settings, self._settings)]

    async def _producer_id(self) -> list[Finding]:
        """Ask for the id of a producer that never writes. Its name is the doctor's own, and fences nobody."""
        settings = self._settings
        name = f"{kafka_config(settings).permissions.transactional_ids}doctor"
        producer = TransactionalProducer(self._connection, name, settings.kafka_consumer_group_id)
        try:
            async with asyncio.timeout(_SHARE * self._seconds):
                await producer.start()
        except TransactionalIdAuthorizationFailed:
            return [_no_transactions(f"Write on the transactional id {name!r} is not allowed")]
        except TimeoutError:
            return [_no_transactions("no coordinator of transactions answers")]
        except PRODUCER_ERRORS as error:
            return [_no_transactions(str(error) or type(error).__name__)]
        finally:
            await producer.discard()
        return []

    async def _permissions(self, kafka: KafkaInspection) -> Iterable[Finding]:
        missing = await kafka.missing_permissions(kafka_config(self._settings).permissions)
        return ok_unless(map(_forbidden, missing), _PERMISSIONS.ok("this client may do all that a worker does"))

    async def _topics(self, kafka: KafkaInspection) -> Iterable[Finding]:
        return judge_topics(await kafka.topics(topic_names(self._settings).all()), self._settings)

    async def _group(self, kafka: KafkaInspection) -> Iterable[Finding]:
        (tickets,) = await kafka.topics([self._settings.kafka_tickets_topic])
        group = await kafka.group(self._settings.kafka_consumer_group_id, patience=_SHARE * self._seconds)
        return judge_group(group, tickets.partitions, self._settings)

    async def _records(self, kafka: KafkaInspection) -> Iterable[Finding]:
        """A record from the future tells that a clock is wrong: this one, or that of who wrote it."""
        topics = {topic.name: topic.partitions for topic in await kafka.topics(topic_names(self._settings).all())}
        now_ms = time.time_ns() // 1_000_000
        latest = await kafka.latest_beyond(topics, now_ms + MAX_SKEW_MS)
        if latest is not None:
            self._readings.add("the youngest record in Kafka", (latest - now_ms) / 1000)
        return []


async def _unless_kafka_fails(subject: Subject, look: Callable[[], Awaitable[Iterable[Finding]]]) -> Iterable[Finding]:
    try:
        return await look()
    except _FORBIDDEN as error:
        return [subject.skipped(f"it may not be looked at by this client ({type(error).__name__})")]
    except KafkaError as error:
        return [
            subject.error(
                f"it is not known: Kafka does not answer: {error}",
                why="A worker asks for the same, or more.",
                advice="See to the brokers first; their log may say more.",
            )
        ]


def _password_unknown() -> Finding:
    return _CONNECTION.error(
        "Kafka cannot be asked: KAFKA_SASL_PASSWORD lies in Vault and could not be read",
        why="No worker can log in at Kafka.",
        advice="See to Vault first.",
    )


def _unreachable(problem: str) -> Finding:
    return _CONNECTION.error(
        problem,
        why="A worker waits for Kafka and then ends with exit code 3: nothing is worked on.",
        advice="Check KAFKA_BOOTSTRAP_SERVERS, name resolution, network policies, and whether the brokers run.",
    )


def _refused(problem: str) -> Finding:
    return _CONNECTION.error(
        problem,
        why="A worker ends at once with exit code 2: trying again is useless.",
        advice="Correct the setting that is named; EXTERNAL_TOOLS_SETUP.md has the table of what each sentence means.",
    )


def _no_transactions(problem: str) -> Finding:
    return _TRANSACTIONS.error(
        f"the cluster gives no transactional producer: {problem}",
        why="All that workers write is written in transactions: no partition can be opened.",
        advice="See whether the topic __transaction_state has leaders and enough replicas "
        "(transaction.state.log.replication.factor, transaction.state.log.min.isr), and the permissions below.",
    )


def _forbidden(permission: str) -> Finding:
    return _PERMISSIONS.error(
        f"not allowed: {permission}",
        why="A worker asks for it at its start, and ends with exit code 2.",
        advice="Grant it to this client's principal: kafka-acls.sh --add, as in EXTERNAL_TOOLS_SETUP.md.",
    )
