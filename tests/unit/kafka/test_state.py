"""The memory of a partition against a model that replays its log, and state records as bytes."""

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from worker_agents.kafka.codec import (
    FLOOR_KEY,
    META_KEY,
    OWNER_KEY,
    Meta,
    Owner,
    StateRecordInvalid,
    decode_state,
    encode_fact,
    encode_state,
)
from worker_agents.kafka.state import TicketStates
from worker_agents.model.result import Status
from worker_agents.model.state import Done, KnownState, Phase, TicketState

INT64 = st.integers(0, 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ACTIVE = st.builds(
    TicketState,
    phase=st.sampled_from(Phase),
    offset=INT64,
    owner=TEXT,
    attempt=st.integers(1, 21),
    delivery=st.integers(1, 1_000),
    began_at=INT64,
    checkpoint=st.none() | st.dictionaries(TEXT, JSON, min_size=1, max_size=3),
    checkpoint_at=INT64,
    isolated=st.booleans(),
    reason=TEXT,
    due_at=INT64,
    delay=st.floats(0, 1e9),
)
DONE = st.builds(Done, status=st.sampled_from([Status.COMPLETED, Status.FAILED]), offset=INT64, at=INT64)
STATES = ACTIVE | DONE
KEYS = st.sampled_from(["ticket-1", "ticket-2", "ticket-3", "tícket 4", "@offset-7"])
FACTS = st.builds(Owner, TEXT, TEXT, st.booleans()) | st.builds(Meta, TEXT, TEXT, st.integers(1, 9)) | INT64

DAMAGED = [
    b"",
    b"\xff\xfe",
    b"not JSON",
    b"null",
    b"7",
    b'"text"',
    b"[1,2]",
    b"{}",
    b'{"phase":"dreaming","offset":"?"}',
    b'{"phase":"done"}',
    b'{"phase":"done","status":"PERHAPS","offset":1,"at":1}',
    b'{"phase":"done","status":"FAILED","offset":null,"at":1}',
    b'{"phase":"started"}',
    b'{"phase":"started","offset":"x"}',
    b'{"phase":"started","offset":1,"attempt":[]}',
    b'{"phase":"parked","offset":1,"delay":"soon"}',
    b"[" * 2_000,
    b'{"phase":"%s","offset":1}' % (b"x" * 10_000),
    # What only resembles a value: each was taken in once, and written back as something else or not at all.
    b'{"phase":"parked","offset":1,"delay":"nan"}',
    b'{"phase":"parked","offset":1,"delay":"inf"}',
    b'{"phase":"parked","offset":1,"delay":-1}',
    b'{"phase":"parked","offset":"1"}',
    b'{"phase":"parked","offset":true}',
    b'{"phase":"parked","offset":-1}',
    b'{"phase":"started","offset":1.9}',
    b'{"phase":"started","offset":1,"attempt":0}',
    b'{"phase":"started","offset":1,"owner":null}',
    b'{"phase":"started","offset":1,"isolated":"false"}',
    b'{"phase":"started","offset":1,"replays":"0-1"}',
    b'{"phase":"checkpoint","offset":1,"checkpoint":["p-1"]}',
    b'{"phase":"done","status":"RUNNING","offset":1,"at":1}',
    b'{"phase":"done","status":"FAILED","offset":18446744073709551615,"at":1}',
]


def memory(states: TicketStates) -> tuple[object, ...]:
    return dict(states.active), list(states.done.items()), states.floor, states.owner, states.meta


def replayed(log: list[tuple[str, bytes | None]]) -> TicketStates:
    states = TicketStates()
    for key, value in log:
        states.apply(key, value)
    return states


class TicketStatesMachine(RuleBasedStateMachine):
    """``log`` is the state partition; ``states`` follows it, ``late`` catches up now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[str, bytes | None]] = []
        self.states = TicketStates()
        self.late = TicketStates()

    def write(self, key: str, value: bytes | None) -> None:
        self.log.append((key, value))

    @rule(key=KEYS, state=STATES, through_the_log=st.booleans())
    def remember(self, key: str, state: KnownState, *, through_the_log: bool) -> None:
        if key.startswith("@") and not isinstance(state, Done):
            return
        self.write(key, encode_state(state))
        if through_the_log:
            self.states.apply(key, encode_state(state))
        else:
            self.states.put(key, state)
        assert self.states.lookup(key) == state

    @rule(key=KEYS, through_the_log=st.booleans())
    def forget(self, key: str, *, through_the_log: bool) -> None:
        self.write(key, None)
        if through_the_log:
            self.states.apply(key, None)
        else:
            self.states.forget(key)
        assert self.states.lookup(key) is None

    @rule(fact=FACTS)
    def note_a_fact(self, fact: Owner | Meta | int) -> None:
        key, value = encode_fact(fact)
        self.write(key, value)
        self.states.apply(key, value)
        assert fact in (self.states.owner, self.states.meta, self.states.floor)

    @rule(
        key_and_value=st.tuples(KEYS, st.sampled_from(DAMAGED))
        | st.tuples(st.sampled_from([FLOOR_KEY, OWNER_KEY, META_KEY]), st.sampled_from(DAMAGED[:9]))
    )
    def meet_a_damaged_record(self, key_and_value: tuple[str, bytes]) -> None:
        key, value = key_and_value
        before = memory(self.states)
        with pytest.raises(StateRecordInvalid):
            self.states.apply(key, value)
        assert memory(self.states) == before

    @rule(key=st.sampled_from(["@offset-7", "@future"]), state=ACTIVE)
    def meet_a_ticket_under_a_reserved_key(self, key: str, state: TicketState) -> None:
        before = memory(self.states)
        with pytest.raises(StateRecordInvalid):
            self.states.apply(key, encode_state(state))
        assert memory(self.states) == before

    @rule()
    def catch_up(self) -> None:
        for key, value in self.log[self.late.position :]:
            self.late.apply(key, value)
        self.late.position = len(self.log)
        assert memory(self.late) == memory(self.states)

    @rule()
    def start_anew(self) -> None:
        self.late.clear()
        assert memory(self.late) == memory(TicketStates())
        assert self.late.position == 0

    @invariant()
    def equals_a_full_restore(self) -> None:
        assert memory(replayed(self.log)) == memory(self.states)

    @invariant()
    def equals_a_restore_of_the_compacted_log(self) -> None:
        last = {key: number for number, (key, _) in enumerate(self.log)}
        compacted = [record for number, record in enumerate(self.log) if last[record[0]] == number]
        assert memory(replayed(compacted)) == memory(self.states)

    @invariant()
    def a_ticket_is_active_or_done_but_never_both(self) -> None:
        assert not self.states.active.keys() & self.states.done.keys()

    @rule(floor=INT64)
    def ask_what_was_settled_out_of_order(self, floor: int) -> None:
        expected = sorted(done.offset for done in self.states.done.values() if done.offset >= floor)
        assert sorted(self.states.settled_offsets(floor)) == expected

    @rule(older_than=INT64, limit=st.integers(0, 6))
    def ask_what_may_be_forgotten(self, older_than: int, limit: int) -> None:
        keys = self.states.forgettable(older_than, limit)
        assert len(keys) <= limit
        for key in keys:
            done = self.states.done[key]
            assert done.offset < (self.states.floor or 0)
            assert done.at < older_than or key.startswith("@offset-")


TestTicketStates = TicketStatesMachine.TestCase


def test_the_oldest_are_forgotten_first_and_the_unsettled_never() -> None:
    states = TicketStates()
    states.floor = 100
    states.put("active", TicketState(Phase.STARTED, 1, "w"))
    for number in range(5):
        states.put(f"ticket-{number}", Done(Status.COMPLETED, number, at=1_000 + number))
    states.put("above-the-floor", Done(Status.COMPLETED, 100, at=0))
    assert states.forgettable(older_than_ms=1_003, limit=10) == ["ticket-0", "ticket-1", "ticket-2"]
    assert states.forgettable(older_than_ms=1_003, limit=2) == ["ticket-0", "ticket-1"]


def test_nothing_is_forgotten_before_the_floor_is_known() -> None:
    states = TicketStates()
    states.put("ticket", Done(Status.COMPLETED, 0, at=0))
    assert states.forgettable(older_than_ms=1, limit=10) == []


def test_a_record_without_a_readable_id_is_forgotten_as_soon_as_the_floor_passed_it() -> None:
    states = TicketStates()
    states.put("@offset-7", Done(Status.FAILED, 7, at=1_000))
    states.floor = 7
    assert states.forgettable(older_than_ms=0, limit=10) == []
    states.floor = 8
    assert states.forgettable(older_than_ms=0, limit=10) == ["@offset-7"]


def test_what_was_settled_at_the_floor_counts_as_out_of_order() -> None:
    states = TicketStates()
    for offset in (6, 7, 9):
        states.put(f"ticket-{offset}", Done(Status.COMPLETED, offset, at=0))
    assert list(states.settled_offsets(7)) == [7, 9]


def test_a_new_map_is_complete_up_to_the_beginning_of_the_state_topic() -> None:
    assert TicketStates().position == 0


def test_a_state_under_a_reserved_key_is_refused_by_name() -> None:
    with pytest.raises(StateRecordInvalid, match="'@future'"):
        TicketStates().apply("@future", encode_state(TicketState(Phase.STARTED, 1, "w")))


# --- bytes -------------------------------------------------------------------------------------------------------


@given(STATES)
@example(Done(Status.FAILED, 0, 0))
@example(TicketState(Phase.PARKED, 0, ""))
def test_a_state_survives_its_encoding(state: KnownState) -> None:
    assert decode_state("ticket", encode_state(state)) == state


def test_an_empty_checkpoint_is_a_checkpoint() -> None:
    state = TicketState(Phase.CHECKPOINT, 3, "w", checkpoint={}, checkpoint_at=5)
    assert decode_state("ticket", encode_state(state)) == state


@given(FACTS)
def test_a_fact_survives_its_encoding(fact: Owner | Meta | int) -> None:
    key, value = encode_fact(fact)
    assert key.startswith("@")
    assert decode_state(key, value) == fact


@given(st.sampled_from(["ticket", "@floor", "@owner", "@meta", "@offset-1"]), st.binary(max_size=60))
def test_arbitrary_bytes_are_invalid_and_nothing_worse(key: str, value: bytes) -> None:
    with pytest.raises(StateRecordInvalid):
        decode_state(key, value)


@given(st.sampled_from(["ticket", "@floor", "@owner", "@meta"]), JSON)
def test_arbitrary_json_is_read_or_invalid(key: str, document: object) -> None:
    with contextlib.suppress(StateRecordInvalid):
        decode_state(key, orjson.dumps(document))


@pytest.mark.parametrize("value", DAMAGED)
def test_a_damaged_record_is_refused_in_a_sentence(value: bytes) -> None:
    with pytest.raises(StateRecordInvalid) as caught:
        decode_state("ticket", value)
    assert 0 < len(str(caught.value)) <= 300


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("@floor", b'{"offset":"7"}'),
        ("@floor", b'{"offset":-1}'),
        ("@owner", b'{"worker":1,"url":"","handed_over":false}'),
        ("@owner", b'{"worker":"w","url":"","handed_over":"no"}'),
        ("@meta", b'{"group":[],"tickets_topic":"t","schema":1}'),
    ],
)
def test_a_damaged_fact_is_refused(key: str, value: bytes) -> None:
    with pytest.raises(StateRecordInvalid):
        decode_state(key, value)


FIELDS = {
    "phase": st.sampled_from([*(phase.value for phase in Phase), "done"]) | JSON,
    "status": st.sampled_from(["COMPLETED", "FAILED"]) | JSON,
    **dict.fromkeys(
        ("offset", "at", "attempt", "delivery", "due_at", "delay", "owner", "checkpoint", "isolated"), JSON
    ),
}


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_wrong_fields_are_read_or_invalid(document: dict[str, Any]) -> None:
    states = TicketStates()
    try:
        states.apply("ticket", orjson.dumps(document))
    except StateRecordInvalid:
        assert memory(states) == memory(TicketStates())


def test_a_settled_ticket_costs_little() -> None:
    assert len(encode_state(Done(Status.COMPLETED, 10**12, 1_767_225_600_000))) < 90
