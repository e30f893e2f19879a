"""What a release of the chart has become in the cluster."""

from __future__ import annotations

import httpx

from tests.support.kubernetes_api import KubernetesApi, Object


class Release:
    """Its objects bear its name."""

    def __init__(self, api: KubernetesApi, namespace: str, release: str = "r") -> None:
        self._api = api
        self._core = f"/api/v1/namespaces/{namespace}"
        self._namespace = namespace
        self._labels = f"app.kubernetes.io/instance={release},app.kubernetes.io/name=worker-agents"
        self.name = f"{release}-worker-agents"
        self.deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"

    def pods(self) -> list[Object]:
        """Those that are to stay."""
        pods = self._api.list(f"{self._core}/pods", labelSelector=self._labels)
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def uids(self) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.pods()}

    def setting(self, name: str) -> str:
        settings = self._api.get(f"{self._core}/configmaps/{self.name}")
        value: str = settings["data"][name]
        return value

    def scale(self, pods: int) -> None:
        """As a scaler does; returns when there are so many."""
        self._api.patch(f"{self.deployments}/{self.name}/scale", {"spec": {"replicas": pods}})
        self.await_pods(pods)

    def await_pods(self, pods: int) -> None:
        """Until so many are ready: `helm --wait` is content with as many as may be unavailable fewer."""
        self._api.wait(self.deployments, self.name, lambda one: _is_settled(one, pods))

    def await_budget(self, pods: int, allowed: int) -> None:
        """Until the disruption controller has counted."""
        self._api.wait(
            f"/apis/policy/v1/namespaces/{self._namespace}/poddisruptionbudgets",
            self.name,
            lambda one: (one["status"].get("expectedPods"), one["status"].get("disruptionsAllowed")) == (pods, allowed),
        )

    def await_addresses(self, addresses: set[str]) -> None:
        """Until the Service leads to these pods and to no others."""
        [found] = self._api.list(self._slices, labelSelector=f"kubernetes.io/service-name={self.name}")
        self._api.wait(
            self._slices,
            found["metadata"]["name"],
            lambda one: {address for end in one["endpoints"] or () for address in end["addresses"]} == addresses,
        )

    def evict(self, pod: Object) -> httpx.Response:
        name = pod["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        return self._api.call("POST", f"{self._core}/pods/{name}/eviction", eviction)

    @property
    def _slices(self) -> str:
        return f"/apis/discovery.k8s.io/v1/namespaces/{self._namespace}/endpointslices"


def _is_settled(deployment: Object, pods: int) -> bool:
    status = deployment["status"]
    counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
    return status.get("observedGeneration") == deployment["metadata"]["generation"] and counts == {pods}
