"""One sentence for the state of a worker. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker_agents.model.errors import Reason
from worker_agents.model.words import count, span
from worker_agents.web.views import IntegrationView, Level, Parts

# Results that were simulated so long ago no longer make a worker degraded. Buckets of a minute.
_SIMULATED_BUCKETS = 15
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Condition:
    """What the sentence is made of. ``waiting_for`` is how many tickets wait, by task type and reason."""

    at: int
    stage: str
    stuck: Sequence[str]
    not_ready: Sequence[str]
    parts: Parts
    waiting_for: Mapping[tuple[str, str], int]
    tickets: int
    running: int
    oldest_age: float


@dataclass(frozen=True, slots=True)
class Summary:
    """``headline`` is the sentence without simulated results, for those who tell of them apart."""

    level: Level
    sentence: str
    headline: str
    reasons: tuple[str, ...]
    simulated_lately: int


def summarize(condition: Condition) -> Summary:
    """What an operator should hear first, and everything that is wrong."""
    troubles = (*condition.stuck, *_troubles(condition))
    simulated = sum(bucket.simulated for bucket in condition.parts.history.buckets[-_SIMULATED_BUCKETS:])
    reasons = (*troubles, *_simulations(simulated, condition))
    level = _level(condition, reasons)
    return Summary(
        level,
        sentence=_sentence(level, reasons, condition),
        headline=_sentence(level, troubles, condition),
        reasons=reasons,
        simulated_lately=simulated,
    )


def _sentence(level: Level, reasons: Sequence[str], condition: Condition) -> str:
    parts = [*(reasons or _what_is_done(condition, level)), *_load(condition)]
    return f"{level.capitalize()}: {'; '.join(parts)}"


def _level(condition: Condition, reasons: Sequence[str]) -> Level:
    if condition.stuck:
        return Level.STUCK
    if condition.stage in (Level.STARTING, Level.DRAINING, Level.STOPPED):
        return Level(condition.stage)
    if reasons:
        return Level.DEGRADED
    return Level.WORKING if condition.tickets else Level.IDLE


def _troubles(condition: Condition) -> list[str]:
    return [
        *_partitions_not_open(condition),
        *_integrations_down(condition),
        *_types_held_up(condition),
        *_pauses(condition),
    ]


def _partitions_not_open(condition: Condition) -> list[str]:
    closed = [partition for partition in condition.parts.partitions if partition.phase != "open"]
    if closed:
        why = next((f" ({partition.why_not_open})" for partition in closed if partition.why_not_open), "")
        return [f"{len(closed)} of {count(len(condition.parts.partitions), 'partition')} not open{why}"]
    return list(condition.not_ready) if condition.stage == "serving" else []


def _integrations_down(condition: Condition) -> list[str]:
    down = [integration for integration in condition.parts.integrations if integration.breaker in ("open", "half_open")]
    return [
        f"{integration.label} breaker {str(integration.breaker).replace('_', ' ')} {span(_since(integration, condition))}"
        for integration in down
    ]


def _since(integration: IntegrationView, condition: Condition) -> float:
    return (condition.at - (integration.breaker_since or condition.at)) / 1000


def _types_held_up(condition: Condition) -> list[str]:
    held_up = [kind for (kind, reason) in condition.waiting_for if reason == Reason.DEPENDENCY_UNAVAILABLE]
    return [f"{_some(sorted(set(held_up)))} waiting"] if held_up else []


def _pauses(condition: Condition) -> list[str]:
    return [
        f"{slots.queue} paused by {slots.pause.by} for {span((slots.pause.until - condition.at) / 1000)} more"
        for slots in condition.parts.slots
        if slots.pause is not None
    ]


def _simulations(simulated: int, condition: Condition) -> list[str]:
    minutes = _SIMULATED_BUCKETS * condition.parts.history.bucket_seconds / 60
    return [f"{count(simulated, 'result')} simulated in the last {minutes:.0f} min"] if simulated else []


def _what_is_done(condition: Condition, level: Level) -> list[str]:
    if level is Level.IDLE or (level is Level.DEGRADED and not condition.tickets):
        return [f"no tickets in {count(len(condition.parts.partitions), 'partition')}"]
    if level in (Level.WORKING, Level.DEGRADED, Level.DRAINING):
        return [f"{condition.running:,} running"]
    return list(condition.not_ready) or ["no partitions"]


def _load(condition: Condition) -> list[str]:
    if not condition.tickets:
        return []
    return [f"{count(condition.tickets, 'ticket')}, oldest {span(condition.oldest_age)}"]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
