"""The checker of a chaos run accuses where the promise is broken, and only there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.fire import checker
from tests.chaos.fire.checker import CHECKS, Check, judge
from tests.chaos.fire.evidence import Evidence, Struck, Work, local_works
from tests.chaos.fire.load import Expect, Sent
from tests.chaos.fire.witness import Seen
from tests.chaos.fire.world import Life

Break = Callable[[Evidence], Evidence]


def seen(offset: int, key: str, document: object, at: float = 10.0, **headers: str) -> Seen:
    pairs = tuple((name, value.encode()) for name, value in headers.items())
    return Seen(0, offset, key, json.dumps(document).encode(), pairs, at, at)


def result(
    ticket_id: str, status: str = "COMPLETED", at: float = 10.0, simulated: str = "false", reason: str = ""
) -> Seen:
    body = {
        "status": status,
        "agent_id": "worker-1",
        "result": {"metadata": {}},
        "error_reason": reason,
        "error_message": "",
    }
    return seen(0, ticket_id, body, at, simulated=simulated)


def state(key: str, at: float = 10.0, **document: Any) -> Seen:
    return seen(0, key, document, at)


FIRST = Sent("first", b"plan", b"1", "PROBE", at_most_once=True)
SECOND = Sent("second", b"plan", b"2", "BUILD", depends_on=("first",))
BROKEN = Sent("broken", b"plan", b"3", expect=Expect.LETTER)


def good() -> Evidence:
    """Two tickets, one after the other, and a record that is none."""
    return Evidence(
        sent={sent.ticket_id: sent for sent in (FIRST, SECOND, BROKEN)},
        faults=[],
        tickets=[
            Seen(0, offset, "plan", sent.value, (), 1.0, 1.0) for offset, sent in enumerate((FIRST, SECOND, BROKEN))
        ],
        result_records=[result("first", at=10.0), result("second", at=30.0)],
        letters=[seen(0, "plan", {}, **{"__dlq.errors.partition": "0", "__dlq.errors.offset": "2"})],
        state=[
            state("first", phase="started", offset=0),
            state("first", phase="done", status="COMPLETED", offset=0),
            state("@floor", offset=1),
            state("second", at=20.0, phase="checkpoint", offset=1),
            state("@offset-2", at=25.0, phase="done", status="FAILED", offset=2),
            state("second", at=30.0, phase="done", status="COMPLETED", offset=1),
            state("@floor", at=30.0, offset=3),
        ],
        committed=[(12.0, 0, 1), (40.0, 0, 3)],
        remote_works={"second": 1},
        remote_starts={"second": [19.0]},
        local_works={"first": [Work("first", 100, 1, 5.0, [5.2, 5.4])]},
        lives=[Life("worker-1", 100, 0, 50.0, served=True), Life("worker-2", 101, -9, 50.0, served=True)],
        leftovers=[],
        overdue=[],
        ends={0: 3},
    )


def beside(seconds: float) -> list[Work]:
    """An owner that goes on for so long after its heir began."""
    ticks = [6.0 + number * 0.2 for number in range(round(seconds / 0.2) + 1)]
    return [Work("first", 100, 1, 5.0, ticks), Work("first", 200, 1, 6.0, [6.2])]


BREAKS: list[tuple[Check, Break]] = [
    (checker.lost, lambda good: replace(good, result_records=good.result_records[:1])),
    (checker.doubled, lambda good: replace(good, result_records=[*good.result_records, result("first")])),
    (checker.without_ticket, lambda good: replace(good, result_records=[*good.result_records, result("ghost")])),
    (checker.without_ticket, lambda good: replace(good, result_records=[*good.result_records, result("broken")])),
    (
        checker.ended_for_no_good_reason,
        lambda good: replace(
            good, result_records=[good.result_records[0], result("second", "FAILED", reason="expired")]
        ),
    ),
    (checker.remote_work_twice, lambda good: replace(good, remote_works={"second": 2})),
    (checker.started_after_checkpoint, lambda good: replace(good, remote_starts={"second": [19.0, 21.0]})),
    (checker.worked_on_together, lambda good: replace(good, local_works={"first": beside(8.0)})),
    (checker.at_most_once_started_twice, lambda good: replace(good, local_works={"first": beside(0.0)})),
    (checker.began_before_dependency, lambda good: replace(good, remote_starts={"second": [9.0]})),
    (
        checker.worked_although_dependency_failed,
        lambda good: replace(good, result_records=[result("first", "FAILED"), result("second")]),
    ),
    (checker.watermark_ahead, lambda good: replace(good, state=[state("@floor", offset=1), *good.state])),
    (checker.watermark_ahead, lambda good: replace(good, state=[*good.state, state("@floor", offset=2)])),
    (
        checker.watermark_ahead,
        lambda good: replace(good, state=[each for each in good.state if each.key != "@offset-2"]),
    ),
    (checker.offset_ahead_of_floor, lambda good: replace(good, committed=[(12.0, 0, 2)])),
    (checker.not_settled_at_the_end, lambda good: replace(good, ends={0: 4})),
    (
        checker.state_differs_from_results,
        lambda good: replace(good, state=[*good.state, state("first", phase="done", status="FAILED")]),
    ),
    (checker.dead_letters_wrong, lambda good: replace(good, letters=[])),
    (checker.dead_letters_wrong, lambda good: replace(good, letters=good.letters * 2)),
    (
        checker.simulation_hidden,
        lambda good: replace(good, result_records=[result("first", simulated="true"), good.result_records[1]]),
    ),
    (checker.still_running, lambda good: replace(good, leftovers=["process 7"])),
    (checker.ended_badly, lambda good: replace(good, overdue=["worker-1"])),
    (checker.ended_badly, lambda good: replace(good, lives=[Life("worker-1", 100, 1, 50.0, served=True)])),
]


def test_a_good_run_is_not_accused() -> None:
    assert judge(good()).accusations == {check.__name__: [] for check in CHECKS}


@pytest.mark.parametrize(("check", "harm"), BREAKS, ids=lambda each: getattr(each, "__name__", ""))
def test_a_broken_promise_is_accused(check: Check, harm: Break) -> None:
    assert judge(harm(good())).accusations[check.__name__] != []


def test_every_check_has_been_seen_to_accuse() -> None:
    assert {check for check, _ in BREAKS} == set(CHECKS)


def test_an_overlap_within_the_lease_is_no_violation() -> None:
    within = replace(good(), local_works={"first": beside(6.0)})
    assert judge(within).accusations["worked_on_together"] == []


def test_a_call_that_a_slow_link_held_up_is_no_violation() -> None:
    slow = Struck("service_link_slow", "link", 18.0, 22.0, "")
    late = replace(good(), remote_starts={"second": [19.0, 21.0]}, faults=[slow])
    assert judge(late).accusations["started_after_checkpoint"] == []


def test_a_ticket_begun_again_by_the_same_worker_is_another_work(tmp_path: Any) -> None:
    log = tmp_path / "probe.log"
    log.write_text("start a 1 7 1.0\ntick a 1 7 1.2\nstart a 2 7 3.0\nend a 2 7 3.5\n")
    first, second = local_works([log])["a"]
    assert (first.ticks, second.ticks) == ([1.2], [3.5])
