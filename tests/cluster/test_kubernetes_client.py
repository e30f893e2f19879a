"""What a real API server says to the worker's client: unit tests have its answers from the documentation only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cluster.release import Release
from tests.support.cluster import Cluster
from tests.support.helm import Helm
from tests.support.kubernetes_api import KubernetesApi
from worker_agents.clients.kubernetes import POD_DELETION_COST, KubernetesClient, PatchTrouble, PodNotPatched

pytestmark = pytest.mark.cluster


class Pod:
    """A pod that may say what it costs, and the client in it."""

    def __init__(self, cluster: Cluster, release: Release, namespace: str, folder: Path) -> None:
        self._cluster = cluster
        self._release = release
        self._namespace = namespace
        self._token = folder / "token"
        self.name = release.pods()[0]["metadata"]["name"]
        self.be(release.name)

    def be(self, account: str) -> None:
        """Have the token of this service account from now on."""
        self._token.write_text(self._cluster.token(self._namespace, account))

    def be_nobody(self) -> None:
        self._token.write_text("made-up")

    async def say(self, cost: str, *, name: str = "", dry_run: bool = False) -> None:
        async with self._client(name or self.name) as client:
            await client.annotate({POD_DELETION_COST: cost}, dry_run=dry_run)

    async def trouble(self, cost: str = "8", *, name: str = "") -> PatchTrouble:
        with pytest.raises(PodNotPatched) as raised:
            await self.say(cost, name=name)
        return raised.value.kind

    def annotations(self) -> dict[str, str]:
        [found] = [pod for pod in self._release.pods() if pod["metadata"]["name"] == self.name]
        annotations: dict[str, str] = found["metadata"]["annotations"]
        return annotations

    @asynccontextmanager
    async def _client(self, name: str) -> AsyncIterator[KubernetesClient]:
        client = KubernetesClient.in_cluster(
            self._cluster.url,
            namespace=self._namespace,
            pod=name,
            token_file=self._token,
            authority=self._cluster.authority,
            emit=lambda _event: None,
        )
        try:
            yield client
        finally:
            await client.aclose()


@pytest.fixture
def pod(cluster: Cluster, api: KubernetesApi, helm: Helm, namespace: str, tmp_path: Path) -> Pod:
    helm.install("r", {"minReadySeconds": 0, "replicaCount": 1, "podDeletionCost": {"enabled": True}})
    release = Release(api, namespace)
    release.await_pods(1)
    return Pod(cluster, release, namespace, tmp_path)


async def test_the_cost_is_set_and_other_annotations_stay(pod: Pod) -> None:
    before = pod.annotations()
    assert before

    await pod.say("64", dry_run=True)
    assert pod.annotations() == before

    await pod.say("64")
    assert pod.annotations() == before | {POD_DELETION_COST: "64"}


async def test_what_stands_in_the_way_is_told(pod: Pod) -> None:
    assert await pod.trouble("many") is PatchTrouble.REFUSED
    assert await pod.trouble(name="gone") is PatchTrouble.NO_SUCH_POD

    pod.be("default")
    assert await pod.trouble() is PatchTrouble.FORBIDDEN

    pod.be_nobody()
    assert await pod.trouble() is PatchTrouble.UNAUTHENTICATED
