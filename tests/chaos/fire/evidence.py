"""Everything that a run left behind, in the shape that the checker asks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.chaos.fire.load import Sent
from tests.chaos.fire.witness import Seen, Witness
from tests.chaos.fire.world import Life, World
from tests.support.fleet import FINAL
from worker_agents.devkit.argocd import Operation

# What may hold up a call that was made in good time.
_DELAYING = ("service_link_silent", "service_link_slow", "service_slow", "sigstop", "loop_stalled")


@dataclass(frozen=True)
class Struck:
    """A fault as it happened; epoch seconds."""

    kind: str
    area: str
    began_at: float
    ended_at: float
    what: str


@dataclass
class Work:
    """One stretch of local work on a ticket. ``worker`` is the process that did it (of a test run: its shell)."""

    ticket_id: str
    worker: int
    attempt: int
    began_at: float
    ticks: list[float] = field(default_factory=list)


@dataclass
class Evidence:
    sent: dict[str, Sent]
    faults: list[Struck]
    tickets: list[Seen]
    result_records: list[Seen]
    letters: list[Seen]
    state: list[Seen]
    committed: list[tuple[float, int, int]]
    remote_works: dict[str, int]
    remote_starts: dict[str, list[float]]
    """When calls that start remote work arrived, whatever came of them."""
    local_works: dict[str, list[Work]]
    lives: list[Life]
    leftovers: list[str]
    overdue: list[str]
    ends: dict[int, int]

    @cached_property
    def results(self) -> dict[str, list[dict[str, Any]]]:
        found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for record in self.result_records:
            found[record.key].append(record.document)
        return dict(found)

    def result_of(self, ticket_id: str) -> dict[str, Any] | None:
        return self.results.get(ticket_id, [None])[0]

    @cached_property
    def answered_at(self) -> dict[str, float]:
        """When the result was written, which is before it was committed."""
        return {record.key: record.timestamp for record in reversed(self.result_records)}

    @cached_property
    def ticket_at(self) -> dict[tuple[int, int], str]:
        """Which ticket lies where; records that ask for nothing are left out."""
        by_value = {sent.value: ticket_id for ticket_id, sent in self.sent.items()}
        return {
            (record.partition, record.offset): by_value[record.value]
            for record in self.tickets
            if record.value is not None and self.sent[by_value[record.value]].expect != "nothing"
        }

    @cached_property
    def partition_of(self) -> dict[str, int]:
        return {ticket_id: partition for (partition, _), ticket_id in self.ticket_at.items()}

    @cached_property
    def last_states(self) -> dict[str, dict[str, Any]]:
        """The last state of each ticket; ``@offset-N`` of different partitions may hide one another."""
        return {
            record.key: record.document for record in self.state if record.value is not None and record.key[0] != "@"
        }

    @cached_property
    def floors(self) -> dict[int, int]:
        return {record.partition: record.document["offset"] for record in self.state if record.key == "@floor"}

    @cached_property
    def checkpoint_at(self) -> dict[str, float]:
        """When the first checkpoint of each ticket could be read."""
        return {
            record.key: record.seen_at
            for record in reversed(self.state)
            if record.value is not None and record.document.get("phase") == "checkpoint"
        }

    def began_at(self, ticket_id: str) -> float | None:
        """When its first work began, local or remote."""
        moments = [work.began_at for work in self.local_works.get(ticket_id, ())]
        return min(moments + self.remote_starts.get(ticket_id, []), default=None)

    def could_be_late(self, at: float) -> bool:
        """Whether a call that arrived then can have been under way for long."""
        return any(fault.kind in _DELAYING and fault.began_at <= at <= fault.ended_at + 1 for fault in self.faults)


def gather(
    world: World, witness: Witness, sent: dict[str, Sent], faults: Iterable[Struck], leftovers: list[str]
) -> Evidence:
    posts = [(call.ticket_id or "", call.at) for call in world.forge.log.find(method="POST")]
    syncs = world.argocd.log.syncs_by_ticket()
    works = {ticket_id: len(starts.request_ids) for ticket_id, starts in world.forge.log.starts_by_ticket().items()}
    works |= {ticket_id: sync.begun for ticket_id, sync in syncs.items()}
    records = witness.records
    results = [record for record in records["results"] if record.document["status"] in FINAL]
    return Evidence(
        sent=sent,
        faults=list(faults),
        tickets=records["tickets"],
        result_records=results,
        letters=records["dlq"],
        state=records["state"],
        committed=witness.committed,
        remote_works=works,
        remote_starts=_grouped([*posts, *_argocd_starts(world)]),
        local_works=local_works([world.folder / "probe.log", world.folder / "workspace" / "suite.log"]),
        lives=world.lives,
        leftovers=leftovers,
        overdue=world.overdue,
        ends=_ends(records["tickets"]),
    )


def _argocd_starts(world: World) -> Iterable[tuple[str, float]]:
    for call in world.argocd.log.find(Operation.SYNC):
        yield (call.idempotency_key or "").removesuffix(":sync"), call.at


def local_works(logs: Iterable[Path]) -> dict[str, list[Work]]:
    """Lines ``start|tick|end ticket attempt process seconds``. A worker may do a ticket again: a start begins a new work."""
    found: defaultdict[str, list[Work]] = defaultdict(list)
    for log in logs:
        for line in log.read_text().splitlines() if log.exists() else ():
            what, ticket_id, attempt, worker, at = line.split()
            if what == "start":
                found[ticket_id].append(Work(ticket_id, int(worker), int(attempt), float(at)))
            else:
                mine = [work for work in found[ticket_id] if work.worker == int(worker)]
                if mine:
                    mine[-1].ticks.append(float(at))
    return dict(found)


def _grouped(pairs: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    found: defaultdict[str, list[float]] = defaultdict(list)
    for ticket_id, at in pairs:
        found[ticket_id].append(at)
    return dict(found)


def _ends(tickets: Iterable[Seen]) -> dict[int, int]:
    ends: dict[int, int] = {}
    for record in tickets:
        ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)
    return ends
