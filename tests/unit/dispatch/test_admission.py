"""What becomes of a record: every row of the outcome table that admission decides."""

from collections.abc import Collection
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.dispatch.admission import (
    AdmissionPolicy,
    Admit,
    AlreadyDone,
    Decision,
    DependenciesMet,
    DependenciesMissing,
    DependencyFailed,
    Ignore,
    Ignored,
    InFlight,
    Refuse,
    admit,
    check_dependencies,
)
from worker_agents.model.errors import Reason
from worker_agents.model.result import Status
from worker_agents.model.state import Done, KnownState, Phase, TicketState
from worker_agents.model.ticket import MAX_REPLAYS_REMEMBERED, REPLAY_HEADER, Envelope, Ticket, read_ticket

NOW_MS = 1_767_225_600_000
HOUR_MS = 3_600_000
POLICY = AdmissionPolicy(task_types={"EXECUTE", "BUILD"}, max_deliveries=5, retention_ms=7 * 24 * HOUR_MS)
COMPLETED = Done(Status.COMPLETED, 1, NOW_MS)
FAILED = Done(Status.FAILED, 1, NOW_MS)


def started(**changes: Any) -> TicketState:
    return TicketState(**{"phase": Phase.STARTED, "offset": 7, "owner": "w", "began_at": NOW_MS - 5} | changes)


def decide(
    value: bytes | dict[str, Any] | None = None,
    *,
    known: dict[str, KnownState] | None = None,
    in_flight: Collection[str] = (),
    policy: AdmissionPolicy = POLICY,
    timestamp: int = NOW_MS,
    replay: str = "",
    **fields: Any,
) -> Decision:
    if value is None and fields is not None:
        value = {"ticket_id": "t", "task_type": "EXECUTE", **fields}
    data = orjson.dumps(value) if isinstance(value, dict) else value
    headers = ((REPLAY_HEADER, replay.encode()),) if replay else ()
    envelope = Envelope(7, data, headers=headers, timestamp=timestamp)
    return admit(envelope, (known or {}).get, in_flight, policy, NOW_MS)


def refused(decision: Decision) -> tuple[Reason, str | None, bool]:
    assert isinstance(decision, Refuse)
    return decision.reason, decision.ticket_id, decision.dead_letter


def test_a_good_ticket_is_admitted() -> None:
    decision = decide()
    assert isinstance(decision, Admit)
    assert decision.ticket.ticket_id == "t"
    assert decision.state is None
    assert not decision.isolate


def test_a_record_without_a_value_is_no_request() -> None:
    assert admit(Envelope(7, None), {}.get, (), POLICY, NOW_MS) == Ignore(Ignored.TOMBSTONE)


@pytest.mark.parametrize("status", ["RUNNING", "COMPLETED", "failed", "COMPENSATED", "rejected"])
def test_a_status_other_than_pending_is_no_request(status: str) -> None:
    assert decide(status=status) == Ignore(Ignored.NOT_PENDING)


@pytest.mark.parametrize("status", ["PENDING", "pending", None])
def test_a_pending_or_missing_status_is_a_request(status: str | None) -> None:
    assert isinstance(decide(status=status), Admit)


@pytest.mark.parametrize("done", [COMPLETED, FAILED])
def test_a_copy_of_a_done_ticket_is_a_duplicate(done: Done) -> None:
    assert decide(known={"t": done}) == AlreadyDone("t")
    assert decide(known={"t": done}, task_type="NONSENSE") == AlreadyDone("t")


def test_a_copy_of_a_ticket_in_flight_joins_it() -> None:
    assert decide(in_flight={"t"}) == InFlight("t")
    assert decide(known={"t": started()}, in_flight={"t"}, sla={"deadline": 1}) == InFlight("t")


@pytest.mark.parametrize("value", [b"", b"\xff", b"{", b"7", b"[]", b"null", b'"t"', b"Obj\x01"])
def test_what_cannot_be_decoded_is_dead_lettered_without_an_answer(value: bytes) -> None:
    assert refused(decide(value)) == (Reason.UNDECODABLE, None, True)


def test_a_schema_error_is_answered_where_an_id_is_readable() -> None:
    assert refused(decide({"ticket_id": "t"})) == (Reason.INVALID_TICKET, "t", True)
    assert refused(decide({"ticket_id": "t", "task_type": "EXECUTE", "sla": []})) == (Reason.INVALID_TICKET, "t", True)


@pytest.mark.parametrize("ticket_id", [None, 7, "", "@floor", "@offset-1", "x" * 201, "line\nbreak", ["t"]])
def test_a_schema_error_without_a_usable_id_is_not_answered(ticket_id: object) -> None:
    decision = decide({"ticket_id": ticket_id, "task_type": "EXECUTE"})
    assert refused(decision) == (Reason.INVALID_TICKET, None, True)


def test_an_unknown_type_is_told_from_one_of_the_platform() -> None:
    assert refused(decide(task_type="DANCE")) == (Reason.UNKNOWN_TASK_TYPE, "t", True)
    for task_type in ("TEST", "compensate", "QUERY", "TRANSFORM"):
        assert refused(decide(task_type=task_type)) == (Reason.UNSUPPORTED_TASK_TYPE, "t", True)


def test_a_type_outside_the_operators_choice_is_another_groups_work() -> None:
    policy = AdmissionPolicy(POLICY.task_types, supported={"EXECUTE"})
    assert decide(task_type="BUILD", policy=policy) == Ignore(Ignored.OTHER_GROUP)
    assert decide(task_type="DANCE", policy=policy) == Ignore(Ignored.OTHER_GROUP)
    assert isinstance(decide(task_type="execute", policy=policy), Admit)


def test_a_past_deadline_is_refused_without_a_dead_letter() -> None:
    assert refused(decide(sla={"deadline": NOW_MS})) == (Reason.DEADLINE_EXCEEDED, "t", False)
    assert isinstance(decide(sla={"deadline": NOW_MS + 1}), Admit)


def test_a_wait_does_not_outlast_the_retention_of_the_topic() -> None:
    retention = POLICY.retention_ms
    assert retention is not None
    limit = NOW_MS - retention + HOUR_MS
    assert refused(decide(timestamp=limit)) == (Reason.EXPIRED, "t", False)
    assert isinstance(decide(timestamp=limit + 1), Admit)
    assert isinstance(decide(timestamp=limit, known={"t": started()}), Admit), "it runs already: it is resumed"
    assert isinstance(decide(timestamp=0, policy=AdmissionPolicy(POLICY.task_types)), Admit), "kept for ever"


def test_a_short_retention_leaves_half_of_it() -> None:
    policy = AdmissionPolicy(POLICY.task_types, retention_ms=HOUR_MS + 1)
    assert policy.expires_at(Envelope(0, b"", timestamp=NOW_MS)) == NOW_MS + HOUR_MS // 2, "whole milliseconds"


@pytest.mark.parametrize("phase", [Phase.STARTED, Phase.CHECKPOINT])
def test_a_ticket_that_may_start_once_is_not_started_twice(phase: Phase) -> None:
    decision = decide(known={"t": started(phase=phase)}, qos={"delivery_mode": "AT_MOST_ONCE"})
    assert refused(decision) == (Reason.WORKER_LOST, "t", False)


def test_a_ticket_that_may_start_once_may_wait_before_it() -> None:
    waiting = started(phase=Phase.PARKED, reason="dependency")
    assert isinstance(decide(known={"t": waiting}, qos={"delivery_mode": "AT_MOST_ONCE"}), Admit)


def test_a_begun_ticket_is_resumed_from_its_state() -> None:
    state = started(phase=Phase.CHECKPOINT, checkpoint={"job": 1}, attempt=2)
    decision = decide(known={"t": state})
    assert isinstance(decision, Admit)
    assert decision.state is state
    assert not decision.isolate


@pytest.mark.parametrize(("delivery", "isolate"), [(1, False), (3, False), (4, True), (9, True)])
def test_a_suspect_is_isolated_before_it_is_convicted(delivery: int, *, isolate: bool) -> None:
    decision = decide(known={"t": started(delivery=delivery)})
    assert isinstance(decision, Admit)
    assert decision.isolate is isolate


def test_a_waiting_ticket_is_never_a_suspect() -> None:
    decision = decide(known={"t": started(phase=Phase.PARKED, delivery=9)})
    assert isinstance(decision, Admit)
    assert not decision.isolate


def test_a_death_in_isolation_convicts() -> None:
    assert refused(decide(known={"t": started(delivery=5, isolated=True)})) == (Reason.WORKER_LOST, "t", True)
    assert isinstance(decide(known={"t": started(delivery=4, isolated=True)}), Admit), (
        "marked, but no worker died since"
    )
    assert isinstance(decide(known={"t": started(delivery=5, isolated=False)}), Admit), "a crash charges neighbours too"


LOST = started(delivery=5, isolated=True)


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ("ticket_id: Field required", {"value": b'{"task_type":"EXECUTE"}'}),
        ("no executor for task_type TEST", {"task_type": "TEST"}),
        ("unknown task_type 'DANCE'", {"task_type": "DANCE"}),
        (
            "started once before and delivery_mode is AT_MOST_ONCE",
            {"known": {"t": started()}, "qos": {"delivery_mode": "AT_MOST_ONCE"}},
        ),
        ("its worker died 4 times, the last time while it ran in isolation", {"known": {"t": LOST}}),
        ("sla.deadline had passed before it could start", {"sla": {"deadline": 1}}),
        ("waited as long as its topic keeps records", {"timestamp": 0}),
    ],
)
def test_a_refusal_says_why(message: str, asked: dict[str, Any]) -> None:
    decision = decide(**asked)
    assert isinstance(decision, Refuse)
    assert decision.message == message


def test_a_refusal_carries_the_ticket_and_its_type() -> None:
    refusal = decide(task_type="DANCE", plan_id="p")
    assert isinstance(refusal, Refuse)
    assert refusal.task_type == "DANCE"
    assert refusal.ticket is not None
    assert (refusal.ticket.ticket_id, refusal.ticket.plan_id) == ("t", "p")


def test_a_damaged_ticket_is_refused_with_the_type_that_could_be_read() -> None:
    refusal = decide({"ticket_id": "t", "task_type": "BUILD", "sla": []})
    assert isinstance(refusal, Refuse)
    assert (refusal.task_type, refusal.ticket) == ("BUILD", None)


# --- replays -----------------------------------------------------------------------------------------------------


def replayed(*replays: str) -> Done:
    return Done(Status.FAILED, 1, NOW_MS, replays)


def test_a_replay_of_a_done_ticket_is_admitted_from_the_beginning() -> None:
    decision = decide(known={"t": replayed("0-1")}, replay="0-7")
    assert isinstance(decision, Admit)
    assert decision.state is None
    assert decision.replays == ("0-1", "0-7")


@pytest.mark.parametrize("replay", ["0-1", "0-7", ""])
def test_a_replay_that_was_seen_before_is_a_duplicate(replay: str) -> None:
    assert decide(known={"t": replayed("0-1", "0-7")}, replay=replay) == AlreadyDone("t")


def test_a_replay_of_a_ticket_that_nobody_knows_is_its_first() -> None:
    decision = decide(replay="0-7")
    assert isinstance(decision, Admit)
    assert decision.replays == ("0-7",)


def test_a_ticket_under_way_keeps_the_replays_it_has() -> None:
    decision = decide(known={"t": started(replays=("0-1",))}, replay="0-7")
    assert isinstance(decision, Admit)
    assert decision.replays == ("0-1",)


def test_the_latest_replays_are_remembered() -> None:
    many = tuple(f"0-{number}" for number in range(MAX_REPLAYS_REMEMBERED))
    decision = decide(known={"t": replayed(*many)}, replay="1-0")
    assert isinstance(decision, Admit)
    assert decision.replays == (*many[1:], "1-0")


# --- properties --------------------------------------------------------------------------------------------------

KNOWN = st.sampled_from([COMPLETED, FAILED, started(), started(phase=Phase.PARKED), started(delivery=5, isolated=True)])
DAMAGE = st.sampled_from(
    [
        {},
        {"task_type": 7},
        {"task_type": "EXECUTE", "sla": {"deadline": "tomorrow"}},
        {"task_type": "EXECUTE", "priority": 11},
        {"task_type": "EXECUTE", "dependencies": "t2"},
        {"task_type": "EXECUTE", "parameters": []},
        {"task_type": "EXECUTE", "created_at": 10**18},
    ]
)


@given(damage=DAMAGE, known=st.none() | KNOWN, in_flight=st.booleans())
def test_a_damaged_copy_of_a_known_ticket_is_never_answered(
    damage: dict[str, Any], known: KnownState | None, *, in_flight: bool
) -> None:
    decision = decide(
        {"ticket_id": "t", **damage}, known={"t": known} if known else {}, in_flight={"t"} if in_flight else ()
    )
    reason, ticket_id, dead_letter = refused(decision)
    assert reason is Reason.INVALID_TICKET
    assert dead_letter
    assert ticket_id == (None if known or in_flight else "t")


@given(value=st.none() | st.binary(max_size=200), known=st.none() | KNOWN, in_flight=st.booleans())
def test_whatever_bytes_arrive_something_is_decided(
    value: bytes | None, known: KnownState | None, *, in_flight: bool
) -> None:
    lookup = {"t": known}.get
    decision = admit(Envelope(1, value), lookup, {"t"} if in_flight else (), POLICY, NOW_MS)
    assert isinstance(decision, Ignore | Refuse)


FIELDS = st.fixed_dictionaries(
    {"ticket_id": st.sampled_from(["t", "u"]), "task_type": st.sampled_from(["EXECUTE", "BUILD", "TEST", "DANCE"])},
    optional={
        "status": st.sampled_from(["PENDING", "RUNNING", None]),
        "sla": st.fixed_dictionaries({}, optional={"deadline": st.sampled_from([0, NOW_MS, NOW_MS + 9])}),
        "qos": st.sampled_from([None, {"delivery_mode": "AT_MOST_ONCE"}]),
        "parameters": st.sampled_from([{}, None, {"a": 1}]),
    },
)


@given(fields=FIELDS, known=st.none() | KNOWN, in_flight=st.booleans())
def test_a_known_ticket_is_answered_at_most_once(
    fields: dict[str, Any], known: KnownState | None, *, in_flight: bool
) -> None:
    """Nothing that is done or in flight gets a decision that answers it."""
    decision = decide(fields, known={"t": known} if known else {}, in_flight={"t"} if in_flight else ())
    is_settled_elsewhere = fields["ticket_id"] == "t" and (isinstance(known, Done) or in_flight)
    if is_settled_elsewhere:
        assert isinstance(decision, Ignore | AlreadyDone | InFlight)
    if isinstance(decision, Admit):
        assert decision.ticket.task_type in POLICY.task_types
        assert decision.ticket.sla.deadline is None or decision.ticket.sla.deadline > NOW_MS


# --- dependencies ------------------------------------------------------------------------------------------------


def ticket(*dependencies: str) -> Ticket:
    return read_ticket(orjson.dumps({"ticket_id": "t", "task_type": "EXECUTE", "dependencies": dependencies}))


def test_a_ticket_without_dependencies_need_not_wait() -> None:
    assert check_dependencies(ticket(), {}.get) == DependenciesMet()


def test_a_ticket_whose_dependencies_completed_need_not_wait() -> None:
    assert check_dependencies(ticket("a", "b"), {"a": COMPLETED, "b": COMPLETED}.get) == DependenciesMet()


def test_a_dependency_that_failed_fails_the_ticket_even_beside_missing_ones() -> None:
    known: dict[str, KnownState] = {"a": COMPLETED, "c": FAILED}
    assert check_dependencies(ticket("a", "b", "c"), known.get) == DependencyFailed("c")


def test_a_dependency_that_runs_is_missing_still() -> None:
    assert check_dependencies(ticket("a", "a", "b"), {"a": started()}.get) == DependenciesMissing(("a", "b"))


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([COMPLETED, FAILED, started()])), st.data())
def test_dependencies_are_met_when_all_completed(known: dict[str, KnownState], data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from("abcdef")))
    states = [known.get(name) for name in names]
    match check_dependencies(ticket(*names), known.get):
        case DependenciesMet():
            assert all(state is COMPLETED for state in states)
        case DependencyFailed(name):
            assert known[name] is FAILED
            assert name in names
        case DependenciesMissing(missing):
            assert FAILED not in states
            assert set(missing) == {name for name in names if known.get(name) is not COMPLETED}
            assert len(missing) == len(set(missing))


def test_a_type_is_served_where_it_runs_and_no_setting_excludes_it() -> None:
    everything = AdmissionPolicy(frozenset({"BUILD", "TEST"}))
    assert [everything.serves(name) for name in ("BUILD", "TEST", "BREW")] == [True, True, False]
    chosen = AdmissionPolicy(frozenset({"BUILD", "TEST"}), supported=frozenset({"TEST"}))
    assert [chosen.serves(name) for name in ("BUILD", "TEST", "BREW")] == [False, True, False]
