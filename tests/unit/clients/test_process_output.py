"""What is kept of a program's output: whole where it is small, head and tail otherwise, and never a secret."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker_agents.clients.process_output import LiveLines, OutputCollector, clean
from worker_agents.telemetry.masking import MASK, SecretMasker

SECRET = "s3cr3t-t0ken-value"
MASKER = SecretMasker([SECRET])


def collected(chunks: list[bytes], limit: int) -> str:
    collector = OutputCollector(limit, MASKER.text)
    for chunk in chunks:
        collector.feed(chunk)
    return collector.text()


@given(st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\r", b"").hex().encode()), max_size=20))
def test_small_output_is_kept_whole(chunks: list[bytes]) -> None:
    assert collected(chunks, 10_000) == b"".join(chunks).decode()


@example(before=0, after=0, limit=2, step=1_000)
@given(
    before=st.integers(0, 120_000),
    after=st.integers(0, 120_000),
    limit=st.integers(0, 60_000),
    step=st.sampled_from([1_000, 4_096, 65_536]),
)
def test_a_secret_never_shows_wherever_chunks_and_cuts_fall(before: int, after: int, limit: int, step: int) -> None:
    data = b"a" * before + SECRET.encode() + b"z" * after
    text = collected([data[at : at + step] for at in range(0, len(data), step)], limit)

    # The mask itself may be cut.
    rest = text.replace("*", "").strip("az")
    assert all(part.isdecimal() or part in {"bytes", "left", "out", "...", ""} for part in rest.split())
    assert len(text) <= max(limit, len(MASK)) + 60


@pytest.mark.parametrize("at_the_end", [False, True], ids=["head", "tail"])
@pytest.mark.parametrize("others", [2_000, 200_000])
def test_a_secret_across_the_cut_never_shows_in_part(others: int, at_the_end: bool) -> None:
    """Every place of it around the cut, with little and with much left out."""
    for before in range(500 - len(SECRET) - 1, 502):
        data = b"a" * before + SECRET.encode() + b"a" * others
        if at_the_end:
            data = data[::-1].replace(SECRET[::-1].encode(), SECRET.encode())
        text = collected([data], 1_000)

        assert set(text) <= set(f"a{MASK} \n.0123456789 bytes left out")
        assert "s3" not in text
        assert "ue" not in text


def test_a_secret_is_masked_byte_by_byte() -> None:
    assert collected([bytes([byte]) for byte in f"x{SECRET}y".encode()], 1_000) == f"x{MASK}y"


@given(st.integers(1, 300_000), st.integers(2, 20_000))
def test_what_is_left_out_is_counted(total: int, limit: int) -> None:
    text = collected([b"0123456789\n"] * (total // 11), limit)

    if total // 11 * 11 <= limit:
        assert "left out" not in text
        return
    head, rest = text.split("... ", 1)
    left_out, tail = rest.split(" bytes left out ...\n")
    assert len(head) + int(left_out) + len(tail) == total // 11 * 11


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;never closed\nnext", "\nnext"),
        ("\x1b(Btext\x1b=", "text"),
        ("\x9b31mred", "red"),
        ("10%\r20%\r\ndone", "10%\n20%\ndone"),
        ("a\x00\x07\x08\x0b\x7fb\x85", "ab"),
        ("abc\u202etxt.exe", "abctxt.exe"),
        ("\x1b\x1b[0m[31mx", "[31mx"),
        (f"{SECRET[:5]}\x1b[1m{SECRET[5:]}", MASK),
        (f"{SECRET[:5]}\x00{SECRET[5:]}", MASK),
        ("héllo ✓", "héllo ✓"),
    ],
)
def test_control_characters(raw: str, shown: str) -> None:
    assert clean(raw, MASKER.text) == shown


@given(st.text())
def test_what_is_clean_stays_clean(text: str) -> None:
    once = clean(text, str)

    assert clean(once, str) == once
    assert all(each.isprintable() or each in "\n\t" or ord(each) >= 0xA0 for each in once)


def shown(chunks: list[bytes], limit: int = 100_000) -> list[str]:
    lines: list[str] = []
    live = LiveLines(limit, MASKER.text, lines.append)
    for chunk in chunks:
        live.feed(chunk)
    live.feed(b"", final=True)
    return lines


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1_000])
def test_lines_are_whole_however_they_come(step: int) -> None:
    data = f"one\r\n\ntöw {SECRET}\nlast".encode()

    assert shown([data[at : at + step] for at in range(0, len(data), step)]) == ["one", "", f"töw {MASK}", "last"]


def test_a_line_without_end_is_cut() -> None:
    (line,) = shown([b"x" * 50_000] * 100)

    assert line == "x" * 4_096 + "…"


def test_live_lines_end_at_the_limit() -> None:
    lines = shown([b"0123456789\n"] * 10_000, limit=100)

    assert lines[:-1] == ["0123456789"] * 10
    assert lines[-1] == "... further output is not shown live ..."
