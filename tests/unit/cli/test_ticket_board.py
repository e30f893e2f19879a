"""How far tickets are, as the state topic tells, and what is news about them."""

from dataclasses import replace

import orjson
import pytest

from worker_agents.cli.tickets import Changes, document_of, one_line
from worker_agents.kafka.codec import LedgerFact, encode_fact, encode_state
from worker_agents.kafka.reader import Record
from worker_agents.kafka.ticket_board import Progress, TicketBoard
from worker_agents.model.result import Status
from worker_agents.model.state import Done, KnownState, Phase, TicketState

PARKED = TicketState(Phase.PARKED, 0, "w#1", reason="dependency")
STARTED = TicketState(Phase.STARTED, 0, "w#1", attempt=2)
CHECKPOINT = TicketState(Phase.CHECKPOINT, 0, "w#1", checkpoint={"request_id": "r"})
DONE = Done(Status.COMPLETED, 0, 1_000)


def ticket(offset: int = 0, value: bytes | None = None, **fields: object) -> Record:
    document = {"ticket_id": "t", "task_type": "EXECUTE", **fields}
    return Record("tickets", 0, offset, 5, b"t", value if value is not None else orjson.dumps(document))


def state(known: KnownState, ticket_id: str = "t") -> Record:
    return Record("state", 0, 0, 5, ticket_id.encode(), encode_state(known))


def fact(known: LedgerFact) -> Record:
    key, value = encode_fact(known)
    return Record("state", 0, 0, 5, key.encode(), value)


@pytest.fixture
def board() -> TicketBoard:
    return TicketBoard("tickets", "state")


@pytest.mark.parametrize(
    ("known", "progress", "detail"),
    [
        (PARKED, Progress.WAITING, "dependency"),
        (STARTED, Progress.RUNNING, "on w"),
        (CHECKPOINT, Progress.RUNNING, "remote work: {'request_id': 'r'}"),
        (DONE, Progress.COMPLETED, ""),
    ],
)
def test_a_ticket_with_a_state(board: TicketBoard, known: KnownState, progress: Progress, detail: str) -> None:
    assert board.apply(state(known)) == "t"

    standing = board.standing(ticket())
    assert (standing.progress, standing.detail) == (progress, detail)


def test_what_waits_says_until_when(board: TicketBoard) -> None:
    due_at = 1_767_225_604_321
    board.apply(state(replace(PARKED, attempt=2, reason="dependency_unavailable", due_at=due_at, delay=4.0)))

    document = document_of(ticket(), board)
    assert (document["progress"], document["attempt"], document["due_at"]) == (Progress.WAITING, 2, due_at)
    assert one_line(document).endswith("WAITING  attempt 2  dependency_unavailable, until 2026-01-01 00:00:04Z")
    for known in (replace(PARKED, due_at=0), STARTED, DONE):
        board.apply(state(known))
        assert document_of(ticket(), board)["due_at"] is None
        assert "until" not in one_line(document_of(ticket(), board))


def test_a_ticket_without_a_state(board: TicketBoard) -> None:
    assert board.standing(ticket(3)).progress is Progress.QUEUED
    board.apply(fact(4))
    assert board.standing(ticket(3)).progress is Progress.SETTLED
    assert board.standing(ticket(4)).progress is Progress.QUEUED


def test_a_copy(board: TicketBoard) -> None:
    board.apply(state(DONE))

    assert board.standing(ticket(9)).progress is Progress.DUPLICATE
    assert board.standing(ticket(0)).progress is Progress.COMPLETED


def test_what_is_no_request_for_work(board: TicketBoard) -> None:
    assert board.standing(ticket(status="RUNNING")).progress is Progress.IGNORED
    assert board.standing(Record("tickets", 0, 0, 5, b"t", None)).progress is Progress.IGNORED


def test_what_is_no_ticket(board: TicketBoard) -> None:
    assert board.standing(ticket(value=b"{")).progress is Progress.UNREADABLE
    wrong = ticket(dependencies=7)
    assert board.standing(wrong).progress is Progress.UNREADABLE
    board.apply(state(Done(Status.FAILED, 0, 1)))
    assert board.standing(wrong).progress is Progress.FAILED


def test_records_of_the_ledger_and_nonsense_are_about_no_ticket(board: TicketBoard) -> None:
    assert board.apply(Record("state", 0, 0, 5, b"t", b"nonsense")) is None
    assert board.apply(state(DONE, "@offset-0")) is None


def progress_of(news: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(each["offset"], each["progress"]) for each in news]


def test_news_come_once_and_what_is_settled_is_forgotten(board: TicketBoard) -> None:
    changes = Changes(board)

    assert progress_of(changes.take(ticket(0))) == [(0, "QUEUED")]
    assert progress_of(changes.take(ticket(1))) == [(1, "QUEUED")]
    assert progress_of(changes.take(state(STARTED))) == [(0, "RUNNING"), (1, "DUPLICATE")]
    assert changes.take(state(STARTED)) == []
    assert progress_of(changes.take(state(DONE))) == [(0, "COMPLETED")]
    assert changes.take(fact(2)) == []
    assert changes.catch_up({}) == []
    assert not any(changes._open.values())
    assert not changes._offsets


def test_what_the_watermark_passes_unseen_is_told_for_the_last_time(board: TicketBoard) -> None:
    changes = Changes(board)
    changes.take(ticket(0))

    assert progress_of(changes.take(fact(1))) == [(0, "SETTLED")]
    assert changes.take(ticket(0)) == []


def test_catching_up_tells_what_was_not_shown(board: TicketBoard) -> None:
    changes = Changes(board)
    (queued,) = changes.take(ticket(0))

    assert changes.catch_up({(0, 0): queued}) == []
    assert changes.catch_up({}) == [queued]
