"""Busy pods last: which pod the real controller takes away when there are to be fewer."""

import pytest

from tests.cluster.release import Release
from tests.support.helm import Helm
from tests.support.kubernetes_api import KubernetesApi

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("busy", [0, 1, 2])
def test_the_busy_pod_stays(api: KubernetesApi, helm: Helm, namespace: str, busy: int) -> None:
    """Whichever of the pods it is: the controller's other rules would always take the same one."""
    helm.install("r", {"minReadySeconds": 0, "replicaCount": 3})
    release = Release(api, namespace)
    release.await_pods(3)
    names = sorted(pod["metadata"]["name"] for pod in release.pods())
    for number, name in enumerate(names):
        cost = {"controller.kubernetes.io/pod-deletion-cost": "40" if number == busy else "3"}
        api.patch(f"/api/v1/namespaces/{namespace}/pods/{name}", {"metadata": {"annotations": cost}})

    release.scale(1)

    assert [pod["metadata"]["name"] for pod in release.pods()] == [names[busy]]
