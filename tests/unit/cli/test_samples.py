"""Sample tickets: every type, readable by any worker, and fitting the parameters of their executor."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from worker_agents.cli import samples as samples_module
from worker_agents.cli.exits import BadUsage, NotFound
from worker_agents.cli.samples import SAMPLES, list_samples, sample, show_sample
from worker_agents.cli.ticket_sources import TicketOptions, tickets_of
from worker_agents.devkit.demo.props import POLICY_PATH, SHOP
from worker_agents.executors.base import Parameters
from worker_agents.executors.registry import TaskExecutorRegistry
from worker_agents.integrations import Integrations
from worker_agents.main import task_executors
from worker_agents.model.clock import SystemClock
from worker_agents.model.ticket import KNOWN_TASK_TYPES, read_ticket
from worker_agents.settings import Settings
from worker_agents.telemetry.events import Event

NO_OPTIONS = TicketOptions()


@pytest.fixture
async def registry() -> Iterator[TaskExecutorRegistry]:
    def tell_nobody(event: Event) -> None:
        del event

    settings = Settings()
    integrations = Integrations(settings, SystemClock(), tell_nobody)
    yield task_executors(settings, integrations, tell_nobody)
    await integrations.close()


def submitted(name: str, options: TicketOptions = NO_OPTIONS) -> dict[str, Any]:
    (ticket,) = tickets_of(None, options, check=True, sample=name)
    return ticket


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_sample_fits_its_executor(name: str, registry: TaskExecutorRegistry) -> None:
    ticket = read_ticket(orjson.dumps(submitted(name)))

    model: type[Parameters] = registry.get(ticket.task_type).parameters_model
    model.model_validate(ticket.parameters)
    # What is not declared is ignored, except by Code Forge: a generation is sent all its parameters.
    unknown = ticket.parameters.keys() - model.model_fields.keys()
    assert unknown == ({"language"} if name == "execute" else set())


def test_there_are_samples_of_every_type_and_no_file_without_a_description() -> None:
    assert {sample(name)["task_type"] for name in SAMPLES} == KNOWN_TASK_TYPES
    assert {path.stem for path in Path(samples_module.__file__).parent.glob("*.json")} == SAMPLES.keys()


def test_samples_speak_of_what_the_demo_has() -> None:
    assert sample("validate-policy")["parameters"]["policy_path"] == POLICY_PATH
    assert {sample(name)["parameters"]["working_dir"] for name in ("test", "validate-sast")} == {SHOP}


def test_each_submission_is_a_new_ticket() -> None:
    assert submitted("build")["ticket_id"] != submitted("build")["ticket_id"]


def test_options_change_a_sample_and_leave_the_rest() -> None:
    options = TicketOptions(ticket_id="t-1", parameters=["branch=next", "build_args:={}"], plan_id="p-1")

    ticket = submitted("build", options)

    parameters = {"artifact_id": "shop", "branch": "next", "build_args": {}}
    assert ticket == {**sample("build"), "ticket_id": "t-1", "plan_id": "p-1", "parameters": parameters}


@pytest.mark.parametrize(
    ("source", "options", "problem"),
    [
        (Path("tickets.json"), NO_OPTIONS, "give a file or a sample, not both"),
        (None, TicketOptions(task_type="TEST"), "a sample has a type of its own"),
    ],
)
def test_what_does_not_go_with_a_sample(source: Path | None, options: TicketOptions, problem: str) -> None:
    with pytest.raises(BadUsage, match=problem):
        tickets_of(source, options, check=True, sample="build")


def test_a_sample_that_options_make_unreadable() -> None:
    with pytest.raises(BadUsage, match="ticket_id"):
        submitted("build", TicketOptions(ticket_id="x" * 500))


@pytest.mark.parametrize("name", ["nope", "../samples/build", ""])
def test_no_such_sample(name: str) -> None:
    with pytest.raises(NotFound, match="there are: execute, build, validate-policy"):
        tickets_of(None, NO_OPTIONS, check=True, sample=name)


def test_they_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    list_samples(as_json=True)

    listed = json.loads(capfd.readouterr().out)
    assert [each["name"] for each in listed] == list(SAMPLES)
    assert all(each["description"] for each in listed)


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_printed_can_be_submitted(name: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    show_sample(name)

    file = tmp_path / "ticket.json"
    file.write_text(capfd.readouterr().out)
    (ticket,) = tickets_of(file, NO_OPTIONS, check=True)
    assert ticket == {**sample(name), "ticket_id": ticket["ticket_id"]}
