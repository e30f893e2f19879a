"""Structured logs: one line for each event, and for what libraries log, in JSON or for a terminal."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from operator import attrgetter
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.types import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from worker_agents.model.structs import struct
from worker_agents.model.text import printable
from worker_agents.telemetry.events import Event, FallbackUsed
from worker_agents.telemetry.masking import SecretMasker
from worker_agents.telemetry.tracing import TraceContext, current_work

# A kind of message from a library is told once in so many seconds.
_REPETITION_SECONDS = 10.0
_KINDS_KNOWN = 1_000
# Libraries that tell too much of what goes well.
_CHATTY = ("aiokafka", "asyncio", "httpcore", "httpx", "hvac", "urllib3", "uvicorn")


def configure_logging(
    level: str, log_format: str, worker_id: str, *, secrets: Iterable[str] = (), stream: TextIO | None = None
) -> None:
    """Send every log of this process, also of libraries, through one chain to ``stream`` (default: standard error).

    ``log_format`` is ``json`` or ``console``; ``secrets`` are masked wherever they turn up.
    """
    threshold = logging.getLevelNamesMapping()[level]
    out = stream or sys.stderr
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _worker_stamp(worker_id),
            _ticket_stamp,
            structlog.processors.format_exc_info,
            *_masking(secrets),
            *_rendering(log_format, colors=out.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _LineLogger(out),
        cache_logger_on_first_use=False,
    )
    _route_libraries(threshold)


class LogSubscriber:
    """Writes one line for each event whose level is enabled. Make it after :func:`configure_logging`."""

    def __init__(self) -> None:
        self._logger = cast(FilteringBoundLogger, structlog.get_logger().bind())
        self._threshold = self._logger.get_effective_level()
        self._layouts: dict[type[Event], _Layout] = {}

    def __call__(self, event: Event) -> None:
        if event.level < self._threshold:
            return
        layout = self._layouts.get(type(event)) or self._learn(type(event))
        name = event.log_event if isinstance(event, FallbackUsed) else event.event
        line = dict(zip(layout.names, layout.values_of(event), strict=True))
        trace: TraceContext | None = line.pop(_TRACE, None)
        if trace is not None:
            line["trace_id"] = trace.trace_id
        self._logger.log(event.level, name, **line)

    def _learn(self, kind: type[Event]) -> _Layout:
        layout = self._layouts[kind] = _layout_of(kind)
        return layout


@struct
class _Layout:
    """How the fields of one kind of event are read and what they are called in the log."""

    names: tuple[str, ...]
    values_of: Callable[[Event], tuple[Any, ...]]


_TRACE = "trace"
# The passage is for spans alone.
_UNTOLD = "passage"
# The name that log renderers know for a traceback.
_RENAMED = {"traceback": "exception"}


def _layout_of(kind: type[Event]) -> _Layout:
    untold = {_UNTOLD, "log_event"} if kind is FallbackUsed else {_UNTOLD}
    names = [field.name for field in fields(kind) if field.name not in untold]
    return _Layout(tuple(_RENAMED.get(name, name) for name in names), _reader(names))


def _reader(names: list[str]) -> Callable[[Event], tuple[Any, ...]]:
    """``attrgetter`` gives a bare value for a single name, and takes no empty list."""
    if len(names) > 1:
        return cast(Callable[[Event], tuple[Any, ...]], attrgetter(*names))
    return lambda event: tuple(getattr(event, name) for name in names)


def _worker_stamp(worker_id: str) -> Processor:
    def stamp(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        line["worker_id"] = worker_id
        return line

    return stamp


def _ticket_stamp(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Which ticket the current task works on, also in what its executor and libraries log."""
    work = current_work()
    if work is None or line.setdefault("ticket_id", work.ticket_id) != work.ticket_id:
        return line
    line.setdefault("trace_id", work.span.trace_id)
    return line


def _masking(secrets: Iterable[str]) -> list[Processor]:
    known = list(secrets)
    if not known:
        return []
    masker = SecretMasker(known)

    def mask(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        return {name: masker.value(value) for name, value in line.items()}

    return [mask]


def _rendering(log_format: str, *, colors: bool) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.JSONRenderer(serializer=_to_json)]
    # The plain formatter: the pretty ones print local variables, and with them secrets.
    return [
        _without_control_characters,
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback),
    ]


def _without_control_characters(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """A terminal obeys escape sequences, and texts come from anywhere; JSON writes them as text anyway."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in line.items()}


def _to_json(line: EventDict, **_: object) -> str:
    try:
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # lone surrogates and very large integers, which orjson refuses
        return json.dumps(line, default=str)


class _LineLogger:
    """Writes lines and survives a reader that went away: work goes on without its log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # a closed pipe, a full disk, a closed stream
            return

    debug = info = warning = error = critical = _write


class _Repetitions:
    """Counts what a library says again and again: aiokafka tells of a lost broker some hundred times a second."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, int, str], tuple[float, int]] = {}

    def withheld(self, record: logging.LogRecord) -> int | None:
        """How many like it were withheld since the last one that was told, or ``None`` to withhold this one too."""
        kind = (record.name, record.levelno, str(record.msg))
        told_at, count = self._told.get(kind, (float("-inf"), 0))
        if record.created - told_at < _REPETITION_SECONDS:
            self._told[kind] = (told_at, count + 1)
            return None
        if len(self._told) >= _KINDS_KNOWN:
            self._told.clear()
        self._told[kind] = (record.created, 0)
        return count


class _LibraryHandler(logging.Handler):
    """Hands the records of the standard library's ``logging`` to structlog, the same kind every few seconds only."""

    def __init__(self) -> None:
        super().__init__()
        self._repetitions = _Repetitions()

    def emit(self, record: logging.LogRecord) -> None:
        withheld = self._repetitions.withheld(record)
        if withheld is None:
            return
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit their format: a library's fault, not ours
            message = str(record.msg)
        logger = cast(FilteringBoundLogger, structlog.get_logger())
        more = {"withheld": withheld} if withheld else {}
        logger.log(_known_level(record.levelno), message, logger=record.name, exc_info=record.exc_info or None, **more)


def _known_level(level: int) -> int:
    """The next lower of the five levels: libraries invent others."""
    return min(max(level // 10 * 10, logging.DEBUG), logging.CRITICAL)


def _route_libraries(threshold: int) -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler())
    root.setLevel(threshold)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
