"""What the command line makes of dead letters, also of those that no worker wrote."""

import orjson
import pytest

from worker_agents.cli.dlq import _print_whole, summary
from worker_agents.kafka.letters import replay_plan
from worker_agents.kafka.reader import Record


def letter(partition: bytes) -> Record:
    headers = (("__dlq.errors.partition", partition), ("worker-agents.attempts", partition))
    return Record("dlq", 0, 1, 1_767_225_600_000, None, b"{}", headers)


def test_the_place_of_a_letter_is_read_from_its_headers() -> None:
    told = summary(letter(b"7"))

    assert (told["original"]["partition"], told["attempts"]) == (7, 7)
    assert replay_plan(letter(b"7"), partitions=12).problem is None


@pytest.mark.parametrize("number", [b"", b"-1", b"1.5", b"9" * 19, b"9" * 5_000, "\u0663".encode(), b"\xff"])
def test_a_number_that_can_be_none_is_not_known(number: bytes) -> None:
    told = summary(letter(number))

    assert (told["original"]["partition"], told["attempts"]) == (None, None)
    assert orjson.dumps(told)
    assert "is not known" in str(replay_plan(letter(number), partitions=12).problem)


def test_nothing_of_a_letter_reaches_the_terminal_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    escape = "\x1b[2J"
    headers = (("worker-agents.reason", escape.encode()), (escape, escape.encode()))

    _print_whole(Record("dlq", 0, 1, 1_767_225_600_000, escape.encode(), escape.encode(), headers))

    shown = capsys.readouterr().out
    assert "dead letter 0-1" in shown
    assert "\x1b" not in shown
