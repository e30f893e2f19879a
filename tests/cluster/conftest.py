"""One cluster a session; a test keeps apart from others by a namespace of its own."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster.surroundings import add_custom_kinds
from tests.support.chart import cases
from tests.support.cluster import Cluster
from tests.support.helm import Helm
from tests.support.kubernetes_api import KubernetesApi


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    asyncio.run(cluster.start())
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[KubernetesApi]:
    """The administrator's."""
    with cluster.api() as api:
        yield api


@pytest.fixture(scope="session")
def custom_kinds(api: KubernetesApi) -> None:
    """KEDA's, prometheus-operator's and Strimzi's."""
    add_custom_kinds(api)


@pytest.fixture
def namespace(api: KubernetesApi) -> str:
    return restricted_namespace(api)


@pytest.fixture
def helm(cluster: Cluster, namespace: str, tmp_path: Path) -> Helm:
    return Helm(cluster.kubeconfig, namespace, tmp_path)


@pytest.fixture(params=cases(), ids=[case.stem for case in cases()])
def case(request: pytest.FixtureRequest) -> Path:
    """Each value set of tests/chart/cases in turn."""
    path: Path = request.param
    return path


def restricted_namespace(api: KubernetesApi) -> str:
    """A new namespace where the restricted Pod Security Standard is enforced, and warned of in what makes pods."""
    name = f"test-{uuid4().hex[:8]}"
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    labels |= {f"{mode}-version": "latest" for mode in labels}
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    api.wait(f"/api/v1/namespaces/{name}/serviceaccounts", "default", bool)  # without it there can be no pod
    return name
