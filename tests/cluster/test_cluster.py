"""The cluster that the other tests stand on: it runs what is restricted, and refuses what is not."""

import pytest

from tests.support.cluster import ZONES, Cluster, has_condition
from tests.support.kubernetes_api import KubernetesApi, Object

pytestmark = pytest.mark.cluster

LABELS = {"app": "sleeper"}
POD = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "sleeper",
            "image": "sleeper",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}
SPREAD = {
    "maxSkew": 1,
    "topologyKey": "topology.kubernetes.io/zone",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": LABELS},
}


def test_a_deployment_of_restricted_pods_becomes_available_in_all_zones(api: KubernetesApi, namespace: str) -> None:
    answer = api.post(_deployment(POD | {"topologySpreadConstraints": [SPREAD]}), namespace)

    assert "warning" not in answer.headers
    api.wait(f"/apis/apps/v1/namespaces/{namespace}/deployments", "sleeper", has_condition("Available"))
    pods = api.list(f"/api/v1/namespaces/{namespace}/pods")
    assert {pod["spec"]["nodeName"] for pod in pods} == {f"node-{zone}" for zone in ZONES}
    assert {pod["status"]["phase"] for pod in pods} == {"Running"}


def test_a_pod_that_runs_as_root_is_refused_and_a_deployment_of_such_is_warned_of(
    api: KubernetesApi, namespace: str
) -> None:
    root = POD | {"securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}, "spec": root}

    refused = api.post(pod, namespace)
    warned = api.post(_deployment(root), namespace)

    assert refused.status_code == 403
    assert 'violates PodSecurity "restricted:latest": runAsNonRoot != true' in refused.json()["message"]
    assert "would violate PodSecurity" in warned.headers["warning"]


def test_somebody_without_a_name_may_ask_nothing(cluster: Cluster) -> None:
    with cluster.api(token="made-up") as stranger:
        assert stranger.call("GET", "/api/v1/namespaces").status_code == 401


def _deployment(pod: Object) -> Object:
    template = {"metadata": {"labels": LABELS}, "spec": pod}
    spec = {"replicas": len(ZONES), "selector": {"matchLabels": LABELS}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "sleeper"}, "spec": spec}
