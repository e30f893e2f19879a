"""W3C trace context: what is valid is continued, everything else begins anew."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.telemetry.tracing import TraceContext

VALID = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]")
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

trace_ids = st.integers(1, 2**128 - 1).map("{:032x}".format)
span_ids = st.integers(1, 2**64 - 1).map("{:016x}".format)
flags = st.integers(0, 255).map("{:02x}".format)
states = st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=512)


@given(trace_ids, span_ids, flags, states)
def test_a_valid_parent_is_continued(trace_id: str, span_id: str, flag: str, state: str) -> None:
    headers = [("traceparent", f"00-{trace_id}-{span_id}-{flag}".encode()), ("tracestate", state.encode())]
    parent = TraceContext.from_headers(headers)
    child = parent.child()
    assert (parent.trace_id, parent.span_id) == (trace_id, span_id)
    assert VALID.fullmatch(child.traceparent)
    assert child.trace_id == trace_id
    assert child.span_id != span_id
    assert child.flags & 1 == int(flag, 16) & 1
    assert child.tracestate == parent.tracestate == state
    assert child.parent_span_id == parent.span_id


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "x"]), st.none() | st.binary())))
def test_arbitrary_headers_never_fail_and_always_give_a_valid_span(headers: list[tuple[str, bytes | None]]) -> None:
    context = TraceContext.from_headers(headers)
    assert VALID.fullmatch(context.traceparent)
    assert all(value.isascii() and value.isprintable() for value in context.headers().values())


@given(st.text())
def test_arbitrary_text_is_a_parent_only_if_it_is_valid(text: str) -> None:
    context = TraceContext.parse(text)
    assert context is None or text[3:52] == context.traceparent[3:52]


@given(trace_ids, span_ids, flags, states)
def test_what_is_sent_is_read_again(trace_id: str, span_id: str, flag: str, state: str) -> None:
    context = TraceContext(trace_id, span_id, int(flag, 16) & 3, state)
    assert TraceContext.from_headers(context.kafka_headers()) == context


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        PARENT[:-1],
        PARENT + "0",
        PARENT + "-more",
        PARENT.upper(),
        PARENT.replace("00-", "ff-", 1),
        PARENT.replace("00-", "0g-", 1),
        PARENT.replace("-", "_"),
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
        PARENT[:-1] + "\u0661",
    ],
)
def test_an_invalid_parent_begins_a_new_trace(traceparent: str) -> None:
    assert TraceContext.parse(traceparent) is None
    context = TraceContext.from_headers([("traceparent", traceparent.encode()), ("tracestate", b"vendor=1")])
    assert VALID.fullmatch(context.traceparent)
    assert context.trace_id != PARENT[3:35]
    assert context.tracestate == "", "the state belongs to the trace that could not be read"


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    context = TraceContext.parse("cc" + PARENT[2:] + "-what-the-future-brings")
    assert context is not None
    assert context.traceparent == PARENT


def test_unknown_flags_are_not_passed_on() -> None:
    context = TraceContext.parse(PARENT[:-2] + "ff")
    assert context is not None
    assert context.traceparent.endswith("-03")


def test_names_of_headers_have_no_case_and_the_first_one_counts() -> None:
    other = PARENT.replace("4bf9", "aaaa").encode()
    context = TraceContext.from_headers([("Traceparent", PARENT.encode()), ("traceparent", other)])
    assert context.traceparent == PARENT


@pytest.mark.parametrize("state", [b"a=\xff", b"a=\nb=1", b"x" * 513])
def test_an_invalid_state_is_dropped_alone(state: bytes) -> None:
    context = TraceContext.from_headers([("traceparent", PARENT.encode()), ("tracestate", state)])
    assert context.traceparent == PARENT
    assert context.headers() == {"traceparent": PARENT}


def test_new_traces_differ_and_are_sampled() -> None:
    first, second = TraceContext.new(), TraceContext.new()
    assert first.trace_id != second.trace_id
    assert first.traceparent.endswith("-01")


def test_headers_for_calls_carry_the_state() -> None:
    context = TraceContext.parse(PARENT, "vendor=1")
    assert context is not None
    assert context.headers() == {"traceparent": PARENT, "tracestate": "vendor=1"}
