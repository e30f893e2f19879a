"""W3C trace context: read from a ticket's headers, carried on to outgoing calls and results.

Format: https://www.w3.org/TR/trace-context-2/. What cannot be read is ignored and a new trace begins, as the
recommendation asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import field, replace
from random import getrandbits
from typing import Protocol

from worker_agents.model.structs import struct

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16
_SAMPLED = 0x01
# Sampled and random-trace-id: the flags that version 00 defines; others are not passed on.
_KNOWN_FLAGS = 0x03


Headers = Iterable[tuple[str, bytes | None]]


@struct
class TraceContext:
    """One span of a trace. ``trace_id`` and ``span_id`` are lower-case hex, ``tracestate`` is passed on as it came.

    ``recorded``: this worker exports its spans of this trace. ``is_remote``: the span came from elsewhere.
    """

    trace_id: str
    span_id: str
    flags: int = _SAMPLED
    tracestate: str = ""
    parent_span_id: str = field(default="", compare=False)
    recorded: bool = field(default=False, compare=False)
    is_remote: bool = field(default=False, compare=False)

    @classmethod
    def from_headers(cls, headers: Headers) -> TraceContext:
        """The span that sent these Kafka headers, or a new trace."""
        return cls.of_sender(headers) or cls.new()

    @classmethod
    def of_sender(cls, headers: Headers) -> TraceContext | None:
        """The span that sent these Kafka headers. The first header of a name counts."""
        traceparent = tracestate = None
        for name, value in headers:
            match name.lower():
                case "traceparent" if traceparent is None:
                    traceparent = value
                case "tracestate" if tracestate is None:
                    tracestate = value
        return None if traceparent is None else cls.parse(_text(traceparent), _text(tracestate))

    @classmethod
    def parse(cls, traceparent: str, tracestate: str = "") -> TraceContext | None:
        """``None`` when ``traceparent`` is not valid; an invalid ``tracestate`` is dropped alone."""
        match = _TRACEPARENT.fullmatch(traceparent)
        if match is None:
            return None
        version, trace_id, span_id, flags, more = match.groups()
        if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
            return None
        kept = tracestate if _TRACESTATE.fullmatch(tracestate) else ""
        return cls(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS, kept, is_remote=True)

    @classmethod
    def new(cls) -> TraceContext:
        """The first span of a new trace, marked as sampled: whoever is called would have begun one of its own."""
        return cls(_random_id(128), _random_id(64))

    def child(self) -> TraceContext:
        """A new span of the same trace."""
        return TraceContext(
            self.trace_id, _random_id(64), self.flags, self.tracestate, self.span_id, recorded=self.recorded
        )

    def sibling(self) -> TraceContext:
        """Another span below the same one."""
        return replace(self, span_id=_random_id(64))

    @property
    def is_sampled(self) -> bool:
        return bool(self.flags & _SAMPLED)

    @property
    def is_kept(self) -> bool:
        """Whether somebody who looks for this trace will find it."""
        return self.recorded or (self.is_remote and self.is_sampled)

    def sampled(self, *, here: bool) -> TraceContext:
        """The same span, with the decision on whether its trace is recorded."""
        flags = self.flags | _SAMPLED if here else self.flags & ~_SAMPLED
        return replace(self, flags=flags, recorded=here)

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def headers(self) -> dict[str, str]:
        """For an outgoing HTTP call."""
        headers = {TRACEPARENT: self.traceparent}
        if self.tracestate:
            headers[TRACESTATE] = self.tracestate
        return headers

    def kafka_headers(self) -> list[tuple[str, bytes]]:
        """For an outgoing record."""
        return [(name, value.encode()) for name, value in self.headers().items()]


BeginTrace = Callable[[Headers], TraceContext]
"""The span of a ticket whose record has these headers. Told once for each ticket of this worker."""


class Work(Protocol):
    """A ticket, or one attempt of it, that a task works on. The span is made when it is asked for."""

    @property
    def ticket_id(self) -> str: ...

    @property
    def span(self) -> TraceContext: ...


_work: ContextVar[Work | None] = ContextVar("worker_agents_work", default=None)


def work_on(work: Work) -> None:
    """From here on the current task works on this: log lines name it, and calls are its children."""
    _work.set(work)


def current_work() -> Work | None:
    return _work.get()


def current_span() -> TraceContext | None:
    """The recorded span that the current task is in; ``None`` where there is none."""
    work = _work.get()
    if work is None or not work.span.recorded:
        return None
    return work.span


def new_call_span() -> TraceContext | None:
    """A span for a call that the current task makes; ``None`` where none is recorded."""
    span = current_span()
    return None if span is None else span.child()


def _text(value: bytes | None) -> str:
    try:
        return value.decode("ascii").strip() if value else ""
    except UnicodeDecodeError:
        return ""


def _random_id(bits: int) -> str:
    return f"{getrandbits(bits) or 1:0{bits // 4}x}"
