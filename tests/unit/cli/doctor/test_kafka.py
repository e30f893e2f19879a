"""What is said of topics, brokers and groups as Kafka describes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from worker_agents.cli.doctor.findings import Finding, Level
from worker_agents.cli.doctor.kafka_cluster import judge_broker_age, judge_brokers, judge_group, judge_session
from worker_agents.cli.doctor.kafka_topics import judge_topics
from worker_agents.kafka.inspection import BrokerFacts, GroupFacts, Member, TopicDetails
from worker_agents.settings import Settings

DAY, MIB = 86_400_000, 1024 * 1024
TICKETS, RESULTS, LETTERS, STATE = (
    "execution.tickets",
    "execution.results",
    "execution.tickets.dlq",
    "execution.tickets.state",
)
CONFIGURATION = {
    "cleanup.policy": "delete",
    "min.insync.replicas": "2",
    "retention.ms": str(7 * DAY),
    "max.message.bytes": str(MIB),
}


def topic(name: str, configuration: Mapping[str, str] | None = None, **facts: Any) -> TopicDetails:
    settings = {**CONFIGURATION, **(configuration or {})}
    return TopicDetails(
        **{"name": name, "exists": True, "partitions": 12, "replicas": 3, "settings": settings, **facts}
    )


def topics(**changed: TopicDetails) -> list[TopicDetails]:
    good = {
        "tickets": topic(TICKETS),
        "results": topic(RESULTS),
        "letters": topic(LETTERS, {"max.message.bytes": str(2 * MIB)}),
        "state": topic(STATE, {"cleanup.policy": "compact"}),
    }
    return list({**good, **changed}.values())


def bad(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level in (Level.ERROR, Level.WARNING)]


def the_only(findings: Iterable[Finding]) -> Finding:
    (finding,) = bad(findings)
    assert finding.why
    assert finding.advice
    return finding


# --- topics ----------------------------------------------------------------------------------------------------------


def test_topics_as_the_documents_make_them_are_fine() -> None:
    findings = judge_topics(topics(), Settings())

    assert [(finding.check, finding.level) for finding in findings] == [
        ("kafka.topics", Level.OK),
        ("kafka.durability", Level.OK),
        ("kafka.retention", Level.OK),
    ]


@pytest.mark.parametrize(
    ("changed", "level", "words"),
    [
        (
            {"state": topic(STATE, {"cleanup.policy": "compact"}, partitions=6)},
            "error",
            "has 6 partitions, execution.tickets has 12",
        ),
        ({"state": topic(STATE)}, "error", "cleanup.policy=delete, not compact"),
        ({"state": topic(STATE, {"cleanup.policy": "compact,delete"})}, "error", "cleanup.policy=compact,delete"),
        ({"results": TopicDetails(RESULTS, exists=False, is_forbidden=True)}, "error", "may not be seen"),
        ({"results": topic(RESULTS, settings=None)}, "error", "the configuration of execution.results may not be seen"),
        (
            {"results": topic(RESULTS, without_leader=2)},
            "error",
            "2 of 12 partitions of execution.results have no leader",
        ),
        (
            {"results": topic(RESULTS, behind=1)},
            "warning",
            "1 of 12 partitions of execution.results have replicas that are not",
        ),
        (
            {
                "results": topic(
                    RESULTS,
                    replicas=1,
                )
            },
            "error",
            "min.insync.replicas is more than there are replicas",
        ),
        (
            {"results": topic(RESULTS, {"min.insync.replicas": "1"}, replicas=1)},
            "warning",
            "one replica only: execution.results",
        ),
        ({"results": topic(RESULTS, {"min.insync.replicas": "1"})}, "warning", "min.insync.replicas is 1"),
        ({"results": topic(RESULTS, replicas=2)}, "warning", "as many min.insync.replicas as replicas"),
        (
            {"tickets": topic(TICKETS, {"retention.ms": "3600000"})},
            "warning",
            "less than CODE_FORGE_TIMEOUT_SECONDS (4 h)",
        ),
        ({"tickets": topic(TICKETS, {"retention.bytes": "1000"})}, "warning", "retention.bytes=1000"),
        ({"letters": topic(LETTERS)}, "warning", "takes records of 1 MiB"),
    ],
)
def test_each_fault_of_a_topic(changed: dict[str, TopicDetails], level: str, words: str) -> None:
    settings = Settings(dedup_retention_seconds=3600)
    finding = the_only(judge_topics(topics(**changed), settings))

    assert finding.level == level
    assert words in finding.what


def test_topics_with_the_same_fault_are_told_together() -> None:
    single = {
        name: topic(name, {**CONFIGURATION, "min.insync.replicas": "1"}, replicas=1) for name in (RESULTS, TICKETS)
    }

    finding = the_only(judge_topics(topics(results=single[RESULTS], tickets=single[TICKETS]), Settings()))

    assert finding.what == "one replica only: execution.tickets, execution.results"


def test_a_missing_topic_is_an_error_where_nobody_will_create_it() -> None:
    missing = topics(results=TopicDetails(RESULTS, exists=False))

    assert the_only(judge_topics(missing, Settings(kafka_create_topics=True))).level == "warning"
    assert the_only(judge_topics(missing, Settings(kafka_create_topics=False))).level == "error"


@pytest.mark.parametrize(
    ("remembered", "words"),
    [
        (8 * 86_400, "is more than execution.tickets keeps tickets for (7 d)"),
        (60, "is less than DEPENDENCY_TIMEOUT_SECONDS (1 h)"),
    ],
)
def test_what_is_remembered_is_compared_with_what_is_kept_and_awaited(remembered: float, words: str) -> None:
    finding = the_only(judge_topics(topics(), Settings(dedup_retention_seconds=remembered)))

    assert (finding.check, finding.level) == ("kafka.retention", "warning")
    assert words in finding.what


def test_what_is_forgotten_while_it_is_awaited_is_told_whatever_the_topic_keeps() -> None:
    for_ever = topics(tickets=topic(TICKETS, {"retention.ms": "-1"}))

    assert the_only(judge_topics(for_ever, Settings(dedup_retention_seconds=60))).check == "kafka.retention"


def test_a_topic_that_keeps_for_ever_is_never_too_short() -> None:
    assert not bad(
        judge_topics(
            topics(tickets=topic(TICKETS, {"retention.ms": "-1"})), Settings(dedup_retention_seconds=30 * 86_400)
        )
    )


# --- brokers and transactions ----------------------------------------------------------------------------------------


def test_a_broker_that_advertises_an_address_nobody_reaches() -> None:
    good, lost = BrokerFacts(1, "kafka-0:9092", {}), BrokerFacts(2, "kafka-1:9092", {}, "no such host")

    assert judge_brokers([good])[0].level == "ok"
    finding = the_only(judge_brokers([good, lost]))
    assert (finding.check, finding.level) == ("kafka.brokers", "error")
    assert "broker 2 is not reachable at kafka-1:9092" in finding.what


VERIFIES = {"transaction.partition.verification.enable": "true", "transaction.max.timeout.ms": "900000"}
OLD, BETWEEN, NEW = ({24: 3, 1: 13}, {24: 4, 1: 15}, {24: 5, 1: 17})


@pytest.mark.parametrize(
    ("versions", "settings", "expected"),
    [
        (NEW, VERIFIES, []),
        (NEW, {**VERIFIES, "transaction.partition.verification.enable": "false"}, ["warning"]),
        (OLD, {"transaction.max.timeout.ms": "900000"}, ["warning"]),
        (NEW, {**VERIFIES, "transaction.max.timeout.ms": "5000"}, ["error"]),
        (OLD, None, ["warning"]),
        (BETWEEN, None, ["skipped"]),
        (NEW, None, []),
    ],
)
def test_the_age_of_a_broker_and_its_longest_transaction(
    versions: dict[int, int], settings: dict[str, str] | None, expected: list[str]
) -> None:
    found = list(judge_broker_age(BrokerFacts(1, "kafka:9092", versions), settings))

    assert [finding.level for finding in found] == expected


@pytest.mark.parametrize(
    ("broker", "level"),
    [
        ({"group.min.session.timeout.ms": "6000", "group.max.session.timeout.ms": "1800000"}, "ok"),
        ({"group.min.session.timeout.ms": "6000", "group.max.session.timeout.ms": "30000"}, "error"),
        ({"group.min.session.timeout.ms": "60000", "group.max.session.timeout.ms": "1800000"}, "error"),
        (None, "skipped"),
    ],
)
def test_the_session_must_be_one_that_the_broker_accepts(broker: dict[str, str] | None, level: str) -> None:
    (finding,) = judge_session(broker, Settings())

    assert finding.level == level


# --- the group -------------------------------------------------------------------------------------------------------


def group(state: str, *members: Member, protocol_type: str = "consumer", protocol: str = "sticky") -> GroupFacts:
    return GroupFacts(state, protocol_type, protocol, members)


def worker(client_id: str, *topics: str) -> Member:
    return Member(client_id, "10.0.0.1", topics or (TICKETS,))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (group("Empty", protocol=""), "has no members: no worker runs"),
        (group("Dead", protocol_type="", protocol=""), "has no members: no worker runs"),
        (group("Stable", worker("a")), "is stable, with 1 worker"),
        (group("Stable", worker("a"), worker("b")), "is stable, with 2 workers"),
    ],
)
def test_groups_that_are_fine(facts: GroupFacts, words: str) -> None:
    (finding,) = judge_group(facts, 12, Settings())

    assert finding.level == "ok"
    assert words in finding.what


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        (
            group("Stable", worker("logger"), protocol="range"),
            "error",
            "share by consumer/range, workers by consumer/sticky",
        ),
        (
            group("Stable", worker("sink"), protocol_type="connect", protocol="default"),
            "error",
            "share by connect/default",
        ),
        (group("Stable", worker("a"), worker("b", "orders")), "error", "read other topics: b (orders)"),
        (group("PreparingRebalance", worker("a"), protocol=""), "warning", "sharing its partitions anew"),
        (group("Stable", *(worker(f"w{n}") for n in range(13))), "warning", "has 13 workers for 12 partitions"),
        (group("Stable", worker("a"), worker("a")), "warning", "2 workers are called a"),
    ],
)
def test_each_fault_of_a_group(facts: GroupFacts, level: str, words: str) -> None:
    finding = the_only(judge_group(facts, 12, Settings()))

    assert (finding.check, finding.level) == ("kafka.group", level)
    assert words in finding.what
