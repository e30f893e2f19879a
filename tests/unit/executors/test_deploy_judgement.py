"""What an application's state says about our deployment: a table."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from worker_agents.clients.argocd import Application
from worker_agents.devkit.executor_kit import ticket_for
from worker_agents.executors.deploy_parameters import DeployParameters, deployment_of
from worker_agents.executors.rollout_judgement import (
    MARK,
    Doubtful,
    End,
    Ending,
    Judgement,
    OurOperation,
    Waiting,
    judge,
)

DEPLOYMENT = deployment_of(ticket_for("DEPLOY"), DeployParameters(repo_url="https://git.example/r", image="app:1"))
OURS = OurOperation("ticket-1:sync", datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC))


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}Z"


def operation(mark: str = OURS.mark, **more: Any) -> dict[str, Any]:
    return {"sync": {"revision": "abc"}, "info": [{"name": MARK, "value": mark}]} | more


OTHERS = {"sync": {"revision": "abc"}, "initiatedBy": {"username": "eve"}}


def state(requested: dict[str, Any] | None = None, phase: str = "Succeeded", **more: Any) -> dict[str, Any]:
    ended = {} if phase in ("Running", "Terminating") else {"finishedAt": at(20)}
    return {
        "operation": requested or operation(),
        "phase": phase,
        "startedAt": at(10),
        "syncResult": {"revision": "abc"},
        **ended,
        **more,
    }


def seen(
    sync: str = "Synced",
    health: str = "Healthy",
    *,
    reconciled: int = 21,
    revision: str = "abc",
    pending: dict[str, Any] | None = None,
    source: dict[str, Any] | None = None,
    latest: dict[str, Any] | None = None,
    **status: Any,
) -> Application:
    return Application.model_validate(
        {
            "metadata": {"name": "app"},
            "spec": {"source": source or DEPLOYMENT.source},
            "operation": pending,
            "status": {
                "operationState": latest or state(),
                "sync": {"status": sync, "revision": revision},
                "health": {"status": health, "message": "m"},
                "reconciledAt": at(reconciled),
                **status,
            },
        }
    )


def judged(application: Application, ours: OurOperation = OURS, *, compared: bool = False) -> Judgement:
    return judge(application, DEPLOYMENT, ours, compared=compared)


def test_everything_at_once_is_deployed() -> None:
    assert judged(seen()) == End(Ending.DEPLOYED)


@pytest.mark.parametrize("reconciled", [0, 9, 15, 19, 20])
def test_synced_and_healthy_from_before_the_end_of_our_sync_mean_nothing(reconciled: int) -> None:
    assert judged(seen(reconciled=reconciled)) == Waiting("the state after the sync is not compared yet")


def test_within_the_same_second_only_a_comparison_that_was_asked_for_counts() -> None:
    assert judged(seen(reconciled=20), compared=True) == End(Ending.DEPLOYED)
    assert isinstance(judged(seen(reconciled=19), compared=True), Waiting)


def test_a_time_without_a_zone_is_utc() -> None:
    application = seen(latest=state(finishedAt="2026-01-01T00:00:20"))

    assert judged(application) == End(Ending.DEPLOYED)


@pytest.mark.parametrize("phase", ["Running", "Terminating"])
def test_a_sync_that_goes_on_is_waited_for_however_healthy_it_looks(phase: str) -> None:
    application = seen(pending=operation(), latest=state(phase=phase, message="hook"), reconciled=50)

    assert judged(application) == Waiting(f"sync is {phase}: hook")


def test_a_sync_that_is_not_taken_up_yet_is_pending_beside_the_state_of_an_earlier_one() -> None:
    application = seen(pending=operation(), latest=state(OTHERS), reconciled=50)

    assert judged(application) == Waiting("sync is Pending")


@pytest.mark.parametrize("phase", ["Failed", "Error"])
def test_a_failed_sync_is_the_end_however_healthy_it_looks(phase: str) -> None:
    resources = [
        {"kind": "Job", "name": "migrate", "status": "Synced", "hookPhase": "Failed", "message": "exit 1"},
        {"kind": "Service", "name": "app", "status": "Synced"},
    ]
    latest = state(phase=phase, message="hooks failed", syncResult={"revision": "abc", "resources": resources})

    assert judged(seen(latest=latest)) == End(Ending.SYNC_FAILED, f"sync {phase}: hooks failed; Job/migrate: exit 1")


@pytest.mark.parametrize("health", ["Progressing", "Suspended", "Missing", "Unknown", "SomethingNew"])
def test_only_healthy_is_healthy(health: str) -> None:
    assert judged(seen(health=health)) == Waiting(f"health is {health}: m")


def test_degraded_is_doubted_first() -> None:
    assert judged(seen(health="Degraded")) == Doubtful(End(Ending.DEGRADED, "health is Degraded: m"))


def test_out_of_sync_is_doubted_first() -> None:
    judgement = judged(seen("OutOfSync"))

    assert judgement == Doubtful(End(Ending.OUT_OF_SYNC, "still OutOfSync after the sync"))


def test_a_comparison_that_fails_is_told() -> None:
    application = seen("Unknown", conditions=[{"type": "ComparisonError", "message": "no such path"}])

    assert judged(application) == Waiting("sync status is Unknown: ComparisonError: no such path")


def test_another_revision_than_ours_is_doubted_even_if_synced_and_healthy() -> None:
    judgement = judged(seen(revision="def"))

    assert isinstance(judgement, Doubtful)
    assert judgement.end.ending is Ending.DEPLOYED
    assert "compared with def" in judgement.end.why


def test_another_source_than_ours_is_never_our_success() -> None:
    judgement = judged(seen(source={**DEPLOYMENT.source, "targetRevision": "v2"}))

    assert isinstance(judgement, End)
    assert judgement.ending is Ending.SUPERSEDED


class TestALaterOperation:
    HISTORY = ({"deployStartedAt": at(10), "revision": "abc"},)

    def test_does_not_hide_our_success(self) -> None:
        latest = state(OTHERS, startedAt=at(30), finishedAt=at(40))

        assert judged(seen(latest=latest, history=self.HISTORY, reconciled=41)) == End(Ending.DEPLOYED)
        assert isinstance(judged(seen(latest=latest, history=self.HISTORY, reconciled=39)), Waiting)

    def test_is_waited_for(self) -> None:
        latest = state(OTHERS, phase="Running", startedAt=at(30))

        assert judged(seen(pending=OTHERS, latest=latest, history=self.HISTORY)) == Waiting(
            "a later operation is under way"
        )

    @pytest.mark.parametrize(
        ("ours", "history"), [(OURS, ()), (OURS, [{"deployStartedAt": at(11)}]), (OurOperation(OURS.mark), HISTORY)]
    )
    def test_that_replaced_ours_unseen_is_the_end(self, ours: OurOperation, history: Any) -> None:
        judgement = judged(seen(latest=state(OTHERS, startedAt=at(30)), history=history), ours)

        assert judgement == End(Ending.SUPERSEDED, "the sync was replaced by one of eve before its end could be seen")

    def test_of_another_ticket_is_not_ours(self) -> None:
        judgement = judged(seen(latest=state(operation("ticket-2:sync"), startedAt=at(30))))

        assert isinstance(judgement, End)
        assert judgement.ending is Ending.SUPERSEDED

    def test_is_not_ours_at_a_server_that_drops_infos_either(self) -> None:
        ours = replace(OURS, is_kept_marked=False)

        assert judged(seen(latest=state(OTHERS)), ours) == End(Ending.DEPLOYED)
        judgement = judged(seen(latest=state(OTHERS, startedAt=at(30))), ours)
        assert isinstance(judgement, End)
        assert judgement.ending is Ending.SUPERSEDED
