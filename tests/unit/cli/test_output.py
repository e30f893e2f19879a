"""Text for people: safe for a terminal, and honest about bytes."""

from worker_agents.cli.output import bytes_document, time_text
from worker_agents.model.text import preview, printable


def test_a_ticket_cannot_command_the_terminal() -> None:
    assert printable("a\x1b[2Jb\r\x00") == "a\N{REPLACEMENT CHARACTER}[2Jb" + 2 * "\N{REPLACEMENT CHARACTER}"


def test_a_preview_is_one_short_line() -> None:
    assert preview(b"a\nb") == "a b"
    assert preview(b"x" * 500, 10) == "x" * 9 + "…"
    assert preview(b"\xff\x00") == 2 * "\N{REPLACEMENT CHARACTER}"
    assert preview(None) == "(no value)"


def test_times() -> None:
    assert time_text(0) == "1970-01-01 00:00:00Z"
    assert time_text(10**18) == str(10**18)


def test_bytes_in_json() -> None:
    assert bytes_document("é".encode()) == {"text": "é"}
    assert bytes_document(b"\xff") == {"base64": "/w=="}
    assert bytes_document(None) == {"text": None}
