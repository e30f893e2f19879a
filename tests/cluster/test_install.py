"""The chart's life with the real helm: install, upgrade, roll back, test, uninstall; every pod under the restricted standard."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.release import Release
from tests.cluster.surroundings import provide
from tests.support.chart import CASES, cases, render
from tests.support.cluster import Cluster
from tests.support.helm import Helm, HelmFailed
from tests.support.kubernetes_api import KubernetesApi
from tests.support.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("custom_kinds")]
QUICK: dict[str, Any] = {"minReadySeconds": 0}


@pytest.fixture
def release(api: KubernetesApi, namespace: str) -> Release:
    return Release(api, namespace)


def test_every_value_set_is_installed_and_its_pods_run(
    api: KubernetesApi, helm: Helm, namespace: str, case: Path
) -> None:
    provide(api, namespace, render(case))

    said = helm.install("r", case)

    assert "Warning" not in said
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    [deployment] = api.list(deployments)
    # `helm --wait` is content with as many as may be unavailable fewer.
    api.wait(
        deployments,
        deployment["metadata"]["name"],
        lambda one: one["status"].get("readyReplicas") == one["spec"]["replicas"],
    )
    helm.uninstall("r")


def test_a_release_can_be_upgraded_from_any_value_set_to_the_next(
    api: KubernetesApi, helm: Helm, namespace: str
) -> None:
    """No field that may not change, none that two values fill."""
    helm.install("r", QUICK)
    for case in cases():
        provide(api, namespace, render(case))
        helm.upgrade("r", case, "--wait=false")
    helm.uninstall("r")


def test_pods_that_are_not_restricted_do_not_start(helm: Helm, release: Release) -> None:
    with pytest.raises(HelmFailed, match=r"would violate PodSecurity .*runAsUser=0"):
        helm.install("r", QUICK | {"podSecurityContext": {"runAsUser": 0}}, "--timeout=3s")

    assert release.pods() == []


def test_pods_are_replaced_only_when_their_settings_change_and_a_rollback_brings_the_old_ones_back(
    helm: Helm, release: Release
) -> None:
    helm.install("r", QUICK)
    release.await_pods(2)
    first = release.uids()
    helm.upgrade("r", QUICK | {"service": {"port": 80}})
    assert release.uids() == first

    helm.upgrade("r", QUICK | {"config": {"maxDeliveries": 7}})
    release.await_pods(2)
    second = release.uids()
    assert (len(second), second & first) == (2, set())
    assert release.setting("MAX_DELIVERIES") == "7"

    helm.rollback("r")
    release.await_pods(2)
    third = release.uids()
    assert (len(third), third & (first | second)) == (2, set())
    assert release.setting("MAX_DELIVERIES") == "5"


def test_an_upgrade_leaves_the_number_of_pods_to_the_scaler(helm: Helm, release: Release) -> None:
    scaled = QUICK | {"autoscaling": {"enabled": True}}
    helm.install("r", scaled)
    release.await_pods(2)  # the autoscaler's least; it has no metrics to go by
    release.scale(5)

    helm.upgrade("r", scaled | {"config": {"maxDeliveries": 7}})

    release.await_pods(5)
    assert release.setting("MAX_DELIVERIES") == "7"


async def test_nothing_is_left_after_an_uninstallation(api: KubernetesApi, helm: Helm, namespace: str) -> None:
    everything = {
        **_everything(api, namespace),
        "topics": {"create": True, "strimziCluster": "delivery", "keep": False},
    }
    before = api.contents(namespace)
    helm.install("r", everything)
    assert {kind for kind, _ in api.contents(namespace) - before} >= {"Secret", "Pod", "ScaledObject", "KafkaTopic"}

    helm.uninstall("r")

    await _left(api, namespace, before, set())


async def test_topics_outlive_the_installation_unless_told_otherwise(
    api: KubernetesApi, helm: Helm, namespace: str
) -> None:
    everything = _everything(api, namespace)
    before = api.contents(namespace)
    helm.install("r", everything)

    helm.uninstall("r")

    topics = ("delivery.tickets", "delivery.results", "delivery.tickets.dlq", "delivery.tickets.state")
    await _left(api, namespace, before, {("KafkaTopic", topic) for topic in topics})


async def test_the_pod_of_helm_test_stays_with_its_log_and_nothing_else_does(
    api: KubernetesApi, helm: Helm, namespace: str, release: Release
) -> None:
    before = api.contents(namespace)
    helm.install("r", QUICK)

    said = helm.test("r")
    helm.test("r")  # the pod of the first time is no obstacle
    helm.uninstall("r")

    assert "Phase:          Succeeded" in said
    await _left(api, namespace, before, {("Pod", f"{release.name}-doctor")})


def test_two_releases_in_a_namespace_do_not_touch_each_other(api: KubernetesApi, helm: Helm, namespace: str) -> None:
    sizes = {"one": 2, "two": 3}
    for name, size in sizes.items():
        helm.install(name, QUICK | {"replicaCount": size})
        Release(api, namespace, name).await_pods(size)
    releases = {name: Release(api, namespace, name) for name in sizes}

    for name, size in sizes.items():
        pods = releases[name].pods()
        assert len(pods) == size
        releases[name].await_addresses({pod["status"]["podIP"] for pod in pods})
        releases[name].await_budget(size, 1)
    second = releases["two"].uids()
    helm.uninstall("one")
    assert releases["two"].uids() == second


@pytest.mark.parametrize(("values", "mounted"), [("minimal", False), ("vault", False), ("busy-pods-last", True)])
def test_pods_get_a_token_for_the_api_server_only_where_they_ask_it(
    api: KubernetesApi, helm: Helm, namespace: str, values: str, mounted: bool
) -> None:
    """The API server adds the volume on its own, unless it is told not to."""
    helm.install("r", CASES / f"{values}.yaml")

    [pod, *_] = api.list(f"/api/v1/namespaces/{namespace}/pods")
    assert any(volume["name"].startswith("kube-api-access-") for volume in pod["spec"]["volumes"]) is mounted


def test_one_pod_may_be_evicted_at_a_time(cluster: Cluster, helm: Helm, release: Release) -> None:
    helm.install("r", QUICK | {"replicaCount": 3})
    release.await_budget(3, 1)
    first, second, _third = release.pods()

    cluster.freeze_nodes()  # the pod in place of the first does not become ready
    try:
        assert release.evict(first).status_code == 201
        refused = release.evict(second)
    finally:
        cluster.thaw_nodes()

    assert refused.status_code == 429
    assert "would violate the pod's disruption budget" in refused.json()["message"]


def _everything(api: KubernetesApi, namespace: str) -> dict[str, Any]:
    case = CASES / "everything.yaml"
    provide(api, namespace, render(case))
    values: dict[str, Any] = yaml.safe_load(case.read_text(encoding="utf-8"))
    return values | QUICK


async def _left(api: KubernetesApi, namespace: str, before: set[tuple[str, str]], left: set[tuple[str, str]]) -> None:
    """Controllers take pods and the like away, and helm does not wait for them."""
    await until(lambda: api.contents(namespace) - before == left, patience=30)
    assert api.contents(namespace) - before == left
