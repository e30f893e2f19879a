"""Values that are wrong are refused with a sentence that names them; values.yaml, its schema and settings.py say the same."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from annotated_types import Ge, Gt, Le

from tests.support.chart import CHART, Refused, render
from worker_agents.settings.model import FIELDS

VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

# The values, and what helm says of them.
WRONG_INPUT: list[tuple[dict[str, Any], str]] = [
    ({"config": {"kafka": {"bootstrapserver": "kafka:9092"}}}, "additional properties 'bootstrapserver' not allowed"),
    ({"replicas": 3}, "additional properties 'replicas' not allowed"),
    ({"replicaCount": "three"}, "at '/replicaCount': got string, want integer"),
    ({"replicaCount": -1}, "at '/replicaCount': minimum: got -1, want 0"),
    ({"image": {"digest": "latest"}}, "at '/image/digest': 'latest' does not match pattern"),
    (
        {"image": {"pullPolicy": "Sometimes"}},
        "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
    ),
    ({"config": {"fallbackMode": "ignore"}}, "at '/config/fallbackMode': value must be one of 'simulate', 'fail'"),
    ({"config": {"opa": {"url": "opa:8181"}}}, "at '/config/opa/url': 'opa:8181' does not match pattern"),
    ({"config": {"codeForge": {"url": "http://user:secret@forge"}}}, "at '/config/codeForge/url'"),
    ({"config": {"kafka": {"bootstrapServers": "kafka://kafka:9092"}}}, "at '/config/kafka/bootstrapServers'"),
    (
        {"config": {"kafka": {"sessionTimeoutSeconds": 3}}},
        "at '/config/kafka/sessionTimeoutSeconds': minimum: got 3, want 6",
    ),
    (
        {"config": {"kafka": {"ticketsTopic": "my topic"}}},
        "at '/config/kafka/ticketsTopic': 'my topic' does not match pattern",
    ),
    ({"config": {"kafka": {"saslMechanism": "GSSAPI"}}}, "at '/config/kafka/saslMechanism': value must be one of"),
    ({"config": {"trivy": {"scanners": ["vulns"]}}}, "at '/config/trivy/scanners/0': value must be one of 'vuln'"),
    ({"config": {"trivy": {"enabled": "yes"}}}, "at '/config/trivy/enabled': got string, want boolean"),
    ({"config": {"maxConcurrentTasks": 0}}, "at '/config/maxConcurrentTasks': minimum: got 0, want 1"),
    ({"config": {"testExecution": {"commandPath": "bin"}}}, "at '/config/testExecution/commandPath'"),
    ({"config": {"log": {"level": "info"}}}, "at '/config/log/level': value must be one of 'DEBUG'"),
    ({"config": {"http": {"port": 80}}}, "at '/config/http/port': minimum: got 80, want 1,024"),
    ({"scratch": {"sizeLimit": "ten gigabytes"}}, "at '/scratch/sizeLimit': 'ten gigabytes' does not match pattern"),
    ({"autoscaling": {"kind": "vpa"}}, "at '/autoscaling/kind': value must be one of 'hpa', 'keda'"),
    ({"updateStrategy": {"type": "OnDelete"}}, "at '/updateStrategy/type': value must be one of"),
    ({"secrets": {"existing": {"argocdToken": {"name": "x"}}}}, "additional properties 'argocdToken' not allowed"),
    ({"extraEnv": {"A": "b"}}, "at '/extraEnv': got object, want array"),
    ({"fullnameOverride": "Workers_1"}, "at '/fullnameOverride': 'Workers_1' does not match pattern"),
    ({"scratch": {"mountPath": "/a, b"}}, "at '/scratch/mountPath': '/a, b' does not match pattern"),
    (
        {"workspace": {"initContainer": {"image": "git:1", "volumeMounts": []}}},
        "at '/workspace/initContainer': additional properties 'volumeMounts' not allowed",
    ),
]

_SASL = {"securityProtocol": "SASL_SSL", "saslMechanism": "PLAIN", "saslUsername": "worker"}

# Values that contradict each other, and the sentence about it.
CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"replicaCount": 20}, "replicaCount: 20 pods share 12 partitions (topics.tickets.partitions); the others would never get a ticket"),
    ({"autoscaling": {"enabled": True, "maxReplicas": 13}}, "autoscaling.maxReplicas: is 13, but there are 12 partitions"),
    ({"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}, "autoscaling.minReplicas: is 5, more than"),
    ({"autoscaling": {"enabled": True, "minReplicas": 0}}, "autoscaling.minReplicas: is 0, but nothing would wake the first pod up"),
    ({"autoscaling": {"enabled": True, "ticketsPerPod": 500}}, "autoscaling.ticketsPerPod: is 500, but a pod runs 200 at once"),
    ({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}, "updateStrategy.rollingUpdate: maxSurge and maxUnavailable are both 0"),
    ({"podDeletionCost": {"enabled": True}, "serviceAccount": {"create": False}}, "serviceAccount.name: is needed with podDeletionCost.enabled"),
    ({"config": {"workerId": "worker-1"}}, "config.workerId: worker-1 would be the name of every pod"),
    ({"terminationGracePeriodSeconds": 65}, "terminationGracePeriodSeconds: is 65, but must be more than 65"),
    ({"config": {"killGraceSeconds": 20}}, "config.killGraceSeconds: is 20, more than a third of config.kafka.sessionTimeoutSeconds (45)"),
    ({"config": {"retryBackoffBaseSeconds": 90}}, "config.retryBackoffBaseSeconds: is 90, more than config.retryBackoffMaxSeconds (60)"),
    ({"config": {"otel": {"maxQueueSize": 100}}}, "config.otel.maxExportBatchSize: is 512, more than config.otel.maxQueueSize (100)"),
    ({"config": {"kafka": {"securityProtocol": "SASL_SSL"}}}, "config.kafka.saslMechanism: is needed with config.kafka.securityProtocol=SASL_SSL"),
    ({"config": {"kafka": {"saslMechanism": "PLAIN"}}}, "config.kafka.securityProtocol: is PLAINTEXT, which has no login"),
    ({"config": {"kafka": {**_SASL, "saslUsername": ""}}}, "config.kafka.saslUsername: is needed"),
    ({"config": {"kafka": _SASL}}, "secrets.kafkaSaslPassword: is needed"),
    ({"config": {"kafka": {"tls": {"ca": {"secretName": "ca"}}}}}, "config.kafka.tls: has no effect with config.kafka.securityProtocol=PLAINTEXT"),
    ({"config": {"kafka": {"dlqTopic": "execution.results"}}}, "config.kafka: two of ticketsTopic, resultsTopic, dlqTopic and stateTopic"),
    ({"topics": {"create": True}}, "config.kafka.createTopics: must be false with topics.create"),
    ({"topics": {"create": True}}, "topics.strimziCluster: is needed with topics.create"),
    ({"topics": {"create": True, "replicas": 1}}, "topics.minInSyncReplicas: is 2, more than topics.replicas (1)"),
    ({"config": {"argocd": {"enabled": True}}}, "config.argocd.url: is needed with config.argocd.enabled"),
    ({"config": {"vault": {"enabled": True}}}, "config.vault.address: is needed with config.vault.enabled"),
    ({"config": {"vault": {"enabled": True, "connectTimeoutSeconds": 600}}}, "startupProbe: ends the pod after 180 s, but it may wait for Vault for 600 s"),
    ({"config": {"vault": {"enabled": True}}, "startupProbe": {"failureThreshold": 12}}, "startupProbe: ends the pod after 60 s, but it may wait for Vault for 60 s"),
    ({"config": {"codeForge": {"url": ""}}}, "config.codeForge.url: is needed with config.codeForge.enabled"),
    ({"config": {"opa": {"url": ""}}}, "config.opa.url: is needed with config.opa.enabled"),
    ({"config": {"otel": {"tls": {"ca": {"secretName": "a", "configMapName": "b"}}}}}, "config.otel.tls.ca: set secretName or configMapName, not both"),
    ({"secrets": {"argoCdToken": "not base64"}}, "secrets.argoCdToken: is not base64"),
    ({"secrets": {"opaToken": "eA==", "existing": {"opaToken": {"name": "opa"}}}}, "secrets.opaToken: set this or secrets.existing.opaToken, not both"),
    ({"scratch": {"mountPath": "/work/scratch"}, "workspace": {"mountPath": "/work"}}, "scratch.mountPath: /work/scratch and workspace.mountPath (/work)"),
    ({"workspace": {"initContainer": {"command": ["true"]}}}, "workspace.initContainer.image: is needed"),
    ({"workspace": {"readOnly": True}}, "workspace.readOnly: needs workspace.existingClaim or workspace.initContainer"),
    ({"monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}}, "monitoring: enable podMonitor or serviceMonitor, not both"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "sentence"), WRONG_INPUT, ids=[sentence[:50] for _, sentence in WRONG_INPUT])
def test_wrong_input_is_refused_with_the_value_and_its_problem(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused) as refused:
        render(values)

    assert sentence in str(refused.value)


@pytest.mark.parametrize(("values", "sentence"), CONTRADICTIONS, ids=[sentence[:50] for _, sentence in CONTRADICTIONS])
def test_contradictions_are_refused_with_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused) as refused:
        render(values)

    assert f"\n  {sentence}" in str(refused.value)


def test_all_contradictions_are_told_at_once() -> None:
    with pytest.raises(Refused) as refused:
        render({"replicaCount": 20, "config": {"vault": {"enabled": True}}, "secrets": {"gitToken": "?"}})

    assert [line.split(":")[0] for line in str(refused.value).splitlines() if line.startswith("  ")] == [
        *("  replicaCount", "  config.vault.address", "  secrets.gitToken")
    ]


def test_a_password_may_come_from_extra_variables() -> None:
    render({"config": {"kafka": _SASL}, "extraEnv": [{"name": "KAFKA_SASL_PASSWORD_FILE", "value": "/x"}]})


def _paths(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    if "properties" not in schema:
        yield path
    for name, below in schema.get("properties", {}).items():
        yield from _paths(below, (*path, name))


def _has(values: Any, path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(values, dict) or name not in values:
            return False
        values = values[name]
    return True


def test_the_schema_knows_no_value_that_the_chart_does_not_have() -> None:
    unset = {
        *(("global",), ("enabled",)),
        *(("workspace", "initContainer", name) for name in ("image", "command", "args", "env", "envFrom", "resources")),
        *((probe, "initialDelaySeconds") for probe in _PROBES),
        *((probe, "successThreshold") for probe in _PROBES),
    }

    assert {path for path in _paths(SCHEMA) if not _has(VALUES, path)} == unset


_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


# Values with the limits that settings.py has: else a value passes the chart and the pod ends with exit code 2.
LIMITED = {
    ("config", "maxBufferedTickets"): "max_buffered_tickets",
    ("config", "maxParkedTickets"): "max_parked_tickets",
    ("config", "maxRetriesPerTicket"): "max_retries_per_ticket",
    ("config", "maxDeliveries"): "max_deliveries",
    ("config", "taskTimeoutMultiplier"): "task_timeout_multiplier",
    ("config", "dedupRetentionSeconds"): "dedup_retention_seconds",
    ("config", "killGraceSeconds"): "kill_grace_seconds",
    ("config", "resultMaxBytes"): "result_max_bytes",
    ("config", "maxConcurrentTasks"): "max_concurrent_tasks",
    ("config", "drainTimeoutSeconds"): "drain_timeout_seconds",
    ("config", "dependencyTimeoutSeconds"): "dependency_timeout_seconds",
    ("config", "kafka", "sessionTimeoutSeconds"): "kafka_session_timeout_seconds",
    ("config", "kafka", "connectTimeoutSeconds"): "kafka_connect_timeout_seconds",
    ("config", "vault", "connectTimeoutSeconds"): "vault_connect_timeout_seconds",
    ("config", "testExecution", "processLimit"): "test_process_limit",
    ("config", "otel", "scheduleDelayMilliseconds"): "otel_bsp_schedule_delay",
    ("config", "otel", "samplerArg"): "otel_traces_sampler_arg",
}


@pytest.mark.parametrize(("path", "field"), LIMITED.items(), ids=[".".join(path) for path in LIMITED])
def test_a_number_has_the_limits_that_the_worker_sets(path: tuple[str, ...], field: str) -> None:
    schema = SCHEMA
    for name in path:
        schema = schema["properties"][name]
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    limits = FIELDS[field].metadata

    assert schema.get("minimum") == max((one.ge for one in limits if isinstance(one, Ge)), default=None)
    assert schema.get("exclusiveMinimum") == max((one.gt for one in limits if isinstance(one, Gt)), default=None)
    assert schema.get("maximum") == min((one.le for one in limits if isinstance(one, Le)), default=None)
