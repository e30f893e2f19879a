"""What the chart tells a worker is what settings.py understands, and it can tell all of it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chart import CASES, CHART, Manifest, environment_of, render, secret_data, the
from worker_agents.settings import Settings, load_settings
from worker_agents.settings.model import FIELDS, variable_of

VARIABLES = {variable_of(name) for name in FIELDS}

IN_SECRETS_OF_OTHERS = {
    "ADMIN_TOKEN": "a-token-that-stands-in-a-secret-of-somebody-else",
    "ARGOCD_TOKEN": "argocd-token",
    "KAFKA_SASL_PASSWORD": "password",
    "OPA_TOKEN": "opa-token",
}
READ_BY_CLIENTS = {"SSL_CERT_FILE", "GIT_SSL_CAINFO", "VAULT_CACERT"}
"""No settings, but read by HTTP clients, git and Trivy, and by hvac."""
OTHERS = {"POD_UID", "GOPROXY"}
"""For other values to refer to; of the cases' extraEnv."""


@pytest.fixture
def environment(manifests: list[Manifest], tmp_path: Path) -> dict[str, str]:
    """The whole environment, with files where the chart mounts some."""
    found = environment_of(manifests, IN_SECRETS_OF_OTHERS)
    for name, value in found.items():
        if value.startswith("/etc/worker-agents/"):
            file = tmp_path / value.removeprefix("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("-----BEGIN CERTIFICATE-----\n" if not name.endswith("_FILE") else "a-token\n")
            found[name] = str(file)
    return found


def test_the_settings_accept_it(environment: dict[str, str]) -> None:
    settings = load_settings(environment)

    assert set(settings.sources) <= VARIABLES
    assert not [warning for warning in settings.warnings if "no such setting" in warning]


def test_the_config_map_and_the_secret_alone_are_accepted_too(manifests: list[Manifest], case: Path) -> None:
    config_map: dict[str, str] = the(manifests, "ConfigMap")["data"]
    files = {name for name, value in config_map.items() if value.startswith("/etc/worker-agents/")}
    elsewhere = {} if case.stem == "inline-secrets" else IN_SECRETS_OF_OTHERS
    secrets = elsewhere | secret_data(manifests, the(manifests, "Deployment")["metadata"]["name"])

    load_settings({name: value for name, value in config_map.items() if name not in files} | secrets)


def test_nothing_but_settings_is_told(environment: dict[str, str]) -> None:
    files = {f"{name}_FILE" for name in VARIABLES}

    assert environment.keys() <= VARIABLES | files | READ_BY_CLIENTS | OTHERS


def test_every_setting_can_be_told() -> None:
    told = environment_of(render(CASES / "everything.yaml"), IN_SECRETS_OF_OTHERS)

    assert VARIABLES - told.keys() == set()


def test_the_value_set_with_everything_leaves_no_setting_at_its_default() -> None:
    """Else a setting that is wired to the wrong value could pass unseen."""
    told = environment_of(render(CASES / "everything.yaml"), IN_SECRETS_OF_OTHERS)
    usual = environment_of(render(CASES / "minimal.yaml"))
    same = {name for name in VARIABLES if told[name] == usual.get(name)}

    # These come from the pod, or are on by default and needed by what else is set.
    from_the_pod = {"POD_NAME", "POD_NAMESPACE"}
    assert same == from_the_pod | {"CODE_FORGE_ENABLED", "OPA_ENABLED", "TRIVY_ENABLED"}


def test_what_is_not_set_is_the_workers_own_default() -> None:
    told = environment_of(render({}))
    given = load_settings(told)
    deliberate = {
        *(
            "kafka_bootstrap_servers",
            "termination_grace_period_seconds",
            "otel_service_name",
            "otel_resource_attributes",
        ),
        *("test_workspace_root", "scratch_directory", "trivy_cache_dir", "log_format", "worker_id"),
        *("http_advertised_host", "pod_name", "pod_namespace"),
    }

    differing = {name for name in FIELDS if getattr(given, name) != getattr(Settings(), name)}

    assert differing <= deliberate


def test_the_comment_of_a_value_names_the_variable_that_it_sets() -> None:
    """Each value of `config` is documented by its variable's name: change the value, and that variable changes."""
    comments = dict(_documented(CHART.joinpath("values.yaml").read_text(encoding="utf-8")))
    everything = yaml.safe_load((CASES / "everything.yaml").read_text(encoding="utf-8"))
    usual = environment_of(render({}))

    for path, variable in comments.items():
        value = _look_up(everything, path)
        if value is None or variable in {
            "ARGOCD_ENABLED",
            "VAULT_ENABLED",
            "KAFKA_SECURITY_PROTOCOL",
            "KAFKA_SASL_MECHANISM",
        }:
            continue  # these need others beside them
        changed = environment_of(render(_nested(path, value)))
        assert {name for name in VARIABLES if usual.get(name) != changed.get(name)} - _FOLLOW == {variable}, path


_FOLLOW = {"TERMINATION_GRACE_PERIOD_SECONDS"}
_COMMENT = re.compile(r"# -- `([A-Z][A-Z0-9_]+)`")


def _documented(text: str) -> list[tuple[tuple[str, ...], str]]:
    """(path below config, variable) of each value whose comment begins with a variable's name."""
    found, path, variable = [], [""] * 8, ""
    for line in text.splitlines():
        if match := _COMMENT.match(line.strip()):
            variable = match[1]
        elif match := re.match(r"( *)([A-Za-z]+):", line):
            depth = len(match[1]) // 2
            path[depth] = match[2]
            if variable and path[0] == "config":
                found.append((tuple(path[: depth + 1]), variable))
            variable = ""
    return found


def _look_up(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    nested: dict[str, Any] = value
    return nested
