"""What a program wrote, as text that may go into results and logs: bounded, without control characters, without secrets."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

Mask = Callable[[str], str]

# A secret that lies across a cut is whole within this many bytes, is masked there, and only then is the text cut.
_MARGIN = 16_384
_LONGEST_LIVE_LINE = 4_096

_ESCAPE_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC and other strings: titles, links
    r"|\x1b[ -/]*[0-~]"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
# Everything that is not for reading but line feed and tab; also what turns the direction of text round.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str, mask: Mask) -> str:
    """``text`` without escape sequences, control characters and secrets; carriage returns become line ends.

    Masked before and after: a secret may hold control characters, and a secret may be torn apart by them.
    """
    plain = mask(text).replace("\r\n", "\n").replace("\r", "\n")
    return mask(_CONTROLS.sub("", _ESCAPE_SEQUENCES.sub("", plain)))


class OutputCollector:
    """Keeps the head and the tail of a stream, together about ``limit`` bytes."""

    def __init__(self, limit: int, mask: Mask) -> None:
        self._limit = limit
        self._mask = mask
        self._part = limit // 2
        self._room = self._part + _MARGIN
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def feed(self, data: bytes) -> None:
        self._total += len(data)
        free = self._room - len(self._head)
        self._head += data[:free]
        self._tail += data[max(free, 0) :]
        # Twice the room, so that the tail is moved once for many small writes.
        if len(self._tail) > 2 * self._room:
            del self._tail[: -self._room]

    @property
    def is_cut(self) -> bool:
        """Whether something in the middle was left out."""
        return self._total > self._limit

    def text(self) -> str:
        """Masked and clean; what was left out is told by a line of its own."""
        if not self.is_cut:
            return self._clean(self._head + self._tail)
        if self._total <= 2 * self._room:
            whole = self._clean(self._head + self._tail)
            head, tail = whole[: self._part], whole[-self._part :] if self._part else ""
        else:
            head = self._clean(self._head)[:-_MARGIN]
            tail = self._clean(self._tail[-self._room :])[_MARGIN:]
        head, tail = _up_to_line_end(head), _from_line_start(tail)
        left_out = self._total - len(head.encode()) - len(tail.encode())
        return f"{head}... {left_out} bytes left out ...\n{tail}"

    def _clean(self, data: bytearray) -> str:
        return clean(data.decode(errors="replace"), self._mask)


def _up_to_line_end(head: str) -> str:
    """Whole lines where the last one begins near the cut."""
    end = head.rfind("\n", -_MARGIN) + 1
    return head[:end] if end else f"{head}\n"


def _from_line_start(tail: str) -> str:
    return tail[tail.find("\n", 0, _MARGIN) + 1 :]


class LiveLines:
    """Hands on each line as soon as it is complete, masked and clean, until ``limit`` characters were shown.

    A line longer than 4096 characters is cut. A secret of several lines is masked as far as ``mask`` knows its lines.
    """

    def __init__(self, limit: int, mask: Mask, show: Callable[[str], None]) -> None:
        self._left = limit
        self._mask = mask
        self._show = show
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""

    def feed(self, data: bytes, *, final: bool = False) -> None:
        if self._left <= 0:
            return
        *lines, self._line = (self._line + self._decoder.decode(data, final)).split("\n")
        # No secret that begins within what is shown of a line lies beyond this.
        self._line = self._line[: _LONGEST_LIVE_LINE + _MARGIN]
        if final and self._line:
            lines.append(self._line)
        for line in lines:
            self._hand_on(line)

    def _hand_on(self, line: str) -> None:
        if self._left <= 0:
            return
        text = clean(line.removesuffix("\r"), self._mask)
        shown = text if len(text) <= _LONGEST_LIVE_LINE else f"{text[:_LONGEST_LIVE_LINE]}…"
        self._show(shown)
        self._left -= len(shown) + 1
        if self._left <= 0:
            self._show("... further output is not shown live ...")
