"""What is remembered of events, and for how long."""

from __future__ import annotations

from itertools import pairwise

from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.telemetry import events
from worker_agents.telemetry.history import BUCKET_SECONDS, History

SETTLED = {"status": "COMPLETED", "reason": "", "simulated": False, "attempts": 1, "duration": 2.0}


def settled(ticket_id: str, **changes: object) -> events.TicketSettled:
    return events.TicketSettled(ticket_id, "BUILD", **{**SETTLED, **changes})


def started(ticket_id: str) -> events.AttemptStarted:
    return events.AttemptStarted(ticket_id, "BUILD", attempt=1, delivery=1, resumed=False)


def names(history: History, ticket_id: str) -> list[str]:
    return [event.event for _, event in history.timeline(ticket_id)]


def test_a_ticket_has_its_whole_story_also_after_its_end() -> None:
    clock = VirtualClock()
    history = History(clock)
    history(started("t-1"))
    clock.advance(2)
    history(settled("t-1", status="FAILED", reason="internal"))
    history(events.DeadLettered("t-1", "internal", "broken"))
    assert names(history, "t-1") == ["attempt_started", "ticket_settled", "ticket_dead_lettered"]
    assert [at - clock.now_ms() for at, _ in history.timeline("t-1")] == [-2000, 0, 0]


def test_a_ticket_that_comes_back_after_a_hand_over_keeps_its_story() -> None:
    history = History(VirtualClock())
    history(started("t-1"))
    history(events.TicketReleased("t-1", "BUILD", "partition_revoked"))
    history(started("t-1"))
    assert names(history, "t-1") == ["attempt_started", "ticket_released", "attempt_started"]
    history(settled("t-1"))
    assert names(history, "t-1") == ["attempt_started", "ticket_released", "attempt_started", "ticket_settled"]


def test_a_duplicate_of_a_ticket_that_is_long_forgotten_leaves_nothing() -> None:
    history = History(VirtualClock())
    history(events.DuplicateSeen("t-old", "done"))
    assert history.timeline("t-old") == []


def test_a_ticket_that_is_tried_for_ever_is_remembered_by_its_beginning_and_its_latest() -> None:
    history = History(VirtualClock())
    for attempt in range(1_000):
        history(events.AttemptStarted("t-1", "BUILD", attempt=attempt, delivery=1, resumed=False))
    attempts = [event.attempt for _, event in history.timeline("t-1") if isinstance(event, events.AttemptStarted)]
    assert (attempts[0], attempts[-1], len(attempts)) == (0, 999, 200)


def test_tickets_that_left_without_a_word_are_forgotten_in_the_end() -> None:
    history = History(VirtualClock())
    history.is_here = lambda ticket_id: ticket_id == "t-0"
    for number in range(25_000):
        history(started(f"t-{number}"))
    assert names(history, "t-0") == ["attempt_started"]
    assert history.timeline("t-1") == []
    assert names(history, "t-24999") == ["attempt_started"]


def test_of_settled_tickets_the_latest_thousand_stories_are_kept() -> None:
    history = History(VirtualClock())
    for number in range(1_500):
        history(started(f"t-{number}"))
        history(settled(f"t-{number}"))
    assert history.timeline("t-499") == []
    assert names(history, "t-500") == ["attempt_started", "ticket_settled"]
    assert [result.settled.ticket_id for result in history.results][-1] == "t-1499"


def test_the_last_hour_has_a_bucket_for_each_minute_also_where_nothing_happened() -> None:
    clock = VirtualClock()
    history = History(clock)
    history(settled("t-1"))
    clock.advance(3 * BUCKET_SECONDS)
    history(settled("t-2", status="FAILED", reason="timeout", duration=8.0))
    history(settled("t-3", simulated=True, duration=4.0))
    buckets = history.buckets()
    assert len(buckets) == 60
    assert [(bucket.completed, bucket.failed, bucket.simulated) for bucket in buckets[-4:]] == [
        (1, 0, 0),
        (0, 0, 0),
        (0, 0, 0),
        (1, 1, 1),
    ]
    assert [bucket.duration_median for bucket in buckets[-4:]] == [2.0, None, None, 6.0]
    assert {later.began - earlier.began for earlier, later in pairwise(buckets)} == {60_000}
    assert history.simulated == 1


def test_dead_letters_are_counted_also_of_records_that_are_no_tickets() -> None:
    history = History(VirtualClock())
    history(events.DeadLettered("t-1", "internal", "broken"))
    history(events.DeadLettered("", "undecodable", "no JSON"))
    assert history.dead_letters == 2


def test_failures_are_counted_by_type_and_reason_and_forgotten_after_an_hour() -> None:
    clock = VirtualClock()
    history = History(clock)
    for ticket_id in ("t-1", "t-2"):
        history(settled(ticket_id, status="FAILED", reason="timeout"))
    history(settled("t-3", status="FAILED", reason="internal"))
    told = [(count, result.settled.reason, result.settled.ticket_id) for count, result in history.failures()]
    assert told == [(2, "timeout", "t-2"), (1, "internal", "t-3")]
    clock.advance(3_600)
    assert history.failures() == []


def test_calls_of_an_integration_are_counted_and_its_latest_failure_is_kept() -> None:
    clock = VirtualClock()
    history = History(clock)
    history(events.ExternalCall("opa", "decide", "ok", 0.01))
    history(events.ExternalCall("opa", "decide", "rejected", 0.02))
    history(events.ExternalCall("opa", "decide", "timeout", 5.0))
    assert history.calls("opa") == (3, 1)
    record = history.integrations["opa"]
    assert (record.last_failure, record.last_failure_at) == ("decide: timeout", clock.now_ms())
    assert list(record.latencies) == [0.01, 0.02, 5.0]


def test_a_fallback_counts_as_simulated_and_says_why() -> None:
    history = History(VirtualClock())
    history(events.FallbackUsed("t-1", "BUILD", "code_forge", "unavailable", "HTTP 503", "build_code_forge_error"))
    assert history.integrations["code_forge"].simulated == 1
    assert history.integrations["code_forge"].last_failure == "HTTP 503"
    assert names(history, "t-1") == ["fallback_used"]


def test_a_busy_minute_is_sampled_fairly() -> None:
    history = History(VirtualClock())
    for number in range(10_000):
        history(settled(f"t-{number}", duration=float(number)))
    bucket = history.buckets()[-1]
    assert len(bucket.durations) == 100
    assert 2_000 < (bucket.duration_median or 0) < 8_000
