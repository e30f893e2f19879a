"""XML that somebody else wrote, read as events within bounds of time and memory.

Reports are read with expat itself. ``defusedxml`` forbids entities, but lets three things pass that were measured on files
within the size limit: attribute defaults in a DOCTYPE that every element repeats (1 MB: 14 s), one tag of 32 MB
(11-30 s), and unlimited depth (1.2 GB). Here a DOCTYPE may name its external subset, as JaCoCo's and Istanbul's do,
and nothing is fetched; declarations of its own, and so every entity, are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol
from xml.parsers import expat

from worker_agents.reports.model import Malformed

MAX_DEPTH = 100
MAX_ELEMENTS = 1_000_000
MAX_ATTRIBUTES_OF_ONE = 1_000
MAX_TAG_BYTES = 1 << 20

_CHUNK_BYTES = 1 << 16
# Those that expat decodes itself: any other would run a codec of Python's, chosen by the file.
_ENCODINGS = frozenset({"utf-8", "utf-16", "iso-8859-1", "us-ascii"})

Attributes = Mapping[str, str]


class Visitor(Protocol):
    """Sees the elements in document order. ``depth`` is 1 for the root."""

    def start(self, tag: str, attributes: Attributes, depth: int) -> None: ...

    def end(self, tag: str, depth: int) -> None: ...

    def text(self, text: str) -> None: ...


class Reader:
    """Feeds a document to the visitor that ``choose`` picks by the root's tag and attributes."""

    def __init__(self, choose: Callable[[str, Attributes], Visitor]) -> None:
        self._choose = choose
        self._visitor: Visitor | None = None
        self._depth = 0
        self._elements = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.XmlDeclHandler = _check_encoding
        self._parser.StartDoctypeDeclHandler = _check_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text

    def read(self, content: bytes) -> None:
        """Raises ``Malformed`` for what is not well-formed or over the limits."""
        try:
            for begin in range(0, len(content), _CHUNK_BYTES):
                chunk = content[begin : begin + _CHUNK_BYTES]
                self._parser.Parse(chunk, False)
                # A tag that goes on is read again from its beginning with every chunk.
                if begin + len(chunk) - self._parser.CurrentByteIndex > MAX_TAG_BYTES:
                    raise Malformed(f"a single XML tag of more than {MAX_TAG_BYTES:,} bytes")
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise Malformed(f"no well-formed XML: {reason} at line {error.lineno}, column {error.offset}") from None

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._elements += 1
        if self._depth > MAX_DEPTH:
            raise Malformed(f"XML elements nest deeper than {MAX_DEPTH} levels")
        if self._elements > MAX_ELEMENTS:
            raise Malformed(f"more than {MAX_ELEMENTS:,} XML elements")
        if len(attributes) > MAX_ATTRIBUTES_OF_ONE:
            raise Malformed(f"an XML element with more than {MAX_ATTRIBUTES_OF_ONE:,} attributes")
        if self._visitor is None:
            self._visitor = self._choose(tag, attributes)
        self._visitor.start(tag, attributes, self._depth)

    def _end(self, tag: str) -> None:
        if self._visitor is not None:
            self._visitor.end(tag, self._depth)
        self._depth -= 1

    def _text(self, text: str) -> None:
        if self._visitor is not None:
            self._visitor.text(text)


def is_xml(content: bytes) -> bool:
    """Whether the content begins as only XML does, in UTF-8 or UTF-16."""
    head = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    return head.startswith((b"<", b"\xff\xfe<\0", b"\xfe\xff\0<"))


def _check_encoding(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() not in _ENCODINGS:
        raise Malformed("an XML encoding other than UTF-8, UTF-16, ISO-8859-1 or US-ASCII")


def _check_doctype(_name: str, _system_id: str | None, _public_id: str | None, has_internal_subset: int) -> None:
    if has_internal_subset:
        raise Malformed("the DOCTYPE declares entities, attributes or elements of its own")
