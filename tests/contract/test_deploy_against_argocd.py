"""DeployExecutor and its client against the reference Argo CD, over real connections.

Server, client and executor share one clock that moves only where somebody waits.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.hired_workers import HiredWorker, hiring
from worker_agents.clients.argocd import ArgoCdClient
from worker_agents.clients.http import HttpLimits
from worker_agents.clients.http_retry import HttpRetryPolicy
from worker_agents.devkit.argocd import ArgoCdServer, Fault, Operation, Script
from worker_agents.devkit.executor_kit import FakeContext, VirtualClock, run_executor, ticket_for
from worker_agents.executors.deploy import DeployExecutor
from worker_agents.executors.fallback import FallbackChoice
from worker_agents.model.errors import (
    IntegrationDisabled,
    IntegrationRejected,
    IntegrationUnavailable,
    InvalidParameters,
    Reason,
)
from worker_agents.model.result import TaskResult
from worker_agents.telemetry.events import DeploymentTimedOut, Event, FallbackUsed

PARAMETERS = {"repo_url": "https://git.example/charts.git", "chart_path": "app", "image": "registry/app:1.2"}
NAME = "deploy-ticket-1"
MARK = "ticket-1:sync"
SOON = HttpLimits(read=0.2, whole=0.5)


class Worker(HiredWorker):
    """One worker's executor and client."""

    def __init__(
        self, argocd: ArgoCdServer, clock: VirtualClock, fallback: FallbackChoice = "simulate", **http: Any
    ) -> None:
        super().__init__(clock)
        client = ArgoCdClient(self.connect("argocd", http.pop("url", argocd.url), **http))
        self.executor = DeployExecutor(
            emit=self.emitted.append, argocd_client=client, fallback=fallback, rng=random.Random(1)
        )

    async def run(
        self, context: FakeContext | None = None, ticket_id: str = "ticket-1", **parameters: Any
    ) -> TaskResult:
        context = context or FakeContext(ticket_id, clock=self.clock)
        return await run_executor(
            self.executor, ticket_for("DEPLOY", PARAMETERS | parameters, ticket_id=ticket_id), context
        )

    async def run_script(self, script: str, context: FakeContext | None = None, **parameters: Any) -> TaskResult:
        return await self.run(context, annotations={"behaviour": script}, **parameters)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.emitted if isinstance(event, kind)]


Hire = Callable[..., Worker]


@pytest.fixture
async def hire(argocd: ArgoCdServer, clock: VirtualClock) -> AsyncIterator[Hire]:
    """Makes workers that are gone when the test is."""
    async with hiring(partial(Worker, argocd, clock)) as hire:
        yield hire


def syncs(argocd: ArgoCdServer, ticket_id: str = "ticket-1") -> tuple[int, int]:
    """Sync calls of the ticket, and operations that came of them."""
    found = argocd.log.syncs_by_ticket()[ticket_id]
    return found.posts, found.begun


async def test_a_deployment(argocd: ArgoCdServer, hire: Hire, clock: VirtualClock) -> None:
    context = FakeContext(clock=clock)

    result = await hire().run(context, replicas="2", namespace="shop")

    application = argocd.application(NAME)
    assert result.success, result.error_message
    assert result.output["deployment_id"] == NAME
    assert result.output["status"] == "healthy"
    assert result.output["sync_status"] == "Synced"
    assert result.output["replicas"] == 2
    assert result.output["namespace"] == "shop"
    assert result.output["revision"] == application["status"]["operationState"]["syncResult"]["revision"]
    assert result.output["images"] == ["registry/app:1.2"]
    assert result.output["operation"]["name"] == f"{NAME}/{MARK}"
    assert result.output["operation"]["phase"] == "Succeeded"
    assert result.metadata["simulated"] is False
    assert result.metadata["provider"] == "argocd"
    assert "warnings" not in result.metadata
    assert syncs(argocd) == (1, 1)
    (first, *_) = context.checkpoints
    assert (first["application"], first["mark"]) == (NAME, MARK)


async def test_what_is_asked_of_argo_cd(argocd: ArgoCdServer, hire: Hire) -> None:
    await hire().run(namespace="shop", labels={"team": "a"})

    (create,) = argocd.log.find(Operation.CREATE)
    assert create.query == {"upsert": "true", "validate": "true"}
    assert create.body == {
        "metadata": {"name": NAME, "labels": {"team": "a"}},
        "spec": {
            "project": "default",
            "source": {
                "repoURL": "https://git.example/charts.git",
                "path": "app",
                "targetRevision": "HEAD",
                "helm": {
                    "parameters": [
                        {"name": "image.repository", "value": "registry/app", "forceString": True},
                        {"name": "image.tag", "value": "1.2", "forceString": True},
                        {"name": "replicaCount", "value": "1"},
                    ]
                },
            },
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
            "syncPolicy": {
                "syncOptions": ["CreateNamespace=true"],
                "automated": {"prune": True, "selfHeal": True},
            },
        },
    }
    (sync,) = argocd.log.find(Operation.SYNC)
    assert sync.idempotency_key == MARK
    assert sync.body == {
        "prune": True,
        "project": "default",
        "infos": [{"name": "worker-agents/idempotency-key", "value": MARK}],
    }
    assert all(call.query.get("project") == "default" for call in argocd.log.find(Operation.GET))
    assert all(call.traceparent for call in argocd.log)
    assert {call.content_type for call in argocd.log if call.method != "GET"} == {"application/json"}


async def test_the_health_of_an_earlier_deployment_means_nothing(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock
) -> None:
    """Until the controller has compared again, the application is shown Synced and Healthy from before."""
    await hire().run()
    argocd.change(auto_sync=False, compare_seconds=7.0)
    before = argocd.application(NAME)["status"]
    assert (before["sync"]["status"], before["health"]["status"]) == ("Synced", "Healthy")

    result = await hire().run(
        FakeContext("ticket-2", clock=clock),
        "ticket-2",
        deployment_name=NAME,
        image="registry/app:2.0",
        annotations={"behaviour": "degraded"},
    )

    assert not result.success
    assert result.output["status"] == "degraded"
    assert result.output["images"] == ["registry/app:2.0"]


async def test_a_sync_ends_before_its_comparison_and_is_not_believed_until_then(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock
) -> None:
    argocd.change(compare_seconds=1000.0)

    result = await hire().run(FakeContext(clock=clock))

    assert result.success
    refreshes = [call for call in argocd.log.find(Operation.GET) if call.query.get("refresh")]
    assert [call.query["refresh"] for call in refreshes] == ["normal", "normal"]
    assert refreshes[1].at - refreshes[0].at >= 60


# --- verdicts -----------------------------------------------------------------------------------------------------


async def test_degraded_is_a_verdict_once_it_has_lasted(argocd: ArgoCdServer, hire: Hire, clock: VirtualClock) -> None:
    began = clock.monotonic()

    result = await hire().run_script("degraded")

    assert not result.success
    assert result.reason is Reason.VERDICT_FAILED
    assert result.output["status"] == "degraded"
    assert result.output["health_status"] == "Degraded"
    assert result.metadata["error_code"] == "degraded"
    assert "exceeded its progress deadline" in str(result.error_message)
    assert [each["kind"] for each in result.output["resources"]] == ["Deployment"]
    assert 60 <= clock.monotonic() - began <= 100
    assert syncs(argocd) == (1, 1)


async def test_a_rollout_that_passes_through_degraded_is_healthy_in_the_end(hire: Hire) -> None:
    assert (await hire().run_script("flapping")).success


@pytest.mark.parametrize(("script", "phase"), [("sync-failed", "Failed"), ("sync-error", "Error")])
async def test_a_failed_sync_is_a_verdict_at_once(hire: Hire, clock: VirtualClock, script: str, phase: str) -> None:
    worker = hire()

    result = await worker.run_script(script)

    assert not result.success
    assert result.output["status"] == "error"
    assert result.metadata["error_code"] == "sync_failed"
    assert result.output["operation"]["phase"] == phase
    assert result.output["resources"][0] == {
        "kind": "Deployment",
        "name": NAME,
        "namespace": "default",
        "sync": "SyncFailed",
        "message": "admission webhook denied it",
    }
    assert "Deployment/deploy-ticket-1: admission webhook denied it" in str(result.error_message)
    assert clock.monotonic() < 30
    assert worker.of(FallbackUsed) == []


@pytest.mark.parametrize(
    ("script", "last_seen"),
    [
        ("stuck", "sync is Running"),
        ("progressing", "health is Progressing: Waiting for rollout to finish"),
        ("suspended", "health is Suspended"),
        ("missing", "health is Missing"),
        ("unknown", "health is Unknown"),
    ],
)
async def test_what_is_not_healthy_in_time_is_a_verdict_that_names_its_operation(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock, script: str, last_seen: str
) -> None:
    worker = hire()
    context = FakeContext(clock=clock, time_limit=300)

    result = await worker.run_script(script, context, timeout_seconds="300")

    assert not result.success
    assert not result.simulated
    assert result.reason is Reason.TIMEOUT
    assert result.output["status"] == "timeout"
    assert result.metadata["error_code"] == "timeout"
    assert result.output["operation"]["name"] == f"{NAME}/{MARK}"
    assert last_seen in str(result.error_message)
    assert 280 <= clock.monotonic() < 300
    (event,) = worker.of(DeploymentTimedOut)
    assert (event.event, event.operation) == ("deploy_argocd_timeout", f"{NAME}/{MARK}")
    assert worker.of(FallbackUsed) == []
    assert argocd.log.find(Operation.TERMINATE) == []


async def test_the_default_limit_is_ten_minutes(hire: Hire, clock: VirtualClock) -> None:
    assert (await hire().run_script("stuck")).reason is Reason.TIMEOUT
    assert 590 <= clock.monotonic() < 600


async def test_a_drift_that_lasts_is_a_verdict(argocd: ArgoCdServer, hire: Hire) -> None:
    argocd.change(auto_sync=False)

    result = await hire().run_script("drifts")

    assert result.metadata["error_code"] == "out_of_sync"
    assert result.output["sync_status"] == "OutOfSync"


async def test_what_would_have_to_be_pruned_is_named(argocd: ArgoCdServer, hire: Hire) -> None:
    argocd.change(auto_sync=False)

    result = await hire().run_script("unpruned", prune="false")

    assert not result.success
    assert "ConfigMap/old would have to be pruned" in str(result.error_message)


async def test_a_sync_prunes_by_default(argocd: ArgoCdServer, hire: Hire) -> None:
    argocd.change(auto_sync=False)

    assert (await hire().run_script("unpruned", sync_strategy="manual")).success


# --- whose operation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "posts"),
    [
        (Fault.loses_answer(Operation.SYNC), 1),
        (Fault.hangs(Operation.SYNC, after_work=True), 1),
        (Fault.nonsense(Operation.SYNC), 1),
        (Fault.refuses(Operation.SYNC), 2),
        (Fault.hangs(Operation.SYNC), 2),
        (Fault.answers(503, Operation.SYNC), 2),
        (Fault.answers(500, Operation.SYNC, code=2), 2),
    ],
    ids=["lost", "hang after", "nonsense", "refused", "hang before", "503", "500"],
)
async def test_a_sync_whose_answer_is_lost_is_looked_for_before_another_is_started(
    argocd: ArgoCdServer, hire: Hire, fault: Fault, posts: int
) -> None:
    argocd.change(faults=(fault,))

    result = await hire(limits=SOON).run()

    assert result.success, result.error_message
    assert not result.simulated
    assert syncs(argocd) == (posts, 1)


@pytest.mark.parametrize("outage", [0, 2])
async def test_it_is_looked_for_even_where_the_client_repeats_nothing(
    argocd: ArgoCdServer, hire: Hire, outage: int
) -> None:
    argocd.change(
        faults=(Fault.loses_answer(Operation.SYNC), Fault.answers(503, Operation.GET, skip=1, times=outage)),
    )

    assert (await hire("fail", retry=HttpRetryPolicy(tries=1)).run()).success

    assert syncs(argocd) == (1, 1)


async def test_a_sync_that_is_never_answered_is_given_up_and_named(argocd: ArgoCdServer, hire: Hire) -> None:
    argocd.change(faults=(Fault.refuses(Operation.SYNC, times=None),))

    result = await hire().run()

    assert result.simulated
    assert result.metadata["abandoned_operation"] == f"{NAME}/{MARK}"
    assert syncs(argocd)[1] == 0


@pytest.mark.parametrize("killed_after", [1, 5, 20])
async def test_a_killed_attempt_is_resumed_by_another_worker_without_a_second_sync(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock, killed_after: float
) -> None:
    context = FakeContext(clock=clock, cancel_at=killed_after)
    with pytest.raises(asyncio.CancelledError):
        await hire().run_script("slow", context)

    result = await hire().run_script("slow", context.next_attempt())

    assert result.success
    assert syncs(argocd) == (1, 1)
    assert len(argocd.log.find(Operation.CREATE)) == 1
    assert argocd.log.find(Operation.TERMINATE) == []


class DiesBeforeCheckpoint(FakeContext):
    """A worker that is gone between the start of remote work and its checkpoint."""

    async def checkpoint(self, data: dict[str, Any]) -> None:
        raise asyncio.CancelledError(f"killed before {data['mark']} was remembered")


async def test_a_worker_killed_before_its_checkpoint_finds_its_operation(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock
) -> None:
    with pytest.raises(asyncio.CancelledError):
        await hire().run_script("slow", DiesBeforeCheckpoint(clock=clock))

    result = await hire().run_script("slow", FakeContext(clock=clock))

    assert result.success
    assert syncs(argocd) == (1, 1)
    assert len(argocd.log.find(Operation.CREATE)) == 1


async def test_a_sync_that_ended_while_nobody_looked_is_seen(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock
) -> None:
    context = FakeContext(clock=clock, cancel_at=1)
    with pytest.raises(asyncio.CancelledError):
        await hire().run(context)
    clock.advance(5000)

    assert (await hire().run(context.next_attempt())).success
    assert syncs(argocd) == (1, 1)


async def test_another_operation_is_waited_for(argocd: ArgoCdServer, hire: Hire, clock: VirtualClock) -> None:
    await hire().run_script("slow")
    argocd.sync(NAME)
    began = clock.monotonic()

    context = FakeContext("ticket-2", clock=clock)
    result = await hire().run_script("slow", context, ticket_id="ticket-2", deployment_name=NAME)

    assert result.success
    assert syncs(argocd, "ticket-2") == (1, 1)
    assert clock.monotonic() - began >= 30 + 30
    assert any("another operation, by admin" in line for line in context.lines)


async def test_an_operation_that_never_ends_is_not_waited_for_longer_than_the_limit(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock
) -> None:
    await hire().run()
    argocd.change(scripts={"": Script(sync_seconds=None)})
    argocd.sync(NAME)
    context = FakeContext("ticket-2", clock=clock)

    result = await hire().run(context, "ticket-2", deployment_name=NAME)

    assert result.reason is Reason.TIMEOUT
    assert result.output["operation"] is None
    assert "another operation, by admin (Running)" in str(result.error_message)
    assert "ticket-2" not in argocd.log.syncs_by_ticket()
    assert context.checkpoints == []


async def test_auto_sync_that_comes_first_is_waited_for(argocd: ArgoCdServer, hire: Hire) -> None:
    argocd.change(compare_seconds=0.0)

    assert (await hire().run()).success

    assert argocd.application(NAME)["status"]["history"][0]["initiatedBy"] == {"automated": True}
    assert syncs(argocd) == (1, 1)


async def test_an_operation_that_follows_ours_does_not_hide_its_success(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock
) -> None:
    """Auto-sync of a newer commit replaces the state of our operation; the history still tells of it."""
    clock.call_later(6.0, lambda: argocd.sync(NAME))

    result = await hire().run(FakeContext(clock=clock))

    assert result.success
    assert argocd.application(NAME)["status"]["operationState"]["operation"]["initiatedBy"] == {"username": "admin"}


async def test_an_operation_that_replaces_ours_before_its_end_is_a_verdict(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock
) -> None:
    context = FakeContext(clock=clock, cancel_at=2)
    with pytest.raises(asyncio.CancelledError):
        await hire().run_script("sync-failed", context)
    clock.advance(60)
    argocd.sync(NAME)

    result = await hire().run_script("sync-failed", context.next_attempt())

    assert not result.success
    assert result.metadata["error_code"] == "superseded"
    assert "replaced by one of admin" in str(result.error_message)
    assert syncs(argocd) == (1, 1)


async def test_two_tickets_for_one_application_are_not_both_told_that_theirs_runs(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock
) -> None:
    def deploy(number: int) -> Any:
        ticket_id = f"ticket-{number}"
        context = FakeContext(ticket_id, clock=clock)
        return hire().run(context, ticket_id, deployment_name="shared", image=f"registry/app:{number}.0")

    results = await asyncio.gather(deploy(1), deploy(2))

    live = argocd.application("shared")["status"]["summary"]["images"]
    assert [each.success for each in results].count(True) == 1
    (winner,) = [each for each in results if each.success]
    (loser,) = [each for each in results if not each.success]
    assert winner.output["images"] == live
    assert loser.metadata["error_code"] == "superseded"


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "parameters", "sentence"),
    [
        ({"sync_window_closed": True}, {}, "argocd sync: a sync window of project default forbids it now"),
        ({"actions": frozenset({"get", "create", "update"})}, {}, "argocd sync: HTTP 403: permission denied"),
        (
            {"actions": frozenset({"get", "sync"})},
            {},
            "argocd upsert: HTTP 403: permission denied: applications, create",
        ),
        ({}, {"project": "other"}, "argocd upsert: HTTP 400: .*project other which does not exist"),
        (
            {"broken_repositories": frozenset({PARAMETERS["repo_url"]})},
            {},
            "argocd upsert: HTTP 400: .*InvalidSpecError: repository not accessible",
        ),
        ({}, {"cluster_server": "https://elsewhere"}, "argocd upsert: HTTP 400: .*there are no clusters"),
        ({}, {"argocd_namespace": "team-a"}, "argocd upsert: HTTP 500: namespace 'team-a' is not permitted"),
        ({"unknown_revisions": frozenset({"v9"})}, {"revision": "v9"}, "argocd sync: HTTP 400: unable to resolve 'v9'"),
        ({"token": "right"}, {}, "argocd get: HTTP 401"),
    ],
    ids=["window", "no sync", "no create", "project", "repository", "cluster", "namespace", "revision", "token"],
)
async def test_what_argo_cd_refuses_is_told_in_its_words_and_never_simulated(
    argocd: ArgoCdServer, hire: Hire, changes: dict[str, Any], parameters: dict[str, Any], sentence: str
) -> None:
    argocd.change(**changes)
    worker = hire()

    with pytest.raises(IntegrationRejected, match=sentence):
        await worker.run(**parameters)

    assert worker.of(FallbackUsed) == []
    assert not any(each.begun for each in argocd.log.syncs_by_ticket().values())


async def test_an_upsert_needs_the_right_to_update_too(argocd: ArgoCdServer, hire: Hire, clock: VirtualClock) -> None:
    await hire().run()
    argocd.change(actions=frozenset({"get", "create", "sync"}))

    with pytest.raises(IntegrationRejected, match="permission denied: applications, update"):
        await hire().run(FakeContext("ticket-2", clock=clock), "ticket-2", deployment_name=NAME, replicas=5)


async def test_the_right_token(argocd: ArgoCdServer, hire: Hire) -> None:
    argocd.change(token="right")

    assert (await hire(token=SecretStr("right")).run()).success


async def test_finalizers_of_an_application_survive(argocd: ArgoCdServer, hire: Hire, clock: VirtualClock) -> None:
    worker = hire()
    await worker.run()
    argocd._controller.applications[NAME].metadata["finalizers"] = ["resources-finalizer.argocd.argoproj.io"]

    await worker.run(FakeContext("ticket-2", clock=clock), "ticket-2", deployment_name=NAME, replicas=5)

    assert argocd.application(NAME)["metadata"]["finalizers"] == ["resources-finalizer.argocd.argoproj.io"]


async def test_one_denied_poll_is_put_up_with(argocd: ArgoCdServer, hire: Hire) -> None:
    argocd.change(faults=(Fault.answers(403, Operation.GET, code=7, skip=2),))

    assert (await hire().run()).success


async def test_polls_that_go_on_being_denied_are_a_refusal(argocd: ArgoCdServer, hire: Hire) -> None:
    argocd.change(faults=(Fault.answers(403, Operation.GET, code=7, skip=2, times=None),))

    with pytest.raises(IntegrationRejected, match="argocd get: HTTP 403: told to fail"):
        await hire().run()


async def test_an_application_that_is_deleted_meanwhile_is_a_verdict(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock
) -> None:
    clock.call_later(3.0, lambda: argocd.forget(NAME))

    result = await hire().run(FakeContext(clock=clock))

    assert not result.success
    assert result.metadata["error_code"] == "application_missing"
    assert syncs(argocd) == (1, 1)


# --- outages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outage", ["503", "refused", "hang", "nonsense", "500"])
async def test_argo_cd_down(argocd: ArgoCdServer, hire: Hire, outage: str) -> None:
    match outage:
        case "503":
            argocd.change(down=True)
        case "refused":
            await argocd.stop()
        case "hang":
            argocd.change(faults=(Fault.hangs(times=None),))
        case "nonsense":
            argocd.change(faults=(Fault.nonsense(times=None),))
        case "500":
            argocd.change(faults=(Fault.answers(500, code=2, times=None),))
    worker, strict = hire(limits=SOON), hire("fail", limits=SOON)

    result = await worker.run(replicas=4)

    assert result.simulated
    assert result.output["deployment_id"] == "stub-deploy-ticket-1"
    assert result.output["replicas"] == 4
    assert "abandoned_operation" not in result.metadata
    (fallback,) = worker.of(FallbackUsed)
    assert (fallback.integration, fallback.log_event) == ("argocd", "deploy_argocd_error")
    with pytest.raises(IntegrationUnavailable) as raised:
        await strict.run()
    assert raised.value.retryable


async def test_an_outage_in_the_middle_is_outlived(argocd: ArgoCdServer, hire: Hire) -> None:
    argocd.change(faults=(Fault.answers(503, Operation.GET, skip=2, times=15),))

    assert (await hire("fail").run_script("slow")).success
    assert syncs(argocd) == (1, 1)


async def test_an_outage_that_lasts_names_the_operation_that_it_leaves(argocd: ArgoCdServer, hire: Hire) -> None:
    argocd.change(faults=(Fault.answers(503, Operation.GET, skip=2, times=None),))

    result = await hire().run()

    assert result.simulated
    assert result.metadata["abandoned_operation"] == f"{NAME}/{MARK}"
    assert result.metadata["fallback_reason"] == "dependency_unavailable"


async def test_under_fail_an_outage_is_resumed_after_by_the_next_attempt(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock
) -> None:
    argocd.change(faults=(Fault.answers(503, Operation.GET, skip=2, times=None),))
    context = FakeContext(clock=clock)
    with pytest.raises(IntegrationUnavailable):
        await hire("fail").run(context)
    argocd.change(faults=())

    assert (await hire("fail").run(context.next_attempt())).success
    assert syncs(argocd) == (1, 1)


async def test_a_resource_tree_that_cannot_be_had_changes_nothing(argocd: ArgoCdServer, hire: Hire) -> None:
    argocd.change(faults=(Fault.answers(500, Operation.RESOURCE_TREE, code=2, times=None),))

    assert (await hire().run_script("slow")).success
    failed = await hire().run_script("degraded", ticket_id="ticket-2", deployment_name="other")
    assert failed.metadata["error_code"] == "degraded"
    assert failed.output["resources"] == []


async def test_disabled() -> None:
    emitted: list[Event] = []
    ticket = ticket_for("DEPLOY", {"image": "registry/app:1.2", "replicas": 3})

    result = await run_executor(DeployExecutor(emit=emitted.append), ticket)

    assert result.simulated
    assert result.metadata["fallback_reason"] == "integration_disabled"
    with pytest.raises(IntegrationDisabled):
        await run_executor(DeployExecutor(emit=emitted.append, fallback="fail"), ticket)


async def test_without_a_repository_there_is_nothing_to_deploy(hire: Hire) -> None:
    with pytest.raises(InvalidParameters, match="repo_url: is missing"):
        await hire().run(repo_url="")


# --- progress and cancellation ------------------------------------------------------------------------------------


async def test_progress_is_remembered_now_and_then(argocd: ArgoCdServer, hire: Hire, clock: VirtualClock) -> None:
    moments: list[float] = []

    class Watched(FakeContext):
        async def checkpoint(self, data: dict[str, Any]) -> None:
            moments.append(clock.monotonic())
            await super().checkpoint(data)

    context = Watched(clock=clock)

    await hire().run_script("slow", context)

    assert len(moments) == 2
    assert moments[1] - moments[0] >= 30
    last = context.checkpoints[-1]
    assert last["phase"] == "Succeeded"
    assert last["health_status"] == "Progressing"
    assert last["progress"]["Progressing"] == 1
    assert last["progress"]["unhealthy"] == [
        {"kind": "Deployment", "name": NAME, "namespace": "default", "health": "Progressing"}
    ]
    assert len(argocd.log.find(Operation.RESOURCE_TREE)) <= 3


async def test_an_operator_who_cancels_ends_the_operation_too(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock
) -> None:
    context = FakeContext(clock=clock, cancel_at=10, cancel_with="cancelled by an operator")

    with pytest.raises(asyncio.CancelledError):
        await hire().run_script("slow", context)

    (terminate,) = argocd.log.find(Operation.TERMINATE)
    assert (terminate.status, terminate.content_type) == (200, "application/json")
    assert f"sync {NAME}/{MARK} was terminated" in context.lines
    clock.advance(1)
    assert argocd.application(NAME)["status"]["operationState"]["message"] == "Operation terminated"


async def test_an_operation_of_somebody_else_is_never_ended(
    argocd: ArgoCdServer, hire: Hire, clock: VirtualClock
) -> None:
    context = FakeContext(clock=clock, cancel_at=45, cancel_with="cancelled by an operator")
    clock.call_later(40.0, lambda: argocd.sync(NAME))

    with pytest.raises(asyncio.CancelledError):
        await hire().run_script("slow", context)

    assert argocd.log.find(Operation.TERMINATE) == []
