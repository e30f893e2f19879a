"""One line for each event, in the words of the event, and none with a secret in it."""

import asyncio
import dataclasses
import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog

from worker_agents.telemetry import events
from worker_agents.telemetry.logs import LogSubscriber, configure_logging
from worker_agents.telemetry.tracing import TraceContext, work_on

SECRET = "s3cr3t/with'quote\"and ä"

SETTLED = events.TicketSettled(
    ticket_id="t-1", task_type="BUILD", status="FAILED", reason="timeout", simulated=False, attempts=2, duration=1.5
)
LOUDER = {"kafka_trouble": "warning", "lease_expired": "error", "worker_started": "info"}

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Puts the process-wide configuration back, which every test here changes."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lines(stream: io.StringIO) -> Lines:
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def every_event() -> list[type[events.Event]]:
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
    return [kind for kind in kinds if hasattr(kind, "event")]


def sample(kind: type[events.Event]) -> events.Event:
    values: dict[str, Any] = {"int": 1, "float": 0.5, "bool": True, "str": "text", "tuple[str, ...]": ("A", "B")}
    values |= {
        "TraceContext | None": TraceContext("a" * 32, "b" * 16),
        "Passage | None": events.Passage("0", 1, "", 0.5),
        "Mapping[str, object]": {},
    }
    return kind(**{field.name: values[str(field.type)] for field in dataclasses.fields(kind)})


def test_an_event_is_one_line_with_its_fields(stream: io.StringIO, lines: Lines) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)
    LogSubscriber()(SETTLED)
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "ticket_settled",
        "level": "info",
        "worker_id": "worker-1",
        "ticket_id": "t-1",
        "task_type": "BUILD",
        "status": "FAILED",
        "reason": "timeout",
        "simulated": False,
        "attempts": 2,
        "duration": 1.5,
    }


@pytest.mark.parametrize("kind", every_event(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_every_event_can_be_logged(kind: type[events.Event], log_format: str, stream: io.StringIO) -> None:
    configure_logging("DEBUG", log_format, "worker-1", stream=stream)
    LogSubscriber()(sample(kind))
    name = "text" if kind is events.FallbackUsed else kind.event
    assert name in stream.getvalue()


def test_no_field_of_an_event_hides_what_the_line_says_itself() -> None:
    taken = {"event", "level", "timestamp", "logger", "exception"}
    for kind in every_event():
        assert taken.isdisjoint(field.name for field in dataclasses.fields(kind)), kind


@pytest.mark.parametrize("event", [sample(kind) for kind in every_event() if kind.event in LOUDER])
def test_the_level_is_that_of_the_event(event: events.Event, stream: io.StringIO, lines: Lines) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)
    LogSubscriber()(event)
    assert lines()[0]["level"] == LOUDER[event.event]


def test_a_fallback_is_logged_under_the_name_that_the_guide_gives_it(stream: io.StringIO, lines: Lines) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)
    LogSubscriber()(
        events.FallbackUsed(
            ticket_id="t-1",
            task_type="BUILD",
            integration="code_forge",
            reason="dependency_unavailable",
            message="connect error",
            log_event="build_code_forge_error",
        )
    )
    (line,) = lines()
    assert (line["event"], line["level"]) == ("build_code_forge_error", "warning")
    assert line["integration"] == "code_forge"
    assert "log_event" not in line


def test_a_crash_shows_its_traceback(stream: io.StringIO, lines: Lines) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)
    LogSubscriber()(events.ExecutorCrashed("t-1", "BUILD", error="KeyError: 'x'", traceback="Traceback …"))
    assert lines()[0]["exception"] == "Traceback …"


def test_disabled_levels_are_skipped(stream: io.StringIO) -> None:
    configure_logging("WARNING", "json", "worker-1", stream=stream)
    subscriber = LogSubscriber()
    subscriber(SETTLED)
    subscriber(events.AttemptStarted("t-1", "BUILD", attempt=1, delivery=1, resumed=False))
    assert stream.getvalue() == ""


def test_ordinary_successes_are_left_to_the_metrics(stream: io.StringIO) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)
    LogSubscriber()(replace(SETTLED, status="COMPLETED", reason=""))
    assert stream.getvalue() == ""
    LogSubscriber()(replace(SETTLED, status="COMPLETED", reason="", simulated=True))
    assert "ticket_settled" in stream.getvalue()


def test_the_console_format_is_for_people(stream: io.StringIO) -> None:
    configure_logging("INFO", "console", "worker-1", stream=stream)
    LogSubscriber()(SETTLED)
    assert "ticket_settled" in stream.getvalue()
    assert "ticket_id=t-1" in stream.getvalue()
    assert "\x1b" not in stream.getvalue(), "colours are for terminals"


# --- libraries -----------------------------------------------------------------------------------------------------


def test_logs_of_libraries_come_out_the_same_way(stream: io.StringIO, lines: Lines) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)
    logging.getLogger("some.library").info("connected to %s", "kafka:9092")
    (line,) = lines()
    assert line["event"] == "connected to kafka:9092"
    assert (line["logger"], line["level"], line["worker_id"]) == ("some.library", "info", "worker-1")


def test_an_exception_in_a_library_keeps_its_traceback(stream: io.StringIO, lines: Lines) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)
    try:
        float("no such number")
    except ValueError:
        logging.getLogger("some.library").exception("failed")
    assert "ValueError: could not convert" in lines()[0]["exception"]


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
@pytest.mark.parametrize("name", ["aiokafka.consumer.group_coordinator", "uvicorn.error", "httpx"])
def test_chatty_libraries_speak_from_warnings_on(level: str, name: str, stream: io.StringIO, lines: Lines) -> None:
    configure_logging(level, "json", "worker-1", stream=stream)
    logging.getLogger(name).info("heartbeat")
    logging.getLogger(name).warning("lost")
    assert [line["event"] for line in lines()] == ["lost"]


def test_a_library_with_levels_of_its_own_or_a_wrong_format_does_not_break(stream: io.StringIO, lines: Lines) -> None:
    configure_logging("DEBUG", "json", "worker-1", stream=stream)
    logger = logging.getLogger("some.library")
    logger.log(25, "notice")
    logger.log(5, "trace")
    logger.log(99, "panic")
    ours = logging.getLogger().handlers[-1]
    ours.handle(logging.makeLogRecord({"levelno": logging.WARNING, "msg": "%d records", "args": ("many",)}))
    assert [(line["event"], line["level"]) for line in lines()] == [
        ("notice", "info"),
        ("panic", "critical"),
        ("%d records", "warning"),
    ]


def test_configuring_twice_logs_once(stream: io.StringIO, lines: Lines) -> None:
    configure_logging("INFO", "json", "worker-1", stream=io.StringIO())
    configure_logging("INFO", "json", "worker-2", stream=stream)
    logging.getLogger("some.library").warning("once")
    assert [line["worker_id"] for line in lines()] == ["worker-2"]


# --- secrets and hostile values --------------------------------------------------------------------------------------


def test_secrets_are_masked_in_events_libraries_and_tracebacks(stream: io.StringIO) -> None:
    configure_logging("INFO", "json", "worker-1", secrets=[SECRET], stream=stream)
    LogSubscriber()(events.KafkaTrouble(what="start", error=f"refused {SECRET}"))
    logging.getLogger("some.library").warning("GET /?token=%s", SECRET)
    structlog.get_logger().warning("nested", deep={"a": [SECRET, {"b": SECRET}], SECRET: 1}, error=ValueError(SECRET))
    try:
        int(SECRET)
    except ValueError:
        logging.getLogger("some.library").exception("failed")
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(found) == 4
    assert all(SECRET not in str(line) for line in found)
    assert "s3cr3t" not in stream.getvalue()
    assert found[0]["error"] == "refused ********"


def test_secrets_are_masked_on_the_console_too(stream: io.StringIO) -> None:
    configure_logging("INFO", "console", "worker-1", secrets=[SECRET], stream=stream)
    logging.getLogger("some.library").warning("token %r", SECRET)
    assert "s3cr3t" not in stream.getvalue()


@pytest.mark.parametrize("text", ["\ud800", "line\nbreak", "\x00", "ä" * 10])
def test_any_text_can_be_logged_as_one_line(text: str, stream: io.StringIO, lines: Lines) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)
    LogSubscriber()(events.DeadLettered(ticket_id=text, reason="undecodable", message=text))
    (line,) = lines()
    assert line["ticket_id"] == text


def test_absurd_numbers_can_be_logged(stream: io.StringIO, lines: Lines) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)
    structlog.get_logger().info("big", number=2**80)
    assert lines()[0]["number"] == 2**80


def test_a_reader_that_went_away_stops_the_log_and_not_the_work(stream: io.StringIO) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)
    subscriber = LogSubscriber()
    stream.close()
    subscriber(SETTLED)


def test_what_a_library_repeats_is_told_once_with_a_count(stream: io.StringIO, lines: Lines) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)
    library = logging.getLogger("somelib")
    for number in range(50):
        library.handle(record_of("cannot reach node %s", number, created=1_000.0 + number / 100))
    library.handle(record_of("cannot reach node %s", 99, created=1_011.0))
    library.handle(record_of("something else", created=1_011.0))
    told = [(line["event"], line.get("withheld")) for line in lines()]
    assert told == [("cannot reach node 0", None), ("cannot reach node 99", 49), ("something else", None)]


def record_of(message: str, *arguments: object, created: float) -> logging.LogRecord:
    record = logging.LogRecord("somelib", logging.WARNING, "", 0, message, arguments, None)
    record.created = created
    return record


# --- the ticket that a task works on -----------------------------------------------------------------------------


class Working:
    """A :class:`Work` whose trace is asked for only where a line is written."""

    def __init__(self, ticket_id: str, trace_id: str = "a" * 32) -> None:
        self.ticket_id = ticket_id
        self.asked = 0
        self._trace = TraceContext(trace_id, "b" * 16)

    @property
    def span(self) -> TraceContext:
        self.asked += 1
        return self._trace


async def logged_by(work: Working, log: Callable[[], object]) -> None:
    async def task() -> None:
        work_on(work)
        await asyncio.to_thread(log)
        log()

    await asyncio.create_task(task())


async def test_whatever_a_ticket_s_task_logs_names_the_ticket_and_its_trace(stream: io.StringIO, lines: Lines) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)

    await logged_by(Working("t-1"), lambda: structlog.get_logger().info("own"))
    await logged_by(Working("t-2", "c" * 32), lambda: logging.getLogger("library").warning("theirs"))
    structlog.get_logger().info("nobody's")

    told = [(line["event"], line.get("ticket_id"), line.get("trace_id"), line["worker_id"]) for line in lines()]
    assert set(told) == {
        ("own", "t-1", "a" * 32, "worker-1"),
        ("theirs", "t-2", "c" * 32, "worker-1"),
        ("nobody's", None, None, "worker-1"),
    }


async def test_a_line_about_another_ticket_is_not_given_this_one_s_trace(stream: io.StringIO, lines: Lines) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)

    await logged_by(Working("t-2"), lambda: LogSubscriber()(SETTLED))

    assert {(line["ticket_id"], line.get("trace_id")) for line in lines()} == {("t-1", None)}


async def test_a_trace_costs_nothing_where_nothing_is_logged(stream: io.StringIO, lines: Lines) -> None:
    configure_logging("WARNING", "json", "worker-1", stream=stream)
    work = Working("t-1")

    await logged_by(work, lambda: LogSubscriber()(SETTLED))

    assert (lines(), work.asked) == ([], 0)


def test_the_line_of_an_event_names_its_trace_and_nothing_of_its_spans(stream: io.StringIO, lines: Lines) -> None:
    configure_logging("INFO", "json", "worker-1", stream=stream)
    LogSubscriber()(replace(SETTLED, trace=TraceContext("a" * 32, "b" * 16), passage=events.Passage("0", 1, "", 0.5)))
    (line,) = lines()
    assert line["trace_id"] == "a" * 32
    assert line.keys().isdisjoint({"trace", "passage"})


def test_a_terminal_is_not_sent_what_it_would_obey(stream: io.StringIO) -> None:
    configure_logging("INFO", "console", "worker-1", stream=stream)
    LogSubscriber()(events.DeadLettered("t-\x1b[2J", "internal", "gone\r\nfake: line"))
    assert "\x1b[2J" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
