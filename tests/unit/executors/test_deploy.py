"""DEPLOY, alone and on a clock of its own, with an Argo CD that does what each test says."""

import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from worker_agents.clients.argocd import Application, ApplicationKey, Refusal, ResourceHealth
from worker_agents.devkit.executor_kit import FakeContext, run_executor, ticket_for
from worker_agents.executors.deploy import DeployExecutor
from worker_agents.executors.rollout_judgement import MARK
from worker_agents.model.errors import (
    BreakerOpen,
    IntegrationRejected,
    IntegrationUnavailable,
    JournalError,
    LeaseLost,
    TaskError,
    UnknownOutcome,
)
from worker_agents.model.result import TaskResult
from worker_agents.telemetry.events import Event

PARAMETERS = {"repo_url": "https://git.example/r", "image": "app:1"}
MISSING = Refusal(404, 5, "not found")
BUSY = Refusal(400, 9, "another operation is already in progress")
NAME = "deploy-ticket-1"
View = dict[str, Any]
Answer = View | Refusal | Exception


def info(mark: str = "ticket-1:sync") -> list[dict[str, str]]:
    return [{"name": MARK, "value": mark}]


BEGUN: View = {"operation": {"sync": {"revision": "abc"}, "info": info()}}


def ended(*, reconciled: int = 30, **status: Any) -> View:
    return {
        "status": {
            "operationState": {
                "operation": {"sync": {"revision": "abc"}, "info": info()},
                "phase": "Succeeded",
                "startedAt": "2026-01-01T00:00:10Z",
                "finishedAt": "2026-01-01T00:00:20Z",
                "syncResult": {"revision": "abc"},
            },
            "sync": {"status": "Synced", "revision": "abc"},
            "health": {"status": "Healthy"},
            "reconciledAt": f"2026-01-01T00:00:{reconciled}Z",
            **status,
        }
    }


class ScriptedArgoCd:
    """Answers reads, refreshes and syncs from scripts of their own; the last answer of each repeats for ever."""

    def __init__(
        self, reads: Iterable[Answer], syncs: Iterable[Answer] = (BEGUN,), refreshes: Iterable[Answer] = ()
    ) -> None:
        self._scripts = {"read": list(reads), "sync": list(syncs), "refresh": list(refreshes)}
        self.calls: list[str] = []
        self.before: View = {}
        """What an upsert finds."""
        self._source: Mapping[str, Any] = {}

    async def upsert_application(
        self, application: Mapping[str, Any], headers: Mapping[str, str], before_repeat: object, **_: Any
    ) -> Application:
        assert headers["Idempotency-Key"].endswith(":application")
        assert callable(before_repeat)
        self.calls.append("upsert")
        self._source = application["spec"]["source"]
        return self._application(self.before)

    async def get_application(
        self, key: ApplicationKey, _: Mapping[str, str], *, refresh: str | None = None, within: float | None = None
    ) -> Application | Refusal:
        assert key == ApplicationKey(NAME, "default")
        assert within is not None
        return self._answer("refresh" if refresh else "read")

    async def sync_application(
        self, key: ApplicationKey, headers: Mapping[str, str], *, infos: Mapping[str, str], **_: Any
    ) -> Application | Refusal:
        assert key == ApplicationKey(NAME, "default")
        assert headers["Idempotency-Key"] == infos[MARK] == "ticket-1:sync"
        return self._answer("sync")

    async def terminate_operation(self, *_: Any) -> None:
        self.calls.append("terminate")

    async def resource_tree(self, *_: Any, **__: Any) -> list[ResourceHealth]:
        self.calls.append("tree")
        return []

    def count(self, call: str) -> int:
        return self.calls.count(call)

    def _answer(self, kind: str) -> Application | Refusal:
        self.calls.append(kind)
        script = self._scripts[kind]
        answer = script[min(self.count(kind), len(script)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Refusal) else self._application(answer)

    def _application(self, view: View) -> Application:
        return Application.model_validate({"metadata": {"name": NAME}, "spec": {"source": self._source}, **view})


async def run(argocd: ScriptedArgoCd, context: FakeContext | None = None, **more: Any) -> TaskResult:
    emitted: list[Event] = []
    executor = DeployExecutor(emit=emitted.append, argocd_client=argocd, rng=random.Random(1), **more)
    return await run_executor(executor, ticket_for("DEPLOY", PARAMETERS), context)


def down() -> IntegrationUnavailable:
    return IntegrationUnavailable("argocd: down")


async def test_the_order_of_things() -> None:
    argocd, context = ScriptedArgoCd([MISSING, BEGUN, ended()]), FakeContext()

    result = await run(argocd, context)

    assert result.success
    assert argocd.calls == ["read", "upsert", "sync", "read", "read"]
    assert context.checkpoints == [
        {
            "application": NAME,
            "project": "default",
            "mark": "ticket-1:sync",
            "is_kept_marked": True,
            "started_at": None,
            "after": None,
            "revision": "abc",
            "phase": "Pending",
            "sync_status": "Unknown",
            "health_status": "Unknown",
            "progress": {},
        }
    ]
    assert result.metadata == {
        "executor": "DeployExecutor",
        "provider": "argocd",
        "simulated": False,
        "duration_seconds": pytest.approx(sum(context.sleeps), abs=0.001),
        "polls": 2,
    }
    assert context.starts == ["sync", "application", "sync"]


async def test_somebody_who_comes_first_by_a_moment_is_waited_for() -> None:
    argocd = ScriptedArgoCd([MISSING, {"operation": {"initiatedBy": {"username": "eve"}}}, {}, ended()], [BUSY, BEGUN])

    assert (await run(argocd)).success

    assert argocd.calls == ["read", "upsert", "sync", "read", "read", "sync", "read"]


async def test_an_end_within_the_second_of_the_last_comparison_is_compared_anew() -> None:
    argocd = ScriptedArgoCd([MISSING, ended(reconciled=20)], refreshes=[ended(reconciled=20)])

    assert (await run(argocd)).success
    assert argocd.count("refresh") == 1


async def test_a_refresh_that_is_not_answered_is_not_needed() -> None:
    argocd = ScriptedArgoCd([MISSING, *[ended(reconciled=15)] * 9, ended()], refreshes=[down()])
    context = FakeContext()

    assert (await run(argocd, context)).success

    assert argocd.count("read") == 11
    assert argocd.count("refresh") <= 1 + context.clock.monotonic() / 10


async def test_synced_and_healthy_at_another_revision_is_believed_only_when_it_lasts() -> None:
    moved = ended(sync={"status": "Synced", "revision": "def"})
    context = FakeContext()

    result = await run(ScriptedArgoCd([MISSING, moved], refreshes=[moved]), context)

    assert result.success
    assert result.output["revision"] == "abc"
    assert context.clock.monotonic() >= 20
    assert "compared with def" in result.metadata["warnings"][0]


async def test_a_doubt_that_passes_counts_from_the_start_again() -> None:
    degraded = ended(health={"status": "Degraded"})
    progressing = ended(health={"status": "Progressing"})
    reads = [MISSING, *[degraded] * 10, progressing, *[degraded] * 10, ended()]

    assert (await run(ScriptedArgoCd(reads, refreshes=[down()]))).success


async def test_the_servers_wish_makes_polls_rarer() -> None:
    busy = IntegrationUnavailable("argocd: HTTP 429", retry_after=40)
    context = FakeContext()

    assert (await run(ScriptedArgoCd([MISSING, BEGUN, busy, BEGUN, ended()]), context)).success

    assert context.sleeps[2] == 40
    assert max(context.sleeps[:2] + context.sleeps[3:]) <= 5


async def test_one_doubt_does_not_lend_its_time_to_another() -> None:
    out_of_sync = ended(sync={"status": "OutOfSync", "revision": "abc"})
    degraded = ended(health={"status": "Degraded"})
    reads = [MISSING, *[out_of_sync] * 12, *[degraded] * 10, ended()]
    context = FakeContext()

    assert (await run(ScriptedArgoCd(reads, refreshes=[down()]), context)).success

    assert context.clock.monotonic() > 60


@pytest.mark.parametrize(
    ("images", "is_told"),
    [(["app:1"], False), (["mirror.example/app:1", "sidecar:2"], False), (["app:0"], True), ([], False)],
)
async def test_an_image_that_does_not_run_is_told_of(images: list[str], is_told: bool) -> None:
    result = await run(ScriptedArgoCd([MISSING, ended(summary={"images": images})]))

    assert result.success
    assert ("warnings" in result.metadata) is is_told


async def test_a_long_list_of_failures_is_cut() -> None:
    resources = [{"kind": "Job", "name": f"j{n}", "status": "SyncFailed", "message": "m" * 5000} for n in range(500)]
    failed = ended()
    failed["status"]["operationState"] |= {"phase": "Failed", "message": "x" * 9000}
    failed["status"]["operationState"]["syncResult"] = {"revision": "abc", "resources": resources}

    result = await run(ScriptedArgoCd([MISSING, failed]))

    assert len(result.output["resources"]) == 20
    assert len(str(result.output)) < 10_000
    assert len(str(result.error_message)) < 2_000


async def test_a_checkpoint_without_its_mark_is_an_unknown_outcome() -> None:
    argocd = ScriptedArgoCd([ended()])

    with pytest.raises(UnknownOutcome):
        await run(argocd, FakeContext(resumed_from={"application": NAME}))

    assert argocd.calls == []


def unmarked(view: View) -> View:
    """As shown by a server that drops ``infos``."""
    text = orjson.dumps(view).replace(orjson.dumps(info()), b"[]")
    shown: View = orjson.loads(text)
    return shown


async def test_a_server_that_drops_infos_still_shows_which_operation_came_next() -> None:
    before = unmarked(ended(reconciled=59))
    ours = unmarked(ended(reconciled=59))
    ours["status"]["operationState"] |= {"startedAt": "2026-01-01T00:00:40Z", "finishedAt": "2026-01-01T00:00:50Z"}
    argocd, context = ScriptedArgoCd([before, before, before, ours], [{}]), FakeContext()
    argocd.before = before

    result = await run(argocd, context)

    assert result.success
    assert argocd.calls == ["read", "upsert", "sync", "read", "read", "read"]
    assert context.checkpoints[0]["is_kept_marked"] is False
    assert context.checkpoints[0]["after"] == "2026-01-01T00:00:10+00:00"
    resumed = ScriptedArgoCd([before, ours])
    assert (await run(resumed, context.next_attempt())).success
    assert resumed.calls == ["read", "read"]


async def test_the_state_from_before_our_sync_is_not_taken_for_its_end() -> None:
    """An answer from a cache that lags."""
    others = unmarked(ended(reconciled=59))
    argocd = ScriptedArgoCd([others, others, ended()])
    argocd.before = others

    assert (await run(argocd)).success
    assert argocd.count("sync") == 1


async def test_a_resumed_attempt_knows_its_operation_by_its_start() -> None:
    later = ended()
    later["status"]["operationState"] |= {
        "operation": {"initiatedBy": {"automated": True}},
        "startedAt": "2026-01-01T00:00:21Z",
        "finishedAt": "2026-01-01T00:00:25Z",
    }
    later["status"]["history"] = [{"deployStartedAt": "2026-01-01T00:00:10Z"}]
    begun_at = datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC).isoformat()
    context = FakeContext(resumed_from={"mark": "ticket-1:sync", "started_at": begun_at}, checkpoint_age=30)

    assert (await run(ScriptedArgoCd([later]), context)).success


async def test_the_limit_counts_from_when_the_sync_was_begun() -> None:
    context = FakeContext(resumed_from={"mark": "ticket-1:sync"}, checkpoint_age=500)

    result = await run(ScriptedArgoCd([BEGUN]), context)

    assert result.output["status"] == "timeout"
    assert 90 <= context.clock.monotonic() <= 100


async def test_a_shorter_limit_of_the_attempt_ends_in_a_verdict_too() -> None:
    context = FakeContext(time_limit=60)

    result = await run(ScriptedArgoCd([MISSING, BEGUN]), context)

    assert result.output["status"] == "timeout"
    assert context.clock.monotonic() < 60


async def test_a_worker_that_lost_its_lease_changes_nothing() -> None:
    argocd = ScriptedArgoCd([MISSING])

    with pytest.raises(LeaseLost):
        await run(argocd, FakeContext(lease_lost=True))

    assert argocd.calls == []


@pytest.mark.parametrize("error", [IntegrationRejected("HTTP 401"), JournalError("too large")])
async def test_what_is_no_outage_never_falls_back(error: Exception) -> None:
    with pytest.raises(type(error)):
        await run(ScriptedArgoCd([MISSING], [error]))


@pytest.mark.parametrize(
    ("error", "looks"), [(down(), 5), (BreakerOpen("open", integration="argocd", retry_after=9), 1)]
)
async def test_a_sync_that_may_have_begun_is_named_in_what_stands_in_for_it(error: TaskError, looks: int) -> None:
    argocd = ScriptedArgoCd([MISSING, {}], [error])

    result = await run(argocd)

    assert result.simulated
    assert result.metadata["abandoned_operation"] == f"{NAME}/ticket-1:sync"
    assert argocd.count("sync") == looks


async def test_an_open_breaker_makes_the_ticket_wait_where_the_fallback_is_fail() -> None:
    breaker = BreakerOpen("argocd: open", integration="argocd", retry_after=9)

    with pytest.raises(BreakerOpen) as raised:
        await run(ScriptedArgoCd([breaker]), fallback="fail")

    assert raised.value.retry_after == 9
