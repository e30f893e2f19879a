"""Judges the four topics: their layout, how safe records are in them, and how long they are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, auto

from worker_agents.cli.doctor.findings import Finding, Level, Subject, ok_unless
from worker_agents.kafka.inspection import TopicDetails
from worker_agents.settings import Settings

_LAYOUT = Subject("kafka.topics")
_DURABILITY = Subject("kafka.durability")
_RETENTION = Subject("kafka.retention")

_MIB = 1024 * 1024
_USES = ("tickets", "results", "dead letters", "state")
_CREATE = "worker-agents topics create makes it as it must be, or the commands of EXTERNAL_TOOLS_SETUP.md."


def judge_topics(topics: Sequence[TopicDetails], settings: Settings) -> list[Finding]:
    """``topics`` in the order tickets, results, dead letters, state."""
    there = [topic for topic in topics if topic.exists]
    shape = ", ".join(f"{topic.name} {topic.partitions}" for topic in there)
    findings = ok_unless(_layout(topics, settings), _LAYOUT.ok(f"all four exist, with partitions: {shape}"))
    if there:
        least = min(topic.replicas for topic in there)
        findings += ok_unless(_durability(there), _DURABILITY.ok(f"{least} replicas of every partition, all in sync"))
        findings += ok_unless(_retention(topics, settings), _RETENTION.ok("long enough for what tickets wait for"))
    return findings


# --- layout ----------------------------------------------------------------------------------------------------------


def _layout(topics: Sequence[TopicDetails], settings: Settings) -> Iterator[Finding]:
    for topic, use in zip(topics, _USES, strict=True):
        if topic.is_forbidden:
            yield _forbidden(topic, use)
        elif not topic.exists:
            yield _missing(topic, use, settings)
        elif topic.settings is None:
            yield _hidden(topic)
    tickets, state = topics[0], topics[3]
    if tickets.exists and state.exists and state.partitions != tickets.partitions:
        yield _unequal(tickets, state)
    yield from _compaction(state)


def _forbidden(topic: TopicDetails, use: str) -> Finding:
    return _LAYOUT.error(
        f"the topic {topic.name} ({use}) may not be seen by this client",
        why="No worker can start without it.",
        advice="Grant what EXTERNAL_TOOLS_SETUP.md lists under permissions to the principal of this client.",
    )


def _missing(topic: TopicDetails, use: str, settings: Settings) -> Finding:
    what = f"the topic {topic.name} ({use}) does not exist"
    if settings.kafka_create_topics:
        return _LAYOUT.warning(
            f"{what} yet",
            why="The first worker creates it (KAFKA_CREATE_TOPICS=true) with the broker's default replication.",
            advice=f"Create it before with the replication that you want: {_CREATE}",
        )
    return _LAYOUT.error(f"{what}, and KAFKA_CREATE_TOPICS is false", why="No worker can start.", advice=_CREATE)


def _hidden(topic: TopicDetails) -> Finding:
    return _LAYOUT.error(
        f"the configuration of {topic.name} may not be seen by this client",
        why="A worker reads from it how long and how large records may be, and does not start without.",
        advice="Grant DescribeConfigs on the topic to the principal of this client.",
    )


def _unequal(tickets: TopicDetails, state: TopicDetails) -> Finding:
    return _LAYOUT.error(
        f"{state.name} has {state.partitions} partitions, {tickets.name} has {tickets.partitions}",
        why="A ticket's state is kept under the number of its own partition: no worker starts while they differ.",
        advice="Stop the producers, let the workers finish, then expand the smaller topic.",
    )


def _compaction(state: TopicDetails) -> Iterator[Finding]:
    policy = (state.settings or {}).get("cleanup.policy", "compact")
    if policy != "compact":
        yield _LAYOUT.error(
            f"{state.name} has cleanup.policy={policy}, not compact",
            why="Kafka would delete the states of tickets by age, and with them what has been done: no worker starts.",
            advice=f"kafka-configs.sh --alter --entity-type topics --entity-name {state.name} "
            "--add-config cleanup.policy=compact",
        )


# --- durability ------------------------------------------------------------------------------------------------------


def _durability(topics: Sequence[TopicDetails]) -> Iterator[Finding]:
    for topic in topics:
        yield from _availability(topic)
    by_fault: dict[_Fault, list[str]] = {}
    for topic in topics:
        if fault := _fault(topic):
            by_fault.setdefault(fault, []).append(topic.name)
    for fault, names in by_fault.items():
        what, why, advice = _FAULTS[fault]
        yield Finding(_DURABILITY.check, fault.level, f"{what}: {', '.join(names)}", why, advice)


def _availability(topic: TopicDetails) -> Iterator[Finding]:
    if topic.without_leader:
        yield _DURABILITY.error(
            f"{topic.without_leader} of {topic.partitions} partitions of {topic.name} have no leader",
            why="Nothing can be read from them or written to them.",
            advice="Bring the brokers back that hold their replicas.",
        )
    elif topic.behind:
        yield _DURABILITY.warning(
            f"{topic.behind} of {topic.partitions} partitions of {topic.name} have replicas that are not in sync",
            why="A broker is away or behind; one more, and records may not be accepted or may be lost.",
            advice="See which broker is behind: kafka-topics.sh --describe --under-replicated-partitions",
        )


class _Fault(Enum):
    IMPOSSIBLE = auto()
    SINGLE = auto()
    ONE_DISK = auto()
    BRITTLE = auto()

    @property
    def level(self) -> Level:
        return Level.ERROR if self is _Fault.IMPOSSIBLE else Level.WARNING


def _fault(topic: TopicDetails) -> _Fault | None:
    """What is wrong with how many replicas a topic has, and how many of them must have a record."""
    needed = topic.number("min.insync.replicas") or 1
    if needed > topic.replicas:
        return _Fault.IMPOSSIBLE
    if topic.replicas == 1:
        return _Fault.SINGLE
    if needed == 1:
        return None if topic.settings is None else _Fault.ONE_DISK
    return _Fault.BRITTLE if needed == topic.replicas else None


_FAULTS = {
    _Fault.IMPOSSIBLE: (
        "min.insync.replicas is more than there are replicas",
        "Kafka accepts no record of a worker there.",
        "Add replicas (kafka-reassign-partitions.sh), or lower min.insync.replicas.",
    ),
    _Fault.SINGLE: (
        "one replica only",
        "While its broker is away, work stands still; if its disk is lost, tickets and their states are.",
        "Three replicas and min.insync.replicas=2 (kafka-reassign-partitions.sh).",
    ),
    _Fault.ONE_DISK: (
        "min.insync.replicas is 1",
        "A record that was acknowledged may be on one disk only, and a ticket's state is lost with that.",
        "Set min.insync.replicas to 2, with three replicas.",
    ),
    _Fault.BRITTLE: (
        "as many min.insync.replicas as replicas",
        "Whenever one broker restarts, nothing can be written and work stands still.",
        "Use one replica more than min.insync.replicas.",
    ),
}


# --- retention -------------------------------------------------------------------------------------------------------


def _retention(topics: Sequence[TopicDetails], settings: Settings) -> Iterator[Finding]:
    tickets, _results, letters, _state = topics
    kept = _kept_seconds(tickets)
    if kept is not None:
        yield from _kept_too_short(tickets, kept, settings)
    yield from _remembered(tickets, kept, settings)
    if (size := tickets.number("retention.bytes")) is not None and size >= 0:
        yield _RETENTION.warning(
            f"{tickets.name} has retention.bytes={size}",
            why="Under load Kafka deletes tickets that nobody has worked on yet, however young they are.",
            advice="Remove retention.bytes from the topic, and let retention.ms decide.",
        )
    yield from _letters_too_large(tickets, letters)


def _kept_seconds(topic: TopicDetails) -> float | None:
    """``None`` for ever, or where it is not known."""
    if "delete" not in (topic.settings or {}).get("cleanup.policy", ""):
        return None
    milliseconds = topic.number("retention.ms")
    return milliseconds / 1000 if milliseconds is not None and milliseconds >= 0 else None


def _kept_too_short(tickets: TopicDetails, kept: float, settings: Settings) -> Iterator[Finding]:
    waits = {
        "CODE_FORGE_TIMEOUT_SECONDS": settings.code_forge_timeout_seconds,
        "DEPENDENCY_TIMEOUT_SECONDS": settings.dependency_timeout_seconds,
    }
    longest = max(waits, key=lambda name: waits[name])
    if kept < waits[longest]:
        yield _RETENTION.warning(
            f"{tickets.name} keeps tickets for {_span(kept)}, less than {longest} ({_span(waits[longest])})",
            why="A ticket is read again from the topic when its partition moves; one that is gone by then is FAILED "
            "(expired).",
            advice="Raise retention.ms of the topic: a week is usual.",
        )


def _remembered(tickets: TopicDetails, kept: float | None, settings: Settings) -> Iterator[Finding]:
    remembered = settings.dedup_retention_seconds
    if remembered < settings.dependency_timeout_seconds:
        yield _RETENTION.warning(
            f"DEDUP_RETENTION_SECONDS ({_span(remembered)}) is less than DEPENDENCY_TIMEOUT_SECONDS "
            f"({_span(settings.dependency_timeout_seconds)})",
            why="A ticket may wait for one that was done and has been forgotten, until it fails (dependency_timeout).",
            advice="Raise DEDUP_RETENTION_SECONDS to at least DEPENDENCY_TIMEOUT_SECONDS.",
        )
    elif kept is not None and remembered > kept:
        yield _RETENTION.warning(
            f"DEDUP_RETENTION_SECONDS ({_span(remembered)}) is more than {tickets.name} keeps tickets for ({_span(kept)})",
            why="The state topic then holds tickets that no longer exist, and each opening of a partition reads them.",
            advice="Raise retention.ms of the topic, or lower DEDUP_RETENTION_SECONDS to it.",
        )


def _letters_too_large(tickets: TopicDetails, letters: TopicDetails) -> Iterator[Finding]:
    largest_ticket, largest_letter = tickets.number("max.message.bytes"), letters.number("max.message.bytes")
    if largest_ticket and largest_letter and largest_letter <= largest_ticket:
        yield _RETENTION.warning(
            f"{letters.name} takes records of {largest_letter / _MIB:.2g} MiB, {tickets.name} of "
            f"{largest_ticket / _MIB:.2g} MiB",
            why="The dead letter of a large ticket holds only its beginning, and cannot be replayed.",
            advice=f"Set max.message.bytes of {letters.name} to twice that of {tickets.name}.",
        )


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:g} s"
