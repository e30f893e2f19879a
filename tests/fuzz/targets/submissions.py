"""What ``worker-agents submit`` reads: a JSON object, a list of them, or one on each line. Input: the file."""

import orjson

from tests.fuzz.harness import Target, assert_readable
from worker_agents.cli.exits import BadUsage
from worker_agents.cli.ticket_sources import TicketOptions, parse, refuse_unreadable, ticket_from
from worker_agents.model.ticket import read_ticket


def check(content: bytes) -> None:
    """Tickets that a worker can read, the same if written as lines, or one sentence that says which is wrong."""
    _option(content)
    try:
        tickets = parse(content, "tickets.json")
        # With --no-check they are sent as they are.
        assert all(isinstance(ticket, dict) for ticket in tickets)
        refuse_unreadable(tickets)
    except BadUsage as error:
        assert_readable(str(error))
        return
    assert tickets
    for ticket in tickets:
        assert read_ticket(orjson.dumps(ticket)).ticket_id == ticket["ticket_id"]
    lines = b"\n".join(orjson.dumps(ticket) for ticket in tickets)
    assert parse(lines, "lines") == tickets


def _option(content: bytes) -> None:
    """The same text as the value of ``--param``."""
    try:
        ticket = ticket_from(TicketOptions(task_type="EXECUTE", parameters=[content.decode(errors="replace")]))
    except BadUsage as error:
        assert_readable(str(error)[:1_000])
        return
    assert len(ticket["parameters"]) == 1
    assert orjson.dumps(ticket)


TARGET = Target(
    "submissions",
    check,
    tokens=(
        *(
            b'{"ticket_id":"t-1","task_type":"EXECUTE"}',
            b'"ticket_id":',
            b'"task_type":',
            b'"parameters":',
            b'"status":',
        ),
        *(b"\n", b"\r", b"[", b"]", b"{", b"}", b",", b"#", b"a=", b"a:=", b"\xc2\x85", b"\x0b", b"\x1c"),
    ),
)
