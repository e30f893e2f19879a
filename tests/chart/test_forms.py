"""Values in the forms that people give them: on the command line, as null, in extraEnv, from a parent chart."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from tests.support.chart import CHART, environment_of, render, render_text, the, worker_of
from tests.support.tools import tool
from worker_agents.settings import load_settings
from worker_agents.settings.model import FIELDS


def test_an_empty_list_on_the_command_line_is_an_empty_list() -> None:
    """Helm makes a list of one empty text of it; as an empty variable it would be the default, which allows four commands."""
    empty = ["--set", "config.testExecution.allowedCommands={}", "--set", "config.supportedTaskTypes={}"]

    settings = load_settings(environment_of(render({}, options=empty)))

    assert settings.allowed_test_commands == ()
    assert settings.supported_task_types is None


@pytest.mark.parametrize(
    ("options", "variable", "value"),
    [
        (["--set", "config.supportedTaskTypes={TEST,BUILD}"], "SUPPORTED_TASK_TYPES", "TEST,BUILD"),
        (["--set", r"config.kafka.bootstrapServers=a:1\,b:2"], "KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2"),
        (["--set", "config.kafka.bootstrapServers={a:1,b:2}"], "KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2"),
        (["--set", "config.maxParkedTickets=1000000"], "MAX_PARKED_TICKETS", "1000000"),
        (["--set-json", "config.maxParkedTickets=1e7"], "MAX_PARKED_TICKETS", "10000000"),
        (["--set-json", "config.otel.samplerArg=0.1"], "OTEL_TRACES_SAMPLER_ARG", "0.1"),
        (["--set-string", "config.kafka.consumerGroupId=1e3"], "KAFKA_CONSUMER_GROUP_ID", "1e3"),
        (["--set-string", "config.kafka.consumerGroupId=a$(b) \"c\": '#d' é"], "KAFKA_CONSUMER_GROUP_ID", "a$(b) \"c\": '#d' é"),
        (["--set-string", "config.vault.namespace=a\nb"], "VAULT_NAMESPACE", "a\nb"),
        (["--set", "config.drainTimeoutSeconds=2000000"], "TERMINATION_GRACE_PERIOD_SECONDS", "2000065"),
    ],
)  # fmt: skip
def test_values_on_the_command_line(options: list[str], variable: str, value: str) -> None:
    assert environment_of(render({}, options=options))[variable] == value


def test_a_long_drain_is_a_whole_number_of_seconds() -> None:
    pod = the(render({"config": {"drainTimeoutSeconds": 2_000_000}}), "Deployment")["spec"]["template"]["spec"]

    assert repr(pod["terminationGracePeriodSeconds"]) == "2000065"


def test_ids_may_be_left_to_openshift() -> None:
    ids = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}

    pod = the(render({"podSecurityContext": ids}), "Deployment")["spec"]["template"]["spec"]

    assert not ids.keys() & pod["securityContext"].keys()
    assert pod["securityContext"]["runAsNonRoot"] is True


def test_null_takes_away() -> None:
    lists = ("extraEnv", "extraEnvFrom", "commonLabels", "podLabels", "affinity", "tolerations", "startupProbe")

    worker = worker_of(render(dict.fromkeys(lists)))

    assert "startupProbe" not in worker
    assert worker["livenessProbe"]["httpGet"] == {"path": "/health", "port": "http"}


def _below(values: dict[str, Any]) -> dict[str, Any]:
    """The same, with null in place of everything that is no mapping."""
    return {name: _below(value) if isinstance(value, dict) else None for name, value in values.items()}


def test_null_is_the_workers_own_default() -> None:
    """values.yaml says so of all of `config`; addresses are needed by what is enabled."""
    config = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["config"]
    addresses = {name: {"url": config[name]["url"]} for name in ("codeForge", "opa")}
    unset = _below(config)
    unset |= {name: unset[name] | address for name, address in addresses.items()}

    manifests = render({"config": unset, "secrets": {"argoCdToken": None}, "networkPolicy": {"enabled": True}})

    for manifest in manifests:
        validate(manifest, "1.34", strict=True)
    told = environment_of(manifests)
    given, usual = load_settings(told), load_settings(environment_of(render({})))
    differing = {name for name in FIELDS if getattr(given, name) != getattr(usual, name)}
    assert differing <= {"worker_id", "kafka_bootstrap_servers"}


def test_what_is_rendered_depends_on_nothing_but_the_values() -> None:
    values = {"networkPolicy": {"enabled": True}, "autoscaling": {"enabled": True}}

    assert render_text(values) == render_text(values)


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"name": "ARGOCD_TOKEN", "value": "another"}, "another"),
        ({"name": "ARGOCD_TOKEN_FILE", "value": "token"}, "from a file"),
    ],
)
def test_extra_variables_take_the_place_of_the_charts(
    extra: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("token").write_text("from a file\n")
    host = {"name": "HTTP_ADVERTISED_HOST", "value": "workers.example"}

    manifests = render({"secrets": {"argoCdToken": "eA=="}, "extraEnv": [extra, host]})

    names = [entry["name"] for entry in worker_of(manifests)["env"]]
    assert len(names) == len(set(names))
    settings = load_settings(environment_of(manifests))
    assert settings.argocd_token.get_secret_value() == told
    assert settings.http_advertised_host == "workers.example"


def test_git_too_trusts_the_bundle_of_certificates() -> None:
    told = environment_of(render({"trustedCertificates": {"configMapName": "authorities"}}))

    assert told["GIT_SSL_CAINFO"] == told["SSL_CERT_FILE"] == "/etc/worker-agents/trusted/ca-bundle.crt"


@pytest.mark.parametrize(
    ("workspace", "is_read_only"),
    [({}, False), ({"readOnly": True}, True), ({"readOnly": True, "initContainer": {"image": "git:1"}}, False)],
)
def test_a_claim_is_asked_for_as_it_is_used(workspace: dict[str, Any], is_read_only: bool) -> None:
    """A volume that many nodes may only read is given to nobody who might write."""
    manifests = render({"workspace": {"existingClaim": "sources", **workspace}})

    volumes = the(manifests, "Deployment")["spec"]["template"]["spec"]["volumes"]
    [claim] = [volume["persistentVolumeClaim"] for volume in volumes if volume["name"] == "workspace"]
    assert claim.get("readOnly", False) is is_read_only


def test_a_parent_chart_may_have_it_twice_and_switch_it_off(tmp_path: Path) -> None:
    """The usual condition of a dependency stands among the dependency's own values."""
    used = {"name": "worker-agents", "version": "*", "repository": f"file://{CHART}"}
    dependencies = [{**used, "alias": name, "condition": f"{name}.enabled"} for name in ("workers", "tests", "off")]
    parent = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": dependencies}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(parent))
    update = [tool("helm"), "dependency", "update", tmp_path, "--skip-refresh"]
    subprocess.run(update, capture_output=True, timeout=60, check=True)
    own = {"workers": {"enabled": True}, "tests": {"enabled": True}, "off": {"enabled": False}}

    manifests = render({"global": {"region": "eu"}, **own}, chart=tmp_path)

    found = [one for one in manifests if one["kind"] == "Deployment"]
    assert sorted(one["metadata"]["name"] for one in found) == ["r-tests", "r-workers"]
    first, second = (one["spec"]["selector"]["matchLabels"] for one in found)
    assert first != second
