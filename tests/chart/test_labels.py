"""Labels and names, whatever the release and the operator's own labels are called."""

import re
from typing import Any

import pytest
from kubernetes_validate import validate

from tests.support.chart import CASES, Manifest, render, the

EVERY_OBJECT = {"monitoring": {"podMonitor": {"enabled": True}, "dashboard": {"enabled": True}}}


def _labels(manifest: Manifest) -> dict[str, str]:
    labels: dict[str, str] = manifest["metadata"]["labels"]
    return labels


def test_common_labels_go_before_the_charts_but_for_those_that_select() -> None:
    common = {"app.kubernetes.io/part-of": "delivery", "app.kubernetes.io/name": "mine", "team": "delivery"}
    plain, labelled = render(EVERY_OBJECT), render({**EVERY_OBJECT, "commonLabels": common})

    for before, after in zip(plain, labelled, strict=True):
        name = _labels(before)["app.kubernetes.io/name"]
        assert _labels(after) == _labels(before) | common | {"app.kubernetes.io/name": name}
    assert the(labelled, "Service")["spec"] == the(plain, "Service")["spec"]
    assert the(labelled, "Deployment")["spec"]["selector"] == the(plain, "Deployment")["spec"]["selector"]


def test_an_objects_own_labels_go_before_common_ones() -> None:
    values = {
        "commonLabels": {"release": "delivery"},
        "podLabels": {"release": "workers", "app.kubernetes.io/instance": "mine"},
        "monitoring": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    }

    manifests = render(values)

    assert _labels(the(manifests, "PodMonitor"))["release"] == "prometheus"
    template = the(manifests, "Deployment")["spec"]["template"]
    assert _labels(template)["release"] == "workers"
    assert the(manifests, "Deployment")["spec"]["selector"]["matchLabels"].items() <= _labels(template).items()


@pytest.mark.parametrize("release", ["123", "true", "1e3", "0x1f", "v1.2", "r" * 53])
def test_a_release_may_be_called_anything_that_helm_allows(release: str) -> None:
    values: dict[str, Any] = {"networkPolicy": {"enabled": True}, "podDeletionCost": {"enabled": True}}

    manifests = render(values, release)

    for manifest in manifests:
        validate(manifest, "1.34", strict=True)
        assert _labels(manifest)["app.kubernetes.io/instance"] == release
        assert "." not in manifest["metadata"]["name"]  # a Service's name has none


def test_topics_may_be_called_anything_that_kafka_allows() -> None:
    values = {
        "config": {"kafka": {"ticketsTopic": "2024", "resultsTopic": "1e3", "dlqTopic": "true", "createTopics": False}},
        "topics": {
            "create": True,
            "strimziCluster": "42",
            "results": {"config": {"min.insync.replicas": 1}},
        },
    }

    topics = {one["spec"]["topicName"]: one for one in render(values) if one["kind"] == "KafkaTopic"}

    assert {name: topic["metadata"]["name"] for name, topic in topics.items()} == {
        name: name for name in ("2024", "1e3", "true", "execution.tickets.state")
    }
    assert {_labels(topic)["strimzi.io/cluster"] for topic in topics.values()} == {"42"}
    assert topics["1e3"]["spec"]["config"]["min.insync.replicas"] == 1
    assert topics["2024"]["spec"]["config"]["min.insync.replicas"] == 2


def test_what_helm_test_finds_out_holds_for_the_workers() -> None:
    """Its pod lies on the same nodes, finds others in the same way, and passes the same rules of others."""
    manifests = render(CASES / "everything.yaml")
    workers, doctor = the(manifests, "Deployment")["spec"]["template"], the(manifests, "Pod")

    same = ["nodeSelector", "tolerations", "priorityClassName", "dnsPolicy", "dnsConfig", "hostAliases", "volumes"]
    assert [doctor["spec"][name] for name in same] == [workers["spec"][name] for name in same]
    differing = dict(_labels(workers).items() - _labels(doctor).items())
    assert differing == {"app.kubernetes.io/name": "worker-agents"}
    assert doctor["metadata"]["annotations"].items() >= {"example.com/log": "json"}.items()


def test_helm_test_goes_to_the_nodes_that_workers_go_to() -> None:
    terms = [{"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]}]}]
    nodes = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    apart = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname"}]}

    doctor = the(render({"affinity": {"nodeAffinity": nodes, "podAntiAffinity": apart}}), "Pod")

    assert doctor["spec"]["affinity"] == {"nodeAffinity": nodes}


@pytest.mark.parametrize(("length", "pod"), [(40, "-5d8f9c7b6d-x2x4z"), (52, "-5d8f9x2x4z")])
def test_the_query_of_keda_finds_pods_of_long_names_too(length: int, pod: str) -> None:
    """A pod's name is 58 characters of its ReplicaSet's and a dash, and 5 of its own: of a long name the dash is cut off."""
    name = "w" * length
    spec = the(render({"fullnameOverride": name, "autoscaling": {"enabled": True, "kind": "keda"}}), "ScaledObject")[
        "spec"
    ]

    found = re.search(r'pod=~"(.*?)"', spec["triggers"][0]["metadata"]["query"])
    assert found is not None
    assert re.fullmatch(found[1], name + pod)
