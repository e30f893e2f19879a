"""The reference Argo CD keeps contracts 2, shows every peculiarity, and plays every fault."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from worker_agents.devkit.argocd import ArgoCdServer, Behaviour, Fault, Operation, Syncs
from worker_agents.devkit.executor_kit import VirtualClock

REPOSITORY = Path(__file__).parents[2]
APPLICATIONS = "/api/v1/applications"
PROJECT = {"project": "default"}


@pytest.fixture
async def http(argocd: ArgoCdServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=argocd.url, timeout=10) as client:
        yield client


def document(name: str = "app", *, automated: bool = False, **source: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {
            "project": "default",
            "source": {"repoURL": "https://git.example/r", "path": ".", "targetRevision": "main", **source},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
            "syncPolicy": {"automated": {"prune": True}} if automated else {},
        },
    }


async def create(http: httpx.AsyncClient, body: dict[str, Any] | None = None, **query: str) -> httpx.Response:
    return await http.post(APPLICATIONS, json=body or document(), params=query)


async def read(http: httpx.AsyncClient, name: str = "app", **query: str) -> httpx.Response:
    return await http.get(f"{APPLICATIONS}/{name}", params=PROJECT | query)


async def sync(http: httpx.AsyncClient, name: str = "app", **body: Any) -> httpx.Response:
    return await http.post(f"{APPLICATIONS}/{name}/sync", json=PROJECT | body)


async def terminate(http: httpx.AsyncClient, name: str = "app") -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    return await http.delete(f"{APPLICATIONS}/{name}/operation", params=PROJECT, headers=headers)


def refusal(answer: httpx.Response) -> tuple[int, int, str]:
    body = answer.json()
    assert body["error"] == body["message"]
    return answer.status_code, body["code"], body["message"]


class TestTransport:
    @pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "text/plain", None])
    async def test_every_call_but_a_get_needs_exactly_json(
        self, http: httpx.AsyncClient, content_type: str | None
    ) -> None:
        headers = {"Content-Type": content_type} if content_type else {}

        answer = await http.request("DELETE", f"{APPLICATIONS}/app", headers=headers)

        assert answer.status_code == 415
        assert answer.text.startswith("Invalid content type")
        assert answer.headers["content-type"].startswith("text/plain")

    async def test_a_token_is_asked_for(self, argocd: ArgoCdServer, http: httpx.AsyncClient) -> None:
        argocd.change(token="right")

        assert refusal(await read(http)) == (401, 16, "no session information")
        http.headers["Authorization"] = "Bearer wrong"
        status, code, message = refusal(await read(http))
        assert (status, code) == (401, 16)
        assert message.startswith("invalid session: ")
        assert (await http.get("/api/version")).status_code == 200
        granted = await http.post("/api/v1/session", json={"username": "u", "password": "p"})
        http.headers["Authorization"] = f"Bearer {granted.json()['token']}"
        assert (await http.get("/api/v1/session/userinfo")).json()["loggedIn"] is True


class TestVisibility:
    async def test_a_missing_application_is_denied_without_its_project(self, http: httpx.AsyncClient) -> None:
        assert refusal(await http.get(f"{APPLICATIONS}/app")) == (403, 7, "permission denied")
        assert refusal(await http.post(f"{APPLICATIONS}/app/sync", json={})) == (403, 7, "permission denied")
        headers = {"Content-Type": "application/json"}
        assert refusal(await http.delete(f"{APPLICATIONS}/app", headers=headers))[0] == 403

    async def test_and_missing_with_it(self, http: httpx.AsyncClient) -> None:
        assert refusal(await read(http)) == (404, 5, 'applications.argoproj.io "app" not found')
        assert refusal(await sync(http))[:2] == (404, 5)

    async def test_a_wrong_project_is_not_found_and_one_that_is_not_ours_denied(
        self, argocd: ArgoCdServer, http: httpx.AsyncClient
    ) -> None:
        argocd.change(projects=frozenset({"default", "second"}))
        await create(http)

        assert refusal(await read(http, project="second"))[:2] == (404, 5)
        assert refusal(await read(http, project="third"))[:2] == (403, 7)
        assert (await http.get(f"{APPLICATIONS}/app")).status_code == 200


class TestUpsert:
    async def test_the_same_again_is_fine(self, http: httpx.AsyncClient) -> None:
        assert [(await create(http)).status_code for _ in range(2)] == [200, 200]

    async def test_something_else_needs_upsert(self, http: httpx.AsyncClient) -> None:
        await create(http)
        other = document(targetRevision="v2")

        status, code, message = refusal(await create(http, other))

        assert (status, code) == (400, 3)
        assert "use upsert flag" in message
        changed = await create(http, other, upsert="true")
        assert changed.json()["spec"]["source"]["targetRevision"] == "v2"

    async def test_upsert_merges_labels_and_replaces_finalizers(self, http: httpx.AsyncClient) -> None:
        first, second = document(), document()
        first["metadata"] |= {"labels": {"a": "1"}, "finalizers": ["f"]}
        second["metadata"] |= {"labels": {"b": "2"}}
        await create(http, first)

        metadata = (await create(http, second, upsert="true")).json()["metadata"]

        assert metadata["labels"] == {"a": "1", "b": "2"}
        assert "finalizers" not in metadata

    @pytest.mark.parametrize(
        ("change", "status", "code", "words"),
        [
            ({"metadata": {"name": "app", "namespace": "shop"}}, 500, 2, "namespace 'shop' is not permitted"),
            ({"metadata": {}}, 400, 3, "metadata.name is required"),
            ({"spec": None}, 400, 3, "spec is required"),
        ],
    )
    async def test_what_it_refuses(
        self, http: httpx.AsyncClient, change: dict[str, Any], status: int, code: int, words: str
    ) -> None:
        answer = refusal(await create(http, document() | change))

        assert answer[:2] == (status, code)
        assert words in answer[2]

    async def test_it_validates_unless_told_not_to(self, argocd: ArgoCdServer, http: httpx.AsyncClient) -> None:
        argocd.change(broken_repositories=frozenset({"https://git.example/r"}))

        status, code, message = refusal(await create(http))

        assert (status, code) == (400, 3)
        assert message.startswith("application spec for app is invalid: InvalidSpecError: ")
        assert (await create(http, validate="false")).status_code == 200

    async def test_values_of_helm_parameters_are_text(self, http: httpx.AsyncClient) -> None:
        body = document(helm={"parameters": [{"name": "replicaCount", "value": 2}]})

        assert refusal(await create(http, body))[:2] == (400, 3)

    async def test_an_operation_in_the_body_is_ignored(self, http: httpx.AsyncClient) -> None:
        answer = await create(http, document() | {"operation": {"sync": {}}})

        assert "operation" not in answer.json()


class TestSync:
    async def test_begins_later_and_keeps_its_infos(self, http: httpx.AsyncClient, clock: VirtualClock) -> None:
        await create(http)
        info = [{"name": "who", "value": "me"}]

        answer = (await sync(http, infos=info)).json()

        assert answer["operation"]["info"] == info
        assert "operationState" not in answer["status"]
        clock.advance(1)
        running = (await read(http)).json()
        assert running["status"]["operationState"]["phase"] == "Running"
        assert "finishedAt" not in running["status"]["operationState"]
        assert "operation" in running
        clock.advance(2)
        ended = (await read(http)).json()
        assert "operation" not in ended
        assert ended["status"]["operationState"]["phase"] == "Succeeded"
        assert ended["status"]["operationState"]["operation"]["info"] == info
        assert ended["status"]["history"][0]["deployStartedAt"] == ended["status"]["operationState"]["startedAt"]

    async def test_the_state_from_before_is_shown_until_it_is_compared(
        self, argocd: ArgoCdServer, http: httpx.AsyncClient, clock: VirtualClock
    ) -> None:
        await create(http)
        await sync(http)
        clock.advance(60)
        argocd.change(compare_seconds=30.0)
        await create(http, document(targetRevision="v2"), upsert="true")
        await sync(http)
        clock.advance(10)

        stale = (await read(http)).json()["status"]
        fresh = (await read(http, refresh="normal")).json()["status"]

        assert stale["operationState"]["phase"] == "Succeeded"
        assert (stale["sync"]["status"], stale["health"]["status"]) == ("Synced", "Healthy")
        assert stale["reconciledAt"] < stale["operationState"]["finishedAt"]
        assert stale["sync"]["revision"] != stale["operationState"]["syncResult"]["revision"]
        assert fresh["reconciledAt"] > fresh["operationState"]["finishedAt"]
        assert fresh["sync"]["revision"] == fresh["operationState"]["syncResult"]["revision"]

    async def test_one_operation_at_a_time(self, http: httpx.AsyncClient) -> None:
        await create(http)
        await sync(http)

        status, code, message = refusal(await sync(http))

        assert (status, code) == (400, 9)
        assert "another operation is already in progress" in message

    async def test_auto_sync_forbids_another_revision_and_syncs_a_commit_once(
        self, http: httpx.AsyncClient, clock: VirtualClock
    ) -> None:
        await create(http, document(automated=True))

        assert refusal(await sync(http, revision="v2")) == (
            400,
            9,
            "Cannot sync to v2: auto-sync currently set to main",
        )
        clock.advance(600)
        status = (await read(http)).json()["status"]
        assert status["operationState"]["operation"]["initiatedBy"] == {"automated": True}
        assert len(status["history"]) == 1

    async def test_a_sync_window(self, argocd: ArgoCdServer, http: httpx.AsyncClient) -> None:
        await create(http)
        argocd.change(sync_window_closed=True)

        assert refusal(await sync(http)) == (403, 7, "cannot sync: blocked by sync window")

    async def test_an_application_that_is_being_deleted(self, http: httpx.AsyncClient, clock: VirtualClock) -> None:
        await create(http)
        headers = {"Content-Type": "application/json"}
        deleted = await http.delete(f"{APPLICATIONS}/app", params=PROJECT, headers=headers)

        assert (deleted.status_code, deleted.json()) == (200, {})
        assert refusal(await sync(http)) == (400, 9, "application is deleting")
        clock.advance(5)
        assert (await read(http)).status_code == 404

    async def test_termination(self, http: httpx.AsyncClient, clock: VirtualClock) -> None:
        await create(http)
        assert refusal(await terminate(http))[:2] == (400, 3)
        await sync(http)
        clock.advance(1)

        assert (await terminate(http)).json() == {}

        state = (await read(http)).json()["status"]["operationState"]
        assert (state["phase"], state["message"]) == ("Failed", "Operation terminated")
        clock.advance(60)
        assert (await read(http)).json()["status"]["operationState"]["phase"] == "Failed"

    @pytest.mark.parametrize(
        ("script", "health"),
        [("degraded", "Degraded"), ("suspended", "Suspended"), ("missing", "Missing"), ("", "Healthy")],
    )
    async def test_scripts(self, http: httpx.AsyncClient, clock: VirtualClock, script: str, health: str) -> None:
        body = document()
        body["metadata"]["annotations"] = {"behaviour": script}
        await create(http, body)
        await sync(http)
        clock.advance(120)

        assert (await read(http)).json()["status"]["health"]["status"] == health
        tree = (await http.get(f"{APPLICATIONS}/app/resource-tree", params=PROJECT)).json()
        assert tree["nodes"][0]["health"]["status"] == health
        listed = (await http.get(APPLICATIONS, params={"projects": "default"})).json()["items"]
        assert [each["metadata"]["name"] for each in listed] == ["app"]


class TestFaultsAndLog:
    @pytest.mark.parametrize("fault", [Fault.refuses(Operation.SYNC), Fault.loses_answer(Operation.SYNC)])
    async def test_a_connection_reset_before_and_after_the_work(
        self, argocd: ArgoCdServer, http: httpx.AsyncClient, fault: Fault
    ) -> None:
        await create(http)
        argocd.change(faults=(fault,))

        with pytest.raises(httpx.RemoteProtocolError):
            await http.post(f"{APPLICATIONS}/app/sync", json=PROJECT, headers={"Idempotency-Key": "t-1:sync"})

        assert argocd.log.syncs_by_ticket() == {"t-1": Syncs(posts=1, begun=int(fault.after_work))}
        assert ("operation" in argocd.application("app")) is fault.after_work

    async def test_statuses_and_nonsense(self, argocd: ArgoCdServer, http: httpx.AsyncClient) -> None:
        argocd.change(faults=(Fault.answers(500, code=13, skip=1), Fault.nonsense()))

        first, second = await create(http), await create(http)

        assert (first.status_code, first.text) == (200, "<html>Welcome</html>")
        assert refusal(second) == (500, 13, "told to fail")
        assert (await create(http)).status_code == 200

    async def test_an_outage_keeps_address_and_applications(
        self, argocd: ArgoCdServer, http: httpx.AsyncClient
    ) -> None:
        await create(http)
        await argocd.stop()
        with pytest.raises(httpx.TransportError):
            await read(http)
        await argocd.start()

        assert (await read(http)).status_code == 200

    async def test_control_from_outside(self, argocd: ArgoCdServer, http: httpx.AsyncClient) -> None:
        changed = await http.post("/_control/behaviour", json={"down": True, "scripts": {"x": {"outcome": "Failed"}}})
        assert changed.status_code == 200
        assert argocd.behaviour == Behaviour().changed_by_json(changed.json())
        assert (await create(http)).status_code == 503
        assert (await http.post("/_control/behaviour", json={"no": 1})).status_code == 422
        await http.post("/_control/behaviour", json={"down": False})
        await create(http)
        await http.post(f"{APPLICATIONS}/app/sync", json=PROJECT, headers={"Idempotency-Key": "t-1:sync"})

        calls = (await http.get("/_control/calls", params={"operation": "create"})).json()["calls"]
        assert [call["status"] for call in calls] == [503, 200]
        assert (await http.get("/_control/syncs")).json() == {"t-1": {"posts": 1, "begun": 1}}
        assert "operation" in (await http.get("/_control/applications")).json()["app"]
        assert (await http.get("/_control/calls", params={"since": "x"})).status_code == 422
        await http.delete("/_control/calls")
        assert (await http.get("/_control/syncs")).json() == {}


async def test_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "worker_agents.devkit.argocd", "--behaviour", '{"token": "secret"}']
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY)
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with httpx.AsyncClient(base_url=url, timeout=10) as http:
            assert (await read(http)).status_code == 401
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
