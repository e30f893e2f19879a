"""Tickets made of files and options."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from worker_agents.cli.exits import BadUsage
from worker_agents.cli.submit import Submission, _warnings
from worker_agents.cli.ticket_sources import TicketOptions, parse, ticket_from, tickets_of

TICKET = b'{"ticket_id": "t-1", "task_type": "EXECUTE"}'


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        (TICKET, ["t-1"]),
        (b"[" + TICKET + b", " + TICKET.replace(b"t-1", b"t-2") + b"]", ["t-1", "t-2"]),
        (TICKET + b"\n\n" + TICKET.replace(b"t-1", b"t-2") + b"\n", ["t-1", "t-2"]),
        (b'{\n "ticket_id": "t-1",\n "task_type": "EXECUTE"\n}', ["t-1"]),
    ],
    ids=["object", "list", "lines", "object over several lines"],
)
def test_what_a_file_may_hold(data: bytes, ids: list[str]) -> None:
    assert [ticket["ticket_id"] for ticket in parse(data, "file")] == ids


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "f.json is empty"),
        (b"[]", "f.json holds no tickets"),
        (b"[1]", "f.json: ticket 1 is not a JSON object"),
        (TICKET + b"\n7", "f.json: line 2 is not a JSON object"),
        (TICKET + b"\n{", "f.json: neither JSON nor JSON lines: line 2"),
    ],
)
def test_what_a_file_may_not_hold(data: bytes, problem: str) -> None:
    with pytest.raises(BadUsage) as refused:
        parse(data, "f.json")
    assert str(refused.value).startswith(problem)


def test_a_ticket_made_of_options() -> None:
    ticket = ticket_from(
        TicketOptions(
            task_type="EXECUTE",
            ticket_id="t-1",
            parameters=["template_id=service", "version=1.10", "flags:=[1, true]", "query=a=b"],
            dependencies=["t-0"],
            priority="HIGH",
            plan_id="p",
            max_retries=0,
            time_limit=1.5,
        )
    )

    assert ticket == {
        "ticket_id": "t-1",
        "task_type": "EXECUTE",
        "status": "PENDING",
        "plan_id": "p",
        "priority": "HIGH",
        "dependencies": ["t-0"],
        "parameters": {"template_id": "service", "version": "1.10", "flags": [1, True], "query": "a=b"},
        "sla": {"timeout_ms": 1500, "max_retries": 0},
    }


def test_a_ticket_of_few_options_gets_an_id_and_no_empty_fields() -> None:
    first, second = (ticket_from(TicketOptions(task_type="EXECUTE")) for _ in range(2))

    assert first.keys() == {"ticket_id", "task_type", "status"}
    assert first["ticket_id"] != second["ticket_id"]


@pytest.mark.parametrize("text", ["template_id", "=x", ":=1", "n:={"])
def test_a_parameter_that_is_none(text: str) -> None:
    with pytest.raises(BadUsage, match="--param"):
        ticket_from(TicketOptions(task_type="EXECUTE", parameters=[text]))


def test_a_ticket_that_no_worker_could_read_is_sent_only_without_check(tmp_path: Path) -> None:
    file = tmp_path / "tickets.json"
    file.write_bytes(b'{"ticket_id": "@t", "task_type": "EXECUTE"}')

    with pytest.raises(BadUsage, match="must not start with '@'"):
        tickets_of(file, TicketOptions(), check=True)

    assert tickets_of(file, TicketOptions(), check=False) == [{"ticket_id": "@t", "task_type": "EXECUTE"}]


def test_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(TICKET)))

    assert [ticket["ticket_id"] for ticket in tickets_of(Path("-"), TicketOptions(), check=True)] == ["t-1"]


@pytest.mark.parametrize(
    ("source", "options", "problem"),
    [
        (Path("f.json"), TicketOptions(task_type="X"), "not both"),
        (None, TicketOptions(), "nothing to submit"),
        (None, TicketOptions(ticket_id="t"), "nothing to submit"),
        (Path("/nowhere/f.json"), TicketOptions(), "cannot be read: No such file"),
    ],
)
def test_unclear_wishes(source: Path | None, options: TicketOptions, problem: str) -> None:
    with pytest.raises(BadUsage, match=problem):
        tickets_of(source, options, check=True)


@pytest.mark.parametrize(
    ("ticket", "key"),
    [
        ({"ticket_id": "t", "intent_id": "i", "plan_id": "p"}, "p"),
        ({"ticket_id": "t", "intent_id": "i", "plan_id": ""}, "i"),
        ({"ticket_id": "t", "plan_id": None}, "t"),
        ({"ticket_id": 7}, None),
    ],
)
def test_the_record_key_is_the_producers(ticket: dict[str, object], key: str | None) -> None:
    assert Submission([ticket]).key_of(ticket) == key
    assert Submission([ticket], key="k").key_of(ticket) == "k"


def test_a_dependency_that_may_never_be_met_is_warned_of() -> None:
    depending = {"ticket_id": "b", "dependencies": ["a"]}

    assert len(_warnings(Submission([depending]))) == 1
    assert _warnings(Submission([{**depending, "plan_id": "p"}])) == []
    assert _warnings(Submission([{"ticket_id": "a"}, depending], key="k")) == []
