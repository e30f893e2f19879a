"""Busy pods last: which pod the real controller takes away when there are to be fewer."""

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.release import Release
from tests.support.cluster import Cluster
from tests.support.fleet import fleet, probe
from tests.support.helm import Helm
from tests.support.kubernetes_api import KubernetesApi
from tests.support.waiting import until

pytestmark = pytest.mark.cluster

COST = "controller.kubernetes.io/pod-deletion-cost"


@pytest.mark.parametrize("busy", [0, 1, 2])
def test_the_busy_pod_stays(api: KubernetesApi, helm: Helm, namespace: str, busy: int) -> None:
    """Whichever of the pods it is: the controller's other rules would always take the same one."""
    helm.install("r", {"minReadySeconds": 0, "replicaCount": 3})
    release = Release(api, namespace)
    release.await_pods(3)
    names = sorted(pod["metadata"]["name"] for pod in release.pods())
    for number, name in enumerate(names):
        cost = {COST: "40" if number == busy else "3"}
        api.patch(f"/api/v1/namespaces/{namespace}/pods/{name}", {"metadata": {"annotations": cost}})

    release.scale(1)

    assert [pod["metadata"]["name"] for pod in release.pods()] == [names[busy]]


@pytest.fixture
def release(api: KubernetesApi, helm: Helm, namespace: str) -> Release:
    """Three pods that may say what they cost."""
    helm.install("r", {"minReadySeconds": 0, "replicaCount": 3, "podDeletionCost": {"enabled": True}})
    release = Release(api, namespace)
    release.await_pods(3)
    return release


@pytest.fixture
def in_a_pod(release: Release, cluster: Cluster, namespace: str, tmp_path: Path) -> dict[str, str]:
    """What a worker is given in these pods, but for their names, and what the kubelet mounts."""
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text(cluster.token(namespace, release.name))
    (account / "ca.crt").write_bytes(cluster.authority.read_bytes())
    return {
        "POD_DELETION_COST_ENABLED": "true",
        "POD_NAMESPACE": namespace,
        "KUBERNETES_API_URL": cluster.url,
        "SERVICE_ACCOUNT_DIRECTORY": str(account),
        "LOOK_SECONDS": "0.2",
    }


async def test_a_worker_with_work_in_flight_keeps_its_pod(
    release: Release, in_a_pod: dict[str, str], kafka: Any, tmp_path: Path
) -> None:
    """Real workers, one for each pod, tell the API server what they hold."""

    def costs() -> dict[str, str | None]:
        pods = [pod["metadata"] for pod in release.pods()]
        return {pod["name"]: pod.get("annotations", {}).get(COST) for pod in pods}

    async with fleet(kafka.bootstrap_servers, tmp_path, partitions=3) as ships:
        for name in costs():
            ships.worker(POD_NAME=name, **in_a_pod)
        assert await until(lambda: set(costs().values()) == {"0"}, 40), costs()
        await ships.submit([probe("long", sleep_ms=3 * 3_600_000)])
        assert await until(lambda: sorted(map(str, costs().values())) == ["0", "0", "8"], 40), costs()
        (busy,) = [name for name, cost in costs().items() if cost == "8"]

        release.scale(1)

        assert list(costs()) == [busy]
