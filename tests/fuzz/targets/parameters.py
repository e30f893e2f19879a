"""``parameters`` of a ticket, as every executor reads them and sends them on. Input: their JSON."""

import orjson

from tests.fuzz.harness import Target, assert_readable
from worker_agents.clients.opa import policy_segments
from worker_agents.executors.base import BaseTaskExecutor, Parameters
from worker_agents.executors.build import BuildExecutor, BuildParameters, _sent
from worker_agents.executors.deploy import DeployExecutor
from worker_agents.executors.deploy_parameters import DeployParameters, deployment_of
from worker_agents.executors.execute import ExecuteExecutor, ExecuteParameters
from worker_agents.executors.test import TestExecutor, TestParameters
from worker_agents.executors.validate import ValidateExecutor
from worker_agents.executors.validate_parameters import ValidateParameters
from worker_agents.model.errors import InvalidParameters, TicketRejected
from worker_agents.model.git_urls import read_git_url
from worker_agents.model.ticket import Ticket, read_ticket

_MODELS = (ExecuteParameters, BuildParameters, ValidateParameters, TestParameters, DeployParameters)
_FIELDS = {name for model in _MODELS for name in model.model_fields}
_EXECUTORS = (ExecuteExecutor, BuildExecutor, ValidateExecutor, TestExecutor, DeployExecutor)
PASSWORD = b"s3cret"


def check(content: bytes) -> None:
    """Each executor reads them, the same when it reads them again, or refuses them by a field's name."""
    try:
        ticket = read_ticket(b'{"ticket_id":"t-1","task_type":"EXECUTE","parameters":' + content + b"}")
    except TicketRejected as error:
        assert_readable(str(error))
        return
    for executor in _EXECUTORS:
        _read_or_refused(executor, ticket)


def _read_or_refused(executor: type[BaseTaskExecutor[Parameters]], ticket: Ticket) -> None:
    # What reading needs of an executor is its class alone.
    reader = object.__new__(executor)
    try:
        parameters = executor.parameters(reader, ticket)
        assert executor.parameters(reader, ticket) == parameters
        _usable(parameters, ticket)
    except InvalidParameters as error:
        _sound_refusal(error, ticket)


def _usable(parameters: Parameters, ticket: Ticket) -> None:
    """What is made of them can be sent, and says the same there."""
    assert parameters.timeout_seconds is None or 0 < parameters.timeout_seconds < float("inf")
    match parameters:
        case ExecuteParameters():
            assert parameters.chosen_template.strip()
            _sent_on(ticket.parameters)
        case BuildParameters():
            assert 0 < parameters.poll_interval_seconds <= 3600
            _sent_on(_sent(ticket, parameters))
        case ValidateParameters():
            assert "/".join(policy_segments(parameters.policy_path)) == parameters.policy_path
            _sent_on({"input": parameters.input_data})
        case TestParameters():
            assert parameters.command
        case DeployParameters():
            deployment = deployment_of(ticket, parameters)
            _sent_on(deployment.document)
            assert deployment.is_source(deployment.source)


def _sent_on(body: dict[str, object]) -> None:
    assert orjson.loads(orjson.dumps(body)) == body


def _sound_refusal(error: InvalidParameters, ticket: Ticket) -> None:
    message = str(error)
    assert_readable(message)
    subject, _, problem = message.partition(": ")
    assert subject == "parameters"
    named = problem.split(": ")[0].split(".")[0]
    assert named in _FIELDS | {"value"}, message
    # The word can be a name or a choice, which messages repeat; in an address it is a password, which they do not.
    others = {name: value for name, value in ticket.parameters.items() if name != "repo_url"}
    if PASSWORD not in orjson.dumps(others):
        assert PASSWORD.decode() not in message


def git_address(text: str) -> None:
    """Read into one normal form, which reads the same, or refused without being repeated."""
    try:
        url = read_git_url(text)
    except ValueError as error:
        assert_readable(str(error))
        assert PASSWORD.decode() not in str(error)
        return
    assert read_git_url(url.text) == url
    assert url.covers(url)
    assert not {"", ".", ".."} & set(url.path)


def check_with_address(content: bytes) -> None:
    check(content)
    git_address(content.decode(errors="replace").strip().strip('"'))


TARGET = Target(
    "parameters",
    check_with_address,
    tokens=(
        *(b'"%s":' % name.encode() for name in sorted(_FIELDS)),
        *(
            b'"opa"',
            b'"sast"',
            b'"image"',
            b'"sbom"',
            b'"local"',
            b'"argocd"',
            b'"auto"',
            b"https://u:s3cret@h/r",
            b"://",
            b"[",
        ),
        *(b'{\\"a\\":1}', b'[\\"a\\"]', b"@sha256:" + b"0" * 64, b"../", b"%2e%2e", "\u2100".encode()),
    ),
)
