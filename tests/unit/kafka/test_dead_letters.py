"""Dead letters: byte for byte where they fit, with a preview where they do not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.dispatch.journal import DeadLetter
from worker_agents.kafka.codec import OutRecord
from worker_agents.kafka.dead_letters import DeadLetterFormat
from worker_agents.model.errors import Reason
from worker_agents.model.ticket import Envelope

MIB = 1024 * 1024
NOW_MS = 1_767_225_600_000


def written(envelope: Envelope, message: str = "bad", *, max_bytes: int = MIB, **fields: Any) -> OutRecord:
    letters = DeadLetterFormat(
        topic="dlq", partitions=3, tickets_topic="tickets", group="group", worker_id="worker-1", max_bytes=max_bytes
    )
    letter = DeadLetter(envelope, fields.pop("reason", Reason.UNDECODABLE), message, attempts=2, delivery=4)
    return letters.record(letter, 8, NOW_MS)


def size(record: OutRecord) -> int:
    """At least what the record takes in a batch, without the batch's own head."""
    headers = sum(len(name.encode()) + len(value or b"") + 2 for name, value in record.headers)
    return len(record.value or b"") + len(record.key or b"") + headers


def test_the_record_is_kept_byte_for_byte_with_the_reason_beside_it() -> None:
    envelope = Envelope(41, b"\xff\x00", b"\xfekey", (("a", b"1"), ("a", b"\xff"), ("b", b"")))
    record = written(envelope, "not JSON", reason=Reason.UNDECODABLE)
    assert (record.topic, record.partition, record.key, record.value) == ("dlq", 2, b"\xfekey", b"\xff\x00")
    assert record.headers[:3] == envelope.headers
    assert dict(record.headers[3:]) == {
        "__dlq.errors.topic": b"tickets",
        "__dlq.errors.partition": b"8",
        "__dlq.errors.offset": b"41",
        "__dlq.errors.group": b"group",
        "__dlq.errors.delivery.count": b"4",
        "__dlq.errors.message": b"not JSON",
        "worker-agents.reason": b"undecodable",
        "worker-agents.attempts": b"2",
        "worker-agents.worker-id": b"worker-1",
        "worker-agents.at": str(NOW_MS).encode(),
    }


def test_a_record_too_large_for_the_topic_leaves_a_preview_and_its_place() -> None:
    envelope = Envelope(41, bytes(range(256)) * 4_096, b"key", (("large", b"x" * 1_000),))
    record = written(envelope)
    headers = dict(record.headers)
    assert record.value == (envelope.value or b"")[:1_000]
    assert record.key == b"key"
    assert headers["worker-agents.truncated"] == str(MIB).encode()
    assert headers["__dlq.errors.offset"] == b"41"
    assert "large" not in headers
    assert size(record) < MIB


def test_a_record_that_just_fits_is_not_touched() -> None:
    envelope = Envelope(0, b"x" * (MIB - 20_000))
    record = written(envelope)
    assert record.value == envelope.value
    assert "worker-agents.truncated" not in dict(record.headers)


def test_a_message_that_is_no_unicode_is_written_anyhow() -> None:
    assert dict(written(Envelope(0, b"x"), "a\ud800b").headers)["__dlq.errors.message"] == b"a?b"


@pytest.mark.parametrize("value", [None, b""])
def test_a_record_without_key_and_value_is_one_that_clients_can_read(value: bytes | None) -> None:
    record = written(Envelope(0, value))
    assert record.key is not None or record.value is not None


def test_a_message_of_wide_characters_does_not_push_the_record_over_the_limit() -> None:
    """Four thousand characters may be sixteen thousand bytes: more than is kept free for them."""
    record = written(Envelope(0, b"x" * (MIB - 8_400)), "🎫" * 10_000)
    assert size(record) <= MIB


def test_a_huge_key_does_not_push_the_record_over_the_limit() -> None:
    """A dead letter that its topic refuses is refused again after every re-opening: its partition would stand still."""
    record = written(Envelope(0, b"\xff", b"k" * (MIB - 100)))
    assert size(record) <= MIB


def test_header_names_of_wide_characters_do_not_push_the_record_over_the_limit() -> None:
    record = written(Envelope(0, b"x", headers=(("🎫" * 4_000, b""),)), max_bytes=20_000)
    assert size(record) <= 20_000
    assert "worker-agents.truncated" in dict(record.headers)


@given(
    value=st.none()
    | st.builds(lambda part, times: part * times, st.binary(min_size=1, max_size=3), st.integers(0, 9_000)),
    key=st.none() | st.binary(max_size=200),
    headers=st.lists(
        st.tuples(st.text(st.characters(codec="utf-8"), max_size=8), st.binary(max_size=2_000)), max_size=8
    ),
    message=st.builds(
        lambda text, times: text * times, st.text(st.characters(codec="ascii"), max_size=4), st.integers(0, 2_000)
    ),
)
def test_every_dead_letter_fits(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]], message: str
) -> None:
    envelope = Envelope(7, value, key, tuple(headers))
    record = written(envelope, message, max_bytes=20_000)
    assert size(record) <= 20_000
    if "worker-agents.truncated" not in dict(record.headers):
        assert record.value == value
        assert record.headers[: len(headers)] == envelope.headers
    if key is not None:
        assert record.key == key
