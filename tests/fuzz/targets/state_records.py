"""Records of the state topic, as a partition's memory takes them in. Input: a line ``key TAB value`` each; ``-`` is none."""

import math
from typing import Any

import orjson

from tests.fuzz.harness import Target, assert_readable
from worker_agents.executors.pipeline import BegunPipeline
from worker_agents.kafka.codec import FLOOR_KEY, META_KEY, OWNER_KEY, StateRecordInvalid, decode_state, encode_state
from worker_agents.kafka.state import TicketStates
from worker_agents.model.errors import UnknownOutcome
from worker_agents.model.state import Done, KnownState, TicketState

_INT64 = 2**63
# The memory is compared before and after each one.
MAX_RECORDS = 100


def check(content: bytes) -> None:
    """Each record is taken in or refused without a trace; taking all in again changes nothing."""
    records = [_record(line) for line in content.split(b"\n")[:MAX_RECORDS] if line]
    states = TicketStates()
    for key, value in records:
        _apply(states, key, value)
    before = _memory(states)
    for key, value in records:
        _apply(states, key, value)
    assert _memory(states) == before


def _record(line: bytes) -> tuple[str, bytes | None]:
    key, _, value = line.partition(b"\t")
    return key.decode(errors="replace"), None if value == b"-" else value


def _apply(states: TicketStates, key: str, value: bytes | None) -> None:
    before = _memory(states)
    try:
        states.apply(key, value)
    except StateRecordInvalid as error:
        assert_readable(str(error))
        assert _memory(states) == before
        return
    state = states.lookup(key)
    if value is None or key in (FLOOR_KEY, OWNER_KEY, META_KEY):
        _sound_facts(states)
        return
    assert state is not None
    _sound_state(key, state)


def _sound_facts(states: TicketStates) -> None:
    assert states.floor is None or 0 <= states.floor < _INT64
    if states.owner is not None:
        assert isinstance(states.owner.worker, str)
        assert isinstance(states.owner.url, str)
        assert isinstance(states.owner.handed_over, bool)
    if states.meta is not None:
        assert isinstance(states.meta.group, str)
        assert isinstance(states.meta.tickets_topic, str)


def _sound_state(key: str, state: KnownState) -> None:
    """It survives its encoding, and whoever uses it can."""
    assert decode_state(key, encode_state(state)) == state
    assert 0 <= state.offset < _INT64
    match state:
        case Done(at=at):
            assert 0 <= at < _INT64
        case TicketState():
            assert not key.startswith("@")
            assert 0 <= state.remaining(0) < math.inf
            assert state.attempt >= 1
            assert state.delivery >= 1
            assert state.checkpoint is None or _resumable(state.checkpoint)


def _resumable(checkpoint: dict[str, Any]) -> bool:
    try:
        pipeline = BegunPipeline.read(checkpoint)
    except UnknownOutcome as error:
        assert_readable(str(error))
        return True
    assert pipeline is not None
    return BegunPipeline.read(orjson.loads(orjson.dumps(pipeline.checkpoint()))) == pipeline


def _memory(states: TicketStates) -> tuple[object, ...]:
    return (dict(states.active), dict(states.done), states.floor, states.owner, states.meta)


_FIELDS = b"phase status offset at owner attempt delivery began_at checkpoint checkpoint_at isolated reason due_at delay replays"

TARGET = Target(
    "state_records",
    check,
    tokens=(
        *(b'"%s":' % name for name in _FIELDS.split()),
        *(
            b"@floor\t",
            b"@owner\t",
            b"@meta\t",
            b"@offset-7\t",
            b"t-1\t",
            b"-",
            b"\n",
            b'{"phase":"done"',
            b'"nan"',
            b'"inf"',
        ),
        *(
            b'"parked"',
            b'"started"',
            b'"checkpoint"',
            b'"pipeline_id":',
            b'"stages":',
            b'"worker":',
            b'"url":',
            b'"schema":',
        ),
    ),
)
