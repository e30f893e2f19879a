"""Who holds a ticket, as the state topic tells it record by record."""

import pytest

from worker_agents.kafka.codec import Owner, encode_fact, encode_state
from worker_agents.kafka.holders import Trail
from worker_agents.kafka.letters import parse_place
from worker_agents.kafka.reader import Record
from worker_agents.model.letters import Holder
from worker_agents.model.state import Phase, TicketState

STATE = encode_state(TicketState(Phase.PARKED, 7, "w-1"))


def holder(*records: tuple[int, str, bytes | None]) -> Holder | None:
    trail = Trail("t")
    for offset, (partition, key, value) in enumerate(records):
        trail.follow(Record("state", partition, offset, 0, key.encode(), value))
    return trail.holder


def owner(worker: str, url: str = "http://w:8080", *, handed_over: bool = False) -> tuple[str, bytes]:
    return encode_fact(Owner(worker, url, handed_over))


def test_the_latest_owner_of_its_partition_holds_it() -> None:
    found = holder((0, *owner("w-0")), (1, *owner("w-1")), (1, "t", STATE), (1, *owner("w-2", "http://w-2:1")))
    assert found == Holder(1, "w-2", "http://w-2:1")


@pytest.mark.parametrize(
    "records",
    [
        [],
        [(1, *owner("w-1"))],
        [(1, "t", STATE)],
        [(1, "t", STATE), (2, *owner("w-1"))],
        [(1, *owner("w-1")), (1, "t", STATE), (1, "t", None)],
        [(1, "t", STATE), (1, *owner("w-1", handed_over=True))],
        [(1, "t", STATE), (1, *owner("w-1", ""))],
        [(1, "t", STATE), (1, "@owner", b"{}")],
        [(1, "t", STATE), (1, "@owner", b"\xff")],
        [(1, "t", STATE), (1, "@owner", None)],
    ],
)
def test_otherwise_nobody_is_known_to(records: list[tuple[int, str, bytes | None]]) -> None:
    assert holder(*records) is None


@pytest.mark.parametrize(("text", "place"), [("0-17", (0, 17)), ("3:0", (3, 0))])
def test_places_are_read(text: str, place: tuple[int, int]) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", "17", "-1-2", "1-2\n", "\u0661-2", "1-" + "9" * 19, "9" * 10 + "-1", "a-b"])
def test_what_is_no_place_is_none(text: str) -> None:
    assert parse_place(text) is None
