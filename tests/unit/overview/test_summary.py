"""One sentence that an operator should hear first."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.web.documents import NOW_MS, bucket, integration, partition, slots
from worker_agents.model.errors import Reason
from worker_agents.overview.summary import Condition, Summary, summarize
from worker_agents.web.views import HistoryView, Level, Parts, PauseView

MINUTE_MS = 60_000
SIMULATED_NOW = HistoryView(bucket_seconds=60, buckets=(*(bucket() for _ in range(59)), bucket(simulated=3)))


def condition(**changes: Any) -> Condition:
    parts = {
        "partitions": (partition(0), partition(1)),
        "integrations": (integration("code_forge"),),
        "slots": (slots("all"),),
        "history": HistoryView(bucket_seconds=60, buckets=tuple(bucket() for _ in range(60))),
    }
    of_parts = {name: changes.pop(name) for name in list(changes) if name in parts}
    values = {
        "at": NOW_MS,
        "stage": "serving",
        "stuck": (),
        "not_ready": (),
        "waiting_for": {},
        "tickets": 0,
        "running": 0,
        "oldest_age": 0.0,
    }
    return Condition(parts=Parts(**{**parts, **of_parts}), **{**values, **changes})


def said(**changes: Any) -> Summary:
    return summarize(condition(**changes))


def test_nothing_to_do() -> None:
    sentence = "Idle: no tickets in 2 partitions"
    assert said() == Summary(Level.IDLE, sentence, headline=sentence, reasons=(), simulated_lately=0)


def test_at_work() -> None:
    summary = said(tickets=1_237, running=200, oldest_age=372.0)
    sentence = "Working: 200 running; 1,237 tickets, oldest 6 min"
    assert summary == Summary(Level.WORKING, sentence, headline=sentence, reasons=(), simulated_lately=0)


def test_the_breaker_the_type_that_waits_and_the_load() -> None:
    summary = said(
        integrations=(integration("code_forge", breaker="open", breaker_since=NOW_MS - 4 * MINUTE_MS),),
        waiting_for={("BUILD", Reason.DEPENDENCY_UNAVAILABLE): 30, ("TEST", "dependency"): 7},
        tickets=37,
        running=0,
        oldest_age=380.0,
    )
    assert summary.level is Level.DEGRADED
    assert summary.sentence == "Degraded: Code Forge breaker open 4 min; BUILD waiting; 37 tickets, oldest 6 min"


def test_partitions_that_are_not_open_come_first_with_their_reason() -> None:
    summary = said(
        partitions=(partition(0), partition(1, phase="suspended", why_not_open="no answer from Kafka")),
        integrations=(integration("opa", breaker="half_open", breaker_since=NOW_MS - 9_000),),
    )
    assert summary.reasons == ("1 of 2 partitions not open (no answer from Kafka)", "OPA breaker half open 9 s")


def test_simulated_results_are_told_for_a_quarter_of_an_hour() -> None:
    recently = said(history=SIMULATED_NOW)
    assert (recently.level, recently.reasons) == (Level.DEGRADED, ("3 results simulated in the last 15 min",))
    assert recently.simulated_lately == 3
    old = [bucket(simulated=3)] + [bucket() for _ in range(59)]
    once = said(history=HistoryView(bucket_seconds=60, buckets=tuple(old)))
    assert (once.level, once.simulated_lately) == (Level.IDLE, 0)


@pytest.mark.parametrize(
    ("changes", "sentence", "headline"),
    [
        (
            {},
            "Degraded: 3 results simulated in the last 15 min",
            "Degraded: no tickets in 2 partitions",
        ),
        (
            {"tickets": 7, "running": 2, "oldest_age": 61.0},
            "Degraded: 3 results simulated in the last 15 min; 7 tickets, oldest 1 min",
            "Degraded: 2 running; 7 tickets, oldest 1 min",
        ),
        (
            {"integrations": (integration("opa", breaker="half_open", breaker_since=NOW_MS - 9_000),)},
            "Degraded: OPA breaker half open 9 s; 3 results simulated in the last 15 min",
            "Degraded: OPA breaker half open 9 s",
        ),
    ],
)
def test_the_headline_leaves_simulated_results_to_others(changes: dict[str, Any], sentence: str, headline: str) -> None:
    summary = said(history=SIMULATED_NOW, **changes)
    assert (summary.sentence, summary.headline) == (sentence, headline)


def test_a_paused_type_says_who_paused_it_and_for_how_long() -> None:
    pause = PauseView(by="ada", why="cluster upgrade", until=NOW_MS + 90 * MINUTE_MS)
    summary = said(slots=(slots("all"), slots("DEPLOY", pause=pause)))
    assert summary.reasons == ("DEPLOY paused by ada for 1 h 30 min more",)


@pytest.mark.parametrize(("stage", "level"), [("starting", Level.STARTING), ("draining", Level.DRAINING)])
def test_a_stage_of_its_life_is_no_trouble(stage: str, level: Level) -> None:
    summary = said(stage=stage, not_ready=(f"the worker is {stage}",), tickets=3, running=3, oldest_age=5.0)
    assert summary.level is level
    assert summary.reasons == ()
    assert summary.sentence.endswith("; 3 tickets, oldest 5 s")


def test_a_stuck_worker_says_so_before_everything_else() -> None:
    summary = said(stuck=("the consumer has not polled for 95 s",), stage="draining")
    assert summary.sentence == "Stuck: the consumer has not polled for 95 s"


def test_a_worker_outside_its_group_is_degraded() -> None:
    summary = said(not_ready=("the worker has not joined its group yet",), partitions=())
    assert summary.sentence == "Degraded: the worker has not joined its group yet"
