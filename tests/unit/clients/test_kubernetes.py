"""What the API server is sent for a pod, and what its answers mean."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import respx
import trustme

from worker_agents.clients.kubernetes import POD_DELETION_COST, KubernetesClient, PodNotPatched
from worker_agents.telemetry.events import Event, ExternalCall

URL = "https://[fd00::1]:6443"
POD = f"{URL}/api/v1/namespaces/flow/pods/worker-0"
COST = {POD_DELETION_COST: "8"}


class World:
    def __init__(self, folder: Path) -> None:
        self.events: list[Event] = []
        self.token = folder / "token"
        self.token.write_text("first\n")
        authority = folder / "ca.crt"
        trustme.CA().cert_pem.write_to_path(str(authority))
        self.client = KubernetesClient.in_cluster(
            URL,
            namespace="flow",
            pod="worker-0",
            token_file=self.token,
            authority=authority,
            emit=self.events.append,
        )

    async def refusal(self, answer: httpx.Response | Exception) -> PodNotPatched:
        """What comes of a call that is answered like that."""
        with respx.mock() as router:
            router.patch(url__startswith=POD).mock(side_effect=[answer, answer])
            with pytest.raises(PodNotPatched) as raised:
                await self.client.annotate(COST)
            return raised.value


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    await world.client.aclose()


async def test_the_patch_as_the_api_server_reads_it(world: World) -> None:
    with respx.mock() as router:
        route = router.patch(url__startswith=POD).respond(200, json={"kind": "Pod"})
        await world.client.annotate(COST)
        request = route.calls.last.request

    assert str(request.url) == f"{POD}?fieldManager=worker-agents"
    assert request.headers.get_list("content-type") == ["application/merge-patch+json"]
    assert request.headers["authorization"] == "Bearer first"
    assert json.loads(request.content) == {
        "metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "8"}}
    }
    (call,) = world.events
    assert isinstance(call, ExternalCall)
    assert (call.integration, call.operation, call.outcome) == ("kubernetes", "patch_pod", "ok")


async def test_a_look_whether_it_would_be_done_changes_nothing(world: World) -> None:
    with respx.mock() as router:
        route = router.patch(url__startswith=POD).respond(200, json={"kind": "Pod"})
        await world.client.annotate(COST, dry_run=True)

    assert route.calls.last.request.url.query == b"fieldManager=worker-agents&dryRun=All"


async def test_a_token_that_was_rotated_is_used_from_the_next_call_on(world: World) -> None:
    with respx.mock() as router:
        route = router.patch(url__startswith=POD).respond(200)
        await world.client.annotate(COST)
        world.token.write_text("the second\n")
        await world.client.annotate(COST)

    sent = [call.request.headers["authorization"] for call in route.calls]
    assert sent == ["Bearer first", "Bearer the second"]


@pytest.mark.parametrize(
    ("answer", "kind", "words", "advice"),
    [
        (
            httpx.Response(403, json={"kind": "Status", "message": 'pods "worker-0" is forbidden:\nno RBAC'}),
            "forbidden",
            'HTTP 403: pods "worker-0" is forbidden: no RBAC',
            "grant the verb patch on pods of namespace flow to the pod's service account, by a Role and a RoleBinding",
        ),
        (
            httpx.Response(404, json={"kind": "Status", "message": "gone"}),
            "no_such_pod",
            "HTTP 404: gone",
            "POD_NAME from metadata.name",
        ),
        (httpx.Response(422, json=["odd"]), "refused", "HTTP 422", "see what the API server minds"),
        (httpx.Response(409, text="<html>"), "refused", "HTTP 409", "see what the API server minds"),
        (httpx.Response(401), "unauthenticated", "HTTP 401", "automountServiceAccountToken"),
        (httpx.Response(429), "unavailable", "HTTP 429", "network policies"),
        (httpx.Response(500), "unavailable", "HTTP 500", "KUBERNETES_API_URL"),
        (httpx.ConnectError("refused"), "unavailable", "no connection: refused", "network policies"),
        (httpx.ReadTimeout("late"), "unavailable", "no answer in time", "network policies"),
    ],
)
async def test_what_went_wrong_has_a_kind_words_and_advice(
    world: World, answer: httpx.Response | Exception, kind: str, words: str, advice: str
) -> None:
    refused = await world.refusal(answer)

    assert refused.kind == kind
    assert words in str(refused)
    assert advice in refused.advice


async def test_without_a_token_nothing_is_asked(world: World) -> None:
    world.token.unlink()

    with respx.mock() as router, pytest.raises(PodNotPatched) as raised:
        await world.client.annotate(COST)

    assert not router.calls
    assert raised.value.kind == "unauthenticated"
    assert str(world.token) in str(raised.value)


async def test_words_without_end_are_cut(world: World) -> None:
    assert len(str(await world.refusal(httpx.Response(422, json={"kind": "Status", "message": "x" * 10_000})))) < 400
