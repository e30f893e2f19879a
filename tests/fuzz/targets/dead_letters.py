"""A record that is given up, as a dead letter and as the command line shows it. Input: its headers in lines, a blank line, its value."""

import contextlib
import io

import orjson

from tests.fuzz.harness import Target, assert_readable, split_head
from worker_agents.cli.dlq import LetterFilter, _line, _print_whole, _whole, summary
from worker_agents.dispatch.journal import DeadLetter
from worker_agents.kafka.codec import Headers
from worker_agents.kafka.dead_letters import TRUNCATED_HEADER, DeadLetterFormat
from worker_agents.kafka.letters import replay_plan
from worker_agents.kafka.reader import Record
from worker_agents.model.errors import Reason
from worker_agents.model.ticket import Envelope

_NOW = 1_767_225_600_000
_FORMAT = DeadLetterFormat("dlq", 3, "tickets", "workers", "w-1", max_bytes=20_000)
_PARTITION, _OFFSET = 5, 17


def check(content: bytes) -> None:
    """Kept byte for byte where there is room; shown without an error, whoever wrote it; back to where it came from."""
    pairs, value = split_head(content)
    headers: Headers = tuple(pairs)
    message = content.decode(errors="replace")
    letter = DeadLetter(Envelope(_OFFSET, value, b"key", headers, _NOW), Reason.INTERNAL, message, 3, 1)
    written = _FORMAT.record(letter, _PARTITION, _NOW)
    assert _bytes(written.key, written.value, written.headers) <= _FORMAT.max_bytes
    record = Record("dlq", 2, 40, _NOW, written.key, written.value, written.headers)
    if all(name != TRUNCATED_HEADER for name, _ in written.headers):
        assert (written.key, written.value) == (b"key", value)
        assert written.headers[: len(headers)] == headers
    _shown(record)
    told = summary(record)
    assert (told["reason"], told["attempts"]) == ("internal", 3)
    assert told["original"] == {"topic": "tickets", "partition": _PARTITION, "offset": _OFFSET}
    assert replay_plan(record, partitions=12).partition == _PARTITION
    # Whatever else is in the topic: a record that no worker wrote.
    _shown(Record("dlq", 2, 41, _NOW, None, value, headers))


def _bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """What Kafka counts, without the few bytes of framing."""
    return len(key or b"") + len(value or b"") + sum(len(name.encode()) + len(text) for name, text in headers)


def _shown(record: Record) -> None:
    told = summary(record)
    assert orjson.loads(orjson.dumps(_whole(record)))["letter"] == told["letter"]
    assert_readable(_line(told)[:1_000].replace("\n", " "))
    LetterFilter(ticket_id="t-1", reason="internal").fits(told)
    assert orjson.dumps(replay_plan(record, partitions=12))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        _print_whole(record)
    assert all(each.isprintable() or each == "\n" for each in printed.getvalue())


TARGET = Target(
    "dead_letters",
    check,
    tokens=(
        *(b"__dlq.errors.partition: ", b"__dlq.errors.offset: ", b"__dlq.errors.message: ", b"__dlq.errors.topic: "),
        *(
            b"worker-agents.reason: ",
            b"worker-agents.attempts: ",
            b"worker-agents.truncated: 1\n",
            b"worker-agents.replay: ",
        ),
        *(b"\n\n", b"\n", b'{"ticket_id":"t-1","task_type":"EXECUTE"}', "\U0001f3ab".encode(), "\u0663".encode()),
    ),
)
