"""What must hold of a run (design §2). Each check takes the evidence and gives the sentences that accuse."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.chaos.fire.evidence import Evidence, Work
from tests.chaos.fire.load import TICK_SECONDS, Expect
from tests.chaos.fire.world import SESSION_SECONDS

Check = Callable[[Evidence], Iterator[str]]

# A worker fences itself before its session ends, then has the grace to stop what runs (design §3, Lease). While its event loop
# is blocked its programs' supervisors do that, after the same time. So two owners can be inside one ticket for no longer than
# a session; a second is for the timers of a busy machine.
OVERLAP_SECONDS = SESSION_SECONDS + 1.0
# A call may arrive that was sent before the checkpoint was committed; longer than a link is ever slow or silent.
_CLOCK_SLACK = 0.05
_GOOD_REASONS = {
    "command_refused",
    "dependency_failed",
    "invalid_parameters",
    "retries_exhausted",
    "unknown_task_type",
    "verdict_failed",
    # A poisoned ticket, AT_MOST_ONCE, or an innocent one whose workers were killed too often while it was isolated.
    "worker_lost",
}


@dataclass
class Verdict:
    """Accusations by the check that made them."""

    accusations: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        return not any(self.accusations.values())

    def count(self, *checks: Check) -> int:
        return sum(len(self.accusations[check.__name__]) for check in checks)


def judge(evidence: Evidence) -> Verdict:
    return Verdict({check.__name__: list(check(evidence)) for check in CHECKS})


def lost(evidence: Evidence) -> Iterator[str]:
    for ticket_id, sent in evidence.sent.items():
        if sent.expect is Expect.RESULT and ticket_id not in evidence.results:
            yield f"{ticket_id} ({sent.task_type}, partition {evidence.partition_of.get(ticket_id)}) has no result"


def doubled(evidence: Evidence) -> Iterator[str]:
    for ticket_id, results in evidence.results.items():
        if len(results) > 1:
            yield f"{ticket_id} has {len(results)} results, of {[result['agent_id'] for result in results]}"


def without_ticket(evidence: Evidence) -> Iterator[str]:
    for ticket_id in evidence.results:
        sent = evidence.sent.get(ticket_id)
        if sent is None or sent.expect is not Expect.RESULT:
            yield f"{ticket_id} has a result, and was no ticket"


def ended_for_no_good_reason(evidence: Evidence) -> Iterator[str]:
    """Nothing here waits for long, and nobody cancels: such an end says that the worker lost its way."""
    for ticket_id, results in evidence.results.items():
        for result in results:
            if result["status"] == "FAILED" and result["error_reason"] not in _GOOD_REASONS:
                yield f"{ticket_id} failed with {result['error_reason']}: {result['error_message']}"


def remote_work_twice(evidence: Evidence) -> Iterator[str]:
    for ticket_id, begun in evidence.remote_works.items():
        if begun > 1:
            yield f"{ticket_id} began {begun} pieces of remote work"


def started_after_checkpoint(evidence: Evidence) -> Iterator[str]:
    """A call on its way while its worker was cut off may come late; any other one was made by somebody who should know."""
    for ticket_id, starts in evidence.remote_starts.items():
        checkpointed = evidence.checkpoint_at.get(ticket_id)
        if checkpointed is None:
            continue
        for at in starts:
            if at > checkpointed + _CLOCK_SLACK and not evidence.could_be_late(at):
                yield f"{ticket_id} was started again {at - checkpointed:.2f} s after its checkpoint could be read"


def worked_on_together(evidence: Evidence) -> Iterator[str]:
    for work, heir, seconds in overlaps(evidence):
        if seconds > OVERLAP_SECONDS:
            yield f"{work.ticket_id}: {work.worker} went on for {seconds:.1f} s after {heir.worker} had begun it"


def overlaps(evidence: Evidence) -> Iterator[tuple[Work, Work, float]]:
    """Works on one ticket by different workers, and for how many seconds the earlier one really worked beside the other.

    Counted in ticks: a process that is stopped does not tick.
    """
    for works in evidence.local_works.values():
        for work in works:
            for heir in works:
                if heir.worker != work.worker and heir.began_at > work.began_at:
                    yield work, heir, sum(at > heir.began_at for at in work.ticks) * TICK_SECONDS


def at_most_once_started_twice(evidence: Evidence) -> Iterator[str]:
    for ticket_id, works in evidence.local_works.items():
        if evidence.sent[ticket_id].at_most_once and len(works) > 1:
            yield f"{ticket_id} is AT_MOST_ONCE and was started {len(works)} times"


def began_before_dependency(evidence: Evidence) -> Iterator[str]:
    for ticket_id, sent in evidence.sent.items():
        began = evidence.began_at(ticket_id)
        for dependency in sent.depends_on:
            done = evidence.answered_at.get(dependency)
            if began is not None and done is not None and began < done - _CLOCK_SLACK:
                yield f"{ticket_id} began {done - began:.2f} s before its dependency {dependency} was done"


def worked_although_dependency_failed(evidence: Evidence) -> Iterator[str]:
    for ticket_id, sent in evidence.sent.items():
        result = evidence.result_of(ticket_id)
        if result is None:
            continue
        failed = [each for each in sent.depends_on if (evidence.result_of(each) or {}).get("status") == "FAILED"]
        if failed and result["status"] != "FAILED":
            yield f"{ticket_id} was completed, but {failed[0]} which it depends on had failed"


def watermark_ahead(evidence: Evidence) -> Iterator[str]:
    """Replays each state partition: no floor may pass a record that is not settled by what stands before it."""
    checked: defaultdict[int, int] = defaultdict(int)
    settled: defaultdict[int, set[str]] = defaultdict(set)
    for record in evidence.state:
        partition = record.partition
        if record.key != "@floor":
            if record.document.get("phase") == "done":
                settled[partition].add(record.key)
            continue
        floor = record.document["offset"]
        if floor < checked[partition]:
            yield f"partition {partition}: the floor went back from {checked[partition]} to {floor}"
        for offset in range(checked[partition], floor):
            ticket_id = evidence.ticket_at.get((partition, offset))
            if ticket_id is not None and not {ticket_id, f"@offset-{offset}"} & settled[partition]:
                yield f"partition {partition}: floor {floor} passed {ticket_id} at {offset}, which was not settled"
        checked[partition] = max(checked[partition], floor)


def offset_ahead_of_floor(evidence: Evidence) -> Iterator[str]:
    floors: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
    for record in evidence.state:
        if record.key == "@floor":
            floors[record.partition].append((record.timestamp, record.document["offset"]))
    for at, partition, offset in evidence.committed:
        known = max((floor for written, floor in floors[partition] if written <= at + _CLOCK_SLACK), default=0)
        if offset > known:
            yield f"partition {partition}: the group's offset was {offset} when the floor was {known}"


def not_settled_at_the_end(evidence: Evidence) -> Iterator[str]:
    for partition, end in evidence.ends.items():
        floor = evidence.floors.get(partition, 0)
        if floor != end:
            yield f"partition {partition}: the floor is {floor} at the end, and the log's end {end}"


def state_differs_from_results(evidence: Evidence) -> Iterator[str]:
    states = {key: value for key, value in evidence.last_states.items() if not key.startswith("@")}
    done = {key: value.get("status", value["phase"]) for key, value in states.items()}
    for ticket_id in {*done, *evidence.results}:
        result = evidence.result_of(ticket_id)
        if result is None or done.get(ticket_id) != result["status"]:
            yield f"{ticket_id}: state {done.get(ticket_id)}, result {result and result['status']}"


def dead_letters_wrong(evidence: Evidence) -> Iterator[str]:
    letters = Counter(
        (int(letter.header("__dlq.errors.partition")), int(letter.header("__dlq.errors.offset")))
        for letter in evidence.letters
    )
    for place, count in letters.items():
        if count > 1:
            yield f"the record at {place} was dead-lettered {count} times"
    for place, ticket_id in evidence.ticket_at.items():
        if evidence.sent[ticket_id].expect is Expect.LETTER and place not in letters:
            yield f"{ticket_id} at {place} is no ticket and was not dead-lettered"


def simulation_hidden(evidence: Evidence) -> Iterator[str]:
    for record in evidence.result_records:
        simulated = bool(record.document["result"]["metadata"].get("simulated"))
        if record.header("simulated") != json.dumps(simulated):
            yield f"{record.key}: simulated is {simulated} in the result and {record.header('simulated')} in its header"


def still_running(evidence: Evidence) -> Iterator[str]:
    yield from evidence.leftovers


def ended_badly(evidence: Evidence) -> Iterator[str]:
    """SIGKILL is ours or a poisoned ticket's, and SIGTERM ends what has only begun to start; all else must be orderly."""
    yield from evidence.overdue
    for life in evidence.lives:
        if life.exit_code not in ((0, -9) if life.served else (0, -9, -15)):
            yield f"{life.name} ended with exit code {life.exit_code}"


CHECKS: tuple[Check, ...] = (
    lost,
    doubled,
    without_ticket,
    ended_for_no_good_reason,
    remote_work_twice,
    started_after_checkpoint,
    worked_on_together,
    at_most_once_started_twice,
    began_before_dependency,
    worked_although_dependency_failed,
    watermark_ahead,
    offset_ahead_of_floor,
    not_settled_at_the_end,
    state_differs_from_results,
    dead_letters_wrong,
    simulation_hidden,
    still_running,
    ended_badly,
)
