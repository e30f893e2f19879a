"""Argo CD's answers. Input: see ``answers``."""

from datetime import UTC, datetime

import orjson

from tests.fuzz.harness import Target, assert_readable
from tests.fuzz.targets.answers import HEAD, answers_to
from worker_agents.clients.argocd import Application, ApplicationKey, ArgoCdClient, Refusal
from worker_agents.executors.deploy_parameters import DeployParameters, deployment_of
from worker_agents.executors.rollout_judgement import End, Ending, OurOperation, judge
from worker_agents.executors.rollout_view import described, unhealthy
from worker_agents.model.ticket import Ticket

_KEY = ApplicationKey("app", "default")
_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
_TICKET = Ticket(ticket_id="t-1", task_type="DEPLOY")
_DEPLOYMENT = deployment_of(_TICKET, DeployParameters(repo_url="https://git/r", image="team/app:1.2"))


def check(content: bytes) -> None:
    """An application that can be judged, a refusal in one line, or a typed error."""
    *applications, resources, _ = answers_to(
        content,
        lambda http: ArgoCdClient(http).get_application(_KEY, {}),
        lambda http: ArgoCdClient(http).sync_application(_KEY, {}, infos={}, prune=True),
        lambda http: ArgoCdClient(http).upsert_application({}, {"Idempotency-Key": "t-1:application"}),
        lambda http: ArgoCdClient(http).resource_tree(_KEY, {}),
        lambda http: ArgoCdClient(http).terminate_operation(_KEY, {}),
    )
    for answer in applications:
        match answer:
            case Application():
                _sound(answer)
            case Refusal():
                assert_readable(answer.message)
                assert not (answer.is_missing and answer.is_forbidden)
    if isinstance(resources, tuple):
        assert orjson.dumps([described(each) for each in unhealthy(resources)])


def _sound(application: Application) -> None:
    _DEPLOYMENT.is_source(application.source)
    assert orjson.dumps(_DEPLOYMENT.with_finalizers(application.metadata.finalizers))
    application.described_conditions().encode()
    application.has_deployed(_MOMENT)
    for ours in (OurOperation("t-1:sync", _MOMENT), OurOperation("t-1:sync", after=_MOMENT, is_kept_marked=False)):
        _judged(application, ours)
    latest = application.latest_operation
    assert application.is_operating == (latest is not None and not latest.is_over)
    if latest is not None:
        assert latest.initiator
        for moment in (latest.started_at, latest.finished_at):
            # Moments are compared with others and written into checkpoints.
            assert moment is None or (
                (moment < _MOMENT) in (True, False) and datetime.fromisoformat(moment.isoformat()) == moment
            )


def _judged(application: Application, ours: OurOperation) -> None:
    match judge(application, _DEPLOYMENT, ours, compared=True):
        case End(ending=Ending.DEPLOYED):
            assert (application.status.sync.status, application.status.health.status) == ("Synced", "Healthy")
        case End(why=why):
            assert why


TARGET = Target(
    "argocd",
    check,
    tokens=(
        *HEAD,
        *(b'{"metadata":{"name":"app"}', b'"spec":', b'"source":', b'"status":', b'"operation":', b'"operationState":'),
        *(
            b'"phase":',
            b'"startedAt":',
            b'"finishedAt":',
            b'"history":',
            b'"deployStartedAt":',
            b'"conditions":',
            b'"nodes":',
        ),
        *(
            b'"helm":',
            b'"parameters":',
            b'"info":',
            b'"initiatedBy":',
            b'"syncResult":',
            b'"health":',
            b'"finalizers":',
        ),
        *(
            b'{"code":',
            b'"message":',
            b'"error":',
            b'"2026-01-01T00:00:00Z"',
            b'"9999-12-31T23:59:59-23:59"',
            b'"0001-01-01"',
        ),
    ),
)
