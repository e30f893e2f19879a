"""What the chart expects of a cluster: custom kinds, and whatever its values name that is not its own."""

from __future__ import annotations

from tests.support.chart import Manifest, the
from tests.support.cluster import has_condition
from tests.support.kubernetes_api import KubernetesApi, Object

# Group, version, kind. Their fields are checked in tests/chart.
_KINDS = (
    ("keda.sh", "v1alpha1", "ScaledObject"),
    ("monitoring.coreos.com", "v1", "PodMonitor"),
    ("monitoring.coreos.com", "v1", "PrometheusRule"),
    ("monitoring.coreos.com", "v1", "ServiceMonitor"),
    ("kafka.strimzi.io", "v1beta2", "KafkaTopic"),
)


def add_custom_kinds(api: KubernetesApi) -> None:
    for group, version, kind in _KINDS:
        plural = f"{kind.lower()}s"
        api.create(
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": f"{plural}.{group}"},
                "spec": {
                    "group": group,
                    "scope": "Namespaced",
                    "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                    "versions": [{"name": version, "served": True, "storage": True, "schema": _ANYTHING}],
                },
            }
        )
        name = f"{plural}.{group}"
        api.wait("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", name, has_condition("Established"))


_ANYTHING = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}


def provide(api: KubernetesApi, namespace: str, manifests: list[Manifest]) -> None:
    """Make what the rendered manifests name: namespaces, priority classes, volumes."""
    for name in {one["metadata"].get("namespace") for one in manifests} - {None}:
        _ensure(api, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    pod = the(manifests, "Deployment")["spec"]["template"]["spec"]
    if "priorityClassName" in pod:
        _ensure(api, _priority_class(pod["priorityClassName"]))
    for claim in (
        one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one
    ):
        _provide_volume(api, namespace, claim)


def _ensure(api: KubernetesApi, manifest: Object) -> None:
    assert api.post(manifest).status_code in {201, 409}


def _priority_class(name: str) -> Object:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": 1000,
    }


def _provide_volume(api: KubernetesApi, namespace: str, claim: str) -> None:
    name = f"{namespace}-{claim}"
    common = {"storageClassName": "", "accessModes": ["ReadOnlyMany"]}
    volume = common | {"capacity": {"storage": "1Gi"}, "hostPath": {"path": "/nowhere"}}
    wanted = common | {"volumeName": name, "resources": {"requests": {"storage": "1Gi"}}}
    api.create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": volume})
    api.create(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim}, "spec": wanted}, namespace
    )
