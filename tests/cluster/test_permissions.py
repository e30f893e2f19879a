"""What a pod of the chart may do at the API server: change pods of its namespace where it is told to, and nothing else."""

from collections.abc import Iterator

import pytest

from tests.cluster.conftest import restricted_namespace
from tests.cluster.release import Release
from tests.support.cluster import Cluster
from tests.support.helm import Helm
from tests.support.kubernetes_api import KubernetesApi

pytestmark = pytest.mark.cluster

COST = {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "7"}}}


@pytest.fixture
def pod(request: pytest.FixtureRequest, cluster: Cluster, helm: Helm, namespace: str) -> Iterator[KubernetesApi]:
    """The API as a pod sees it, with ``podDeletionCost.enabled`` as the parameter says."""
    helm.install("r", {"minReadySeconds": 0, "podDeletionCost": {"enabled": request.param}})
    with cluster.api(cluster.token(namespace, "r-worker-agents")) as pod:
        yield pod


@pytest.fixture
def anybody(cluster: Cluster, namespace: str) -> Iterator[KubernetesApi]:
    """The API as an account sees it that nobody has given any right."""
    with cluster.api(cluster.token(namespace, "default")) as anybody:
        yield anybody


@pytest.mark.parametrize("pod", [True], indirect=True)
def test_a_pod_may_say_what_it_costs_to_delete_it(api: KubernetesApi, pod: KubernetesApi, namespace: str) -> None:
    one = Release(api, namespace).pods()[0]["metadata"]["name"]

    pod.patch(f"/api/v1/namespaces/{namespace}/pods/{one}", COST)

    changed = api.get(f"/api/v1/namespaces/{namespace}/pods/{one}")
    assert changed["metadata"]["annotations"].items() >= COST["metadata"]["annotations"].items()


@pytest.mark.parametrize("pod", [True], indirect=True)
def test_a_pod_may_do_nothing_else(
    api: KubernetesApi, pod: KubernetesApi, anybody: KubernetesApi, namespace: str
) -> None:
    elsewhere = restricted_namespace(api)
    own = f"/api/v1/namespaces/{namespace}"
    one = Release(api, namespace).pods()[0]["metadata"]["name"]

    answers = {
        (method, path): pod.call(method, path, COST if method == "PATCH" else None).status_code
        for method, path in (
            ("GET", f"{own}/pods"),
            ("GET", f"{own}/pods/{one}"),
            ("DELETE", f"{own}/pods/{one}"),
            ("PATCH", f"{own}/pods/{one}/status"),
            ("POST", f"{own}/pods/{one}/eviction"),
            ("GET", f"{own}/secrets"),
            ("GET", f"{own}/configmaps/r-worker-agents"),
            ("PATCH", f"{own}/configmaps/r-worker-agents"),
            ("PATCH", f"/apis/apps/v1/namespaces/{namespace}/deployments/r-worker-agents"),
            ("PATCH", f"/apis/apps/v1/namespaces/{namespace}/deployments/r-worker-agents/scale"),
            ("PATCH", f"/api/v1/namespaces/{elsewhere}/pods/any"),
            ("PATCH", "/api/v1/nodes/node-zone-a"),
        )
    }

    assert {asked for asked, status in answers.items() if status != 403} == set()
    assert rights(pod, namespace) - rights(anybody, namespace) == {("patch", "", "pods")}
    assert rights(pod, elsewhere) == rights(anybody, elsewhere)


@pytest.mark.parametrize("pod", [False], indirect=True)
def test_a_pod_may_do_no_more_than_anybody_unless_it_is_told_to(
    pod: KubernetesApi, anybody: KubernetesApi, namespace: str
) -> None:
    assert rights(pod, namespace) == rights(anybody, namespace)


def rights(api: KubernetesApi, namespace: str) -> set[tuple[str, str, str]]:
    """Verb, group and resource."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    rules = api.create(review)["status"]["resourceRules"]
    return {
        (verb, group, resource)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
