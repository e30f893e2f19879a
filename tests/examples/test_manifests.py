"""The example manifests are what the Kubernetes API asks for, and pass the restricted Pod Security Standard."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.support.chart import ROOT
from tests.support.setup_guide import MANIFESTS, manifests

KUBERNETES = ("1.30", "1.34", "1.37")
SCHEMAS = {
    "KafkaTopic": ROOT / "tests" / "chart" / "schemas" / "KafkaTopic.json",
    "KafkaUser": Path(__file__).with_name("KafkaUser.json"),
}
NAMES = sorted(path.name for path in MANIFESTS.glob("*.yaml"))


def test_there_are_examples() -> None:
    assert NAMES == ["kafka-strimzi.yaml", "opa.yaml", "trivy-database.yaml", "trivy-server.yaml"]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", NAMES)
def test_they_fit_their_schemas(name: str, version: str) -> None:
    for manifest in manifests(name):
        schema = SCHEMAS.get(manifest["kind"])
        if schema is None:
            assert kubernetes_validate.validate(manifest, version, strict=True) == version
        else:
            jsonschema.validate(manifest, json.loads(schema.read_text()), cls=jsonschema.Draft202012Validator)


def pods(name: str) -> list[dict[str, Any]]:
    specs = [each["spec"] for each in manifests(name) if each["kind"] in {"Deployment", "CronJob"}]
    return [spec.get("jobTemplate", {"spec": spec})["spec"]["template"] for spec in specs]


@pytest.mark.parametrize("name", [name for name in NAMES if pods(name)])
def test_their_pods_pass_the_restricted_standard_and_mount_what_they_name(name: str) -> None:
    for pod in pods(name):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"].keys() == {"requests", "limits"}
            assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in spec["volumes"]}


@pytest.mark.parametrize("name", ["opa.yaml", "trivy-server.yaml"])
def test_services_lead_to_their_pods(name: str) -> None:
    deployment, service = manifests(name)
    (pod,) = pods(name)

    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    (port,), (opened,) = service["spec"]["ports"], pod["spec"]["containers"][0]["ports"]
    assert (port["targetPort"], port["port"]) == (opened["name"], opened["containerPort"])
