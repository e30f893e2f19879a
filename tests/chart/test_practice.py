"""What operators of Kubernetes expect of a chart."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import worker_agents
from tests.support.chart import CASES, CHART, Manifest, render, the, worker_of
from worker_agents.kafka.topics import DLQ_CONFIG, STATE_CONFIG

RULES = yaml.safe_load((CHART / "rules" / "worker-agents.yaml").read_text(encoding="utf-8"))


def _pods(manifests: list[Manifest]) -> list[Manifest]:
    deployment = the(manifests, "Deployment")["spec"]["template"]["spec"]
    return [deployment, *(one["spec"] for one in manifests if one["kind"] == "Pod")]


# --- pods ----------------------------------------------------------------------------------------------------------


def test_pods_pass_the_restricted_pod_security_standard(manifests: list[Manifest]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted; tests/cluster lets a real API server judge."""
    for pod in _pods(manifests):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
        assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} <= allowed
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_root_file_system_is_read_only_and_all_that_is_written_to_has_a_size(manifests: list[Manifest]) -> None:
    for pod in _pods(manifests):
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
        sizes = {
            volume["name"]: volume["emptyDir"].get("sizeLimit") for volume in pod["volumes"] if "emptyDir" in volume
        }
        assert all(sizes[name] for name in sizes.keys() & {"tmp", "scratch", "workspace", "trivy-cache"})
        mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_no_token_of_the_service_account_is_mounted_unless_it_is_used(manifests: list[Manifest], case: Path) -> None:
    needed = case.stem in {"busy-pods-last", "everything", "network-policy"}

    assert all(pod["automountServiceAccountToken"] is needed for pod in _pods(manifests))
    assert ("Role" in {one["kind"] for one in manifests}) is needed


def test_a_vault_login_has_a_token_for_vault_alone() -> None:
    [volume] = [one for one in _pods(render(CASES / "vault.yaml"))[0]["volumes"] if one["name"] == "vault-login"]

    [source] = volume["projected"]["sources"]
    assert source == {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600, "audience": "vault"}}


def test_a_pod_may_change_pods_and_nothing_else() -> None:
    role = the(render(CASES / "busy-pods-last.yaml"), "Role")

    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]


@pytest.mark.parametrize(
    ("config", "least"),
    [({}, 65), ({"drainTimeoutSeconds": 0}, 35), ({"drainTimeoutSeconds": 600, "killGraceSeconds": 10}, 640)],
)
def test_pods_have_time_to_hand_over(config: dict[str, Any], least: int) -> None:
    manifests = render({"config": config})

    grace = _pods(manifests)[0]["terminationGracePeriodSeconds"]
    assert grace == least + 30
    assert the(manifests, "ConfigMap")["data"]["TERMINATION_GRACE_PERIOD_SECONDS"] == str(grace)


def test_the_start_is_waited_for_longer_than_vault_may_take() -> None:
    worker = worker_of(render(CASES / "vault.yaml"))

    probe = worker["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > 60 + 60
    assert [worker[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")] == [
        *("/health", "/health", "/ready")
    ]


def test_pods_roll_when_and_only_when_what_they_are_told_changes() -> None:
    def checksums(values: dict[str, Any]) -> dict[str, str]:
        annotations: dict[str, str] = the(render(values), "Deployment")["spec"]["template"]["metadata"]["annotations"]
        return annotations

    before = checksums({})

    assert checksums({"replicaCount": 3, "service": {"port": 80}}) == before
    assert checksums({"config": {"maxDeliveries": 7}})["checksum/config"] != before["checksum/config"]
    assert checksums({"secrets": {"opaToken": "eA=="}})["checksum/secret"] != before["checksum/secret"]


def test_a_token_in_the_values_is_base64_already_and_stands_in_the_secret_as_it_is() -> None:
    manifests = render({"secrets": {"argoCdToken": "YXJnb2NkLXRva2Vu"}})

    assert the(manifests, "Secret")["data"] == {"ARGOCD_TOKEN": "YXJnb2NkLXRva2Vu"}


def test_a_secret_of_somebody_elses_is_not_made_again() -> None:
    manifests = render({"secrets": {"existing": {"argoCdToken": {"name": "argocd"}}}})

    assert "Secret" not in {one["kind"] for one in manifests}
    assert {"name": "ARGOCD_TOKEN", "valueFrom": {"secretKeyRef": {"name": "argocd", "key": "token"}}} in worker_of(
        manifests
    )["env"]


# --- names -----------------------------------------------------------------------------------------------------------


def test_services_budgets_and_spreading_select_the_workers_and_not_the_pod_of_helm_test(
    manifests: list[Manifest],
) -> None:
    labels = the(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    doctor = the(manifests, "Pod")["metadata"]["labels"]
    selectors = [
        the(manifests, "Service")["spec"]["selector"],
        the(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]
    spec = the(manifests, "Deployment")["spec"]
    selectors += [spec["selector"]["matchLabels"]]
    selectors += [
        one["labelSelector"]["matchLabels"] for one in spec["template"]["spec"].get("topologySpreadConstraints", [])
    ]

    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= doctor.items()


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("r", {}, "r-worker-agents"),
        ("worker-agents", {}, "worker-agents"),
        ("r", {"nameOverride": "tests"}, "r-tests"),
        ("r", {"fullnameOverride": "workers"}, "workers"),
        ("r", {"fullnameOverride": "w" * 80}, "w" * 52),
    ],
)
def test_names_are_short_enough_and_can_be_chosen(release: str, values: dict[str, Any], name: str) -> None:
    manifests = render({**values, "monitoring": {"dashboard": {"enabled": True}}}, release)

    names = {one["metadata"]["name"] for one in manifests}
    assert names == {name, f"{name}-dashboard", f"{name}-doctor"}
    assert max(map(len, names)) <= 63


def test_two_releases_share_nothing() -> None:
    first, second = (render({}, release) for release in ("one", "two"))

    def identities(manifests: list[Manifest]) -> set[tuple[str, str]]:
        return {(one["kind"], one["metadata"]["name"]) for one in manifests}

    assert identities(first).isdisjoint(identities(second))


def test_the_charts_version_of_the_program_is_the_programs_own() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))

    assert chart["appVersion"] == worker_agents.__version__


# --- scaling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hpa", "keda", "keda-from-zero"])
def test_the_scaler_alone_sets_the_number_of_pods(name: str) -> None:
    assert "replicas" not in the(render(CASES / f"{name}.yaml"), "Deployment")["spec"]


@pytest.mark.parametrize(("name", "kind"), [("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")])
def test_scaling_goes_by_unfinished_tickets_and_slowly_down(name: str, kind: str) -> None:
    spec = the(render(CASES / f"{name}.yaml"), kind)["spec"]

    assert "worker_agents_unfinished_tickets" in json.dumps(spec)
    behavior = spec.get("behavior") or spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 600
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 300}]


@pytest.mark.parametrize(("name", "ignored"), [("keda", "false"), ("keda-from-zero", "true")])
def test_an_outage_of_prometheus_takes_no_pods_away(name: str, ignored: str) -> None:
    """Without numbers nobody knows how much there is to do, unless there may be no worker to tell any."""
    spec = the(render(CASES / f"{name}.yaml"), "ScaledObject")["spec"]

    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert spec["triggers"][0]["metadata"]["ignoreNullValues"] == ignored


def test_lag_wakes_the_first_pod_and_never_says_how_many_there_are_to_be() -> None:
    triggers = the(render(CASES / "keda-from-zero.yaml"), "ScaledObject")["spec"]["triggers"]

    assert [trigger["type"] for trigger in triggers] == ["prometheus", "cpu", "kafka"]
    assert int(triggers[2]["metadata"]["lagThreshold"]) > 50_000 * 12


# --- network -----------------------------------------------------------------------------------------------------------


def test_egress_is_open_to_what_is_enabled_and_to_nothing_else() -> None:
    enabled = render({"networkPolicy": {"enabled": True}})
    alone = render(
        {
            "networkPolicy": {"enabled": True},
            "config": {"codeForge": {"enabled": False}, "opa": {"enabled": False}, "trivy": {"enabled": False}},
        }
    )

    assert _ports(enabled) == [{53}, {8080}, {8000}, {9092}, {8181}, {443}]
    assert _ports(alone) == [{53}, {8080}, {9092}]


@pytest.mark.parametrize(
    ("protocol", "address", "port"),
    [
        ("grpc", "http://collector:4317", 4317),
        ("grpc", "http://collector", 443),
        ("grpc", "https://collector", 443),
        ("http/protobuf", "http://collector", 80),
        ("http/protobuf", "https://collector", 443),
    ],
)
def test_a_collector_is_reached_at_the_port_that_is_taken_where_none_is_named(
    protocol: str, address: str, port: int
) -> None:
    config = {"otel": {"protocol": protocol, "endpoint": address}, "trivy": {"enabled": False}}

    assert _ports(render({"networkPolicy": {"enabled": True}, "config": config}))[-1] == {port}


def _ports(manifests: list[Manifest]) -> list[set[int | str]]:
    spec = the(manifests, "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    return [{port["port"] for port in rule["ports"]} for rule in spec["egress"]]


def test_egress_goes_where_the_values_say() -> None:
    rules = the(render(CASES / "network-policy.yaml"), "NetworkPolicy")["spec"]["egress"]

    open_rules = [rule for rule in rules if "to" not in rule]
    assert [port["port"] for rule in open_rules for port in rule["ports"]] == [4317]  # its peers are not given


@pytest.mark.parametrize("peers", [[], [{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}]])
def test_workers_reach_each_other_whoever_else_may_reach_them(peers: list[Manifest]) -> None:
    manifests = render({"networkPolicy": {"enabled": True, "ingress": {"from": peers}}})

    workers = {"podSelector": {"matchLabels": the(manifests, "Service")["spec"]["selector"]}}
    spec = the(manifests, "NetworkPolicy")["spec"]
    assert spec["ingress"][0]["from"] == [workers, *(peers or [{"podSelector": {}}])]
    assert workers in spec["egress"][1]["to"]


# --- files of the chart ----------------------------------------------------------------------------------------------------


def test_the_alerts_are_those_of_the_rules_file() -> None:
    assert the(render(CASES / "service-monitor.yaml"), "PrometheusRule")["spec"] == RULES


def test_alerts_can_say_where_the_runbook_is() -> None:
    expected = copy.deepcopy(RULES)
    for group in expected["groups"]:
        for rule in group["rules"]:
            annotations = rule["annotations"]
            annotations["runbook_url"] = f"https://git.example/worker-agents/blob/main/{annotations.pop('runbook')}"

    assert the(render(CASES / "monitoring.yaml"), "PrometheusRule")["spec"] == expected


def test_the_dashboard_is_the_file() -> None:
    [dashboard] = [one for one in render(CASES / "monitoring.yaml") if one["metadata"]["name"].endswith("-dashboard")]

    assert dashboard["data"] == {
        "worker-agents.json": (CHART / "dashboards" / "worker-agents.json").read_text(encoding="utf-8")
    }
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_topics_are_what_a_worker_looks_for() -> None:
    topics = {
        one["spec"]["topicName"]: one["spec"]
        for one in render(CASES / "strimzi-topics.yaml")
        if one["kind"] == "KafkaTopic"
    }

    assert {name: topic["partitions"] for name, topic in topics.items()} == {
        "execution.tickets": 24,
        "execution.tickets.state": 24,
        "execution.results": 6,
        "Execution_Tickets.DLQ": 3,
    }
    assert _config(STATE_CONFIG).items() <= _config(topics["execution.tickets.state"]["config"]).items()
    assert _config(DLQ_CONFIG).items() <= _config(topics["Execution_Tickets.DLQ"]["config"]).items()


def _config(entries: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in entries.items()}


def test_objects_of_ones_own_may_hold_templates() -> None:
    found = {one["metadata"]["name"]: one for one in render(CASES / "everything.yaml")}

    assert found["delivery-workers-extra"]["data"] == {"release": "r"}
    assert found["second"]["data"] == {"text": "delivery.tickets"}


# --- notes -----------------------------------------------------------------------------------------------------------------


def _warnings(values: dict[str, Any]) -> str:
    """NOTES.txt is not part of `helm template`, so an object of one's own asks for its part."""
    text = '{apiVersion: v1, kind: Notes, metadata: {name: notes}, text: {{ include "worker-agents.warnings" . | toJson }}}'
    warnings: str = the(render({**values, "extraObjects": [text]}), "Notes")["text"]
    return warnings


def test_what_is_allowed_and_seldom_meant_is_told() -> None:
    usual = _warnings({})
    careful = _warnings(
        {
            "config": {"fallbackMode": "fail", "kafka": {"securityProtocol": "SSL", "createTopics": False}},
            "secrets": {"existing": {"adminToken": {"name": "admin"}}},
        }
    )

    assert "config.fallbackMode is" in usual
    assert "secrets.adminToken" in usual
    assert careful.strip() == ""


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({"config": {"argocd": {"enabled": True, "url": "https://a"}}}, "there is no token"),
        (
            {"networkPolicy": {"enabled": True}},
            "networkPolicy.egress.opa.to is empty: any address may be reached at 8181",
        ),
        (
            {"networkPolicy": {"enabled": True}, "monitoring": {"podMonitor": {"enabled": True}}},
            "A Prometheus in another one needs a rule",
        ),
        ({"secrets": {"asFiles": True}}, "code under test could read the secrets"),
        ({"secrets": {"codeForgeToken": "eA=="}}, "its token is sent in the clear"),
        ({"workspace": {"existingClaim": "sources"}}, "tests of different pods can disturb each other"),
        ({"trivyCache": {"existingClaim": "database"}}, "two at once can spoil it"),
    ],
)
def test_warnings(values: dict[str, Any], warning: str) -> None:
    assert warning in _warnings(values)
