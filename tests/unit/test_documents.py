"""The documents for operators name settings that exist, with the defaults that they have, and links that lead somewhere."""

import re
from pathlib import Path

import pytest
from typer.main import get_group

from tests.support.queries import declared_series
from worker_agents.cli.app import app as cli
from worker_agents.settings import SettingRow, Settings, describe
from worker_agents.settings.integrations import IntegrationSettings
from worker_agents.settings.model import FIELDS, is_secret, variable_of
from worker_agents.telemetry.metrics import PREFIX, declared

ROOT = Path(__file__).parents[2]
NAMES = (
    *("README.md", "CHANGELOG.md", "EXECUTOR_INTEGRATION.md", "EXTERNAL_TOOLS_SETUP.md"),
    *(
        "docs/deployment.md",
        "docs/http.md",
        "docs/metrics.md",
        "docs/operations.md",
        "docs/releasing.md",
        "docs/runbook.md",
    ),
    *("helm-charts/worker-agents/README.md", "examples/policies/README.md"),
)
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}
ROWS = {row.variable: row for row in describe(Settings())}
SECRETS = {variable_of(name) for name, field in FIELDS.items() if is_secret(field)}

VARIABLE = re.compile(r"(?<![A-Za-z0-9_.-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?![A-Za-z0-9_])")

READ_BY_CLIENTS = {
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "DOCKER_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSH_AUTH_SOCK"),
    *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH"),
    *("TRIVY_USERNAME", "TRIVY_PASSWORD", "TRIVY_REGISTRY_TOKEN", "TRIVY_DB_REPOSITORY", "TRIVY_JAVA_DB_REPOSITORY"),
    "VAULT_CACERT",
}
"""Of the worker's environment, and no settings: our code names each."""
READ_BY_OTHERS = {
    *("CARGO_HOME", "RUSTUP_HOME", "MAVEN_ARGS"),
    *("VAULT_CAPATH", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY"),
    *("TEST_KAFKA_BOOTSTRAP_SERVERS", "TEST_PREVIOUS_RELEASE", "SOURCE_DATE_EPOCH", "OTEL_SPAN_EVENT_COUNT_LIMIT"),
    *("POD_NAME", "POD_UID", "POD_NAMESPACE", "OPA_TOKEN_NEXT"),
    *("X_URL", "X_ENABLED", "X_TOKEN", "X_FALLBACK", "X_FILE"),
}
"""Read by programs that are started, by libraries, by tests; and the guide's example."""
NO_VARIABLES = {
    *("AT_MOST_ONCE", "PR_SET_DUMPABLE", "SASL_PLAINTEXT", "SASL_SSL", "EXECUTOR_INTEGRATION", "EXTERNAL_TOOLS_SETUP"),
    *("RELEASE_NOTES", "LICENCE_SCAN", "REGISTRY_CHECK"),
    *("GO_VERSION", "PYTHON_IMAGE", "TRIVY_IMAGE"),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_that_a_document_names_exists(name: str) -> None:
    known = ROWS.keys() | {f"{secret}_FILE" for secret in SECRETS}

    unknown = set(VARIABLE.findall(TEXTS[name])) - known - READ_BY_CLIENTS - READ_BY_OTHERS - NO_VARIABLES

    assert not unknown


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_that_a_document_names_exists(name: str) -> None:
    known = {metric.name for metric in declared()} | declared_series().keys()

    assert set(re.findall(rf"\b{PREFIX}_[a-z_]+", TEXTS[name])) - known == set()


def test_what_clients_read_besides_settings_stands_in_their_code() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "worker_agents" / "clients").rglob("*.py"))

    assert {name for name in READ_BY_CLIENTS if name not in code} == set()


def test_the_reference_has_every_setting_that_executors_use() -> None:
    reference = TEXTS["EXECUTOR_INTEGRATION.md"].partition("## Configuration reference")[2]
    work = [name for name in FIELDS if name.startswith(("max_concurrent_", "max_retries_", "retry_backoff_"))]
    general = ("task_timeout_multiplier", "kill_grace_seconds", "result_max_bytes", "supported_task_types")
    needed = {variable_of(name) for name in (*IntegrationSettings.model_fields, *work, *general)}

    assert set(re.findall(r"^\| `([A-Z_]+)` \|", reference, re.MULTILINE)) == needed


@pytest.mark.parametrize("name", NAMES)
def test_every_default_that_a_document_shows_is_the_default(name: str) -> None:
    shown = dict(_shown_defaults(TEXTS[name]))

    assert shown == {variable: _default(ROWS[variable]) for variable in shown}


def test_defaults_are_found() -> None:
    assert len(list(_shown_defaults(TEXTS["EXECUTOR_INTEGRATION.md"]))) > 50
    assert len(list(_shown_defaults(TEXTS["EXTERNAL_TOOLS_SETUP.md"]))) > 40


@pytest.mark.parametrize("name", NAMES)
def test_every_command_that_a_document_shows_exists_with_its_options(name: str) -> None:
    shown = re.findall(r"(?:`|^ *\$ |-- )worker-agents ([a-z][^`\n|#]*)", TEXTS[name], re.MULTILINE)

    assert {line: wrong for line in shown if (wrong := _unknown_words(line))} == {}


def test_commands_are_found() -> None:
    assert _unknown_words("dlq replay --reason REASON --dry-run") == []
    assert _unknown_words("dlq replay --reson REASON") == ["--reson"]
    assert _unknown_words("statuses") == ["statuses"]


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        if not path.exists() or (anchor and anchor not in _anchors(path.read_text(encoding="utf-8"))):
            broken.append(target)

    assert not broken


def _shown_defaults(text: str) -> list[tuple[str, str]]:
    """Variable and default of each row of a table whose second column is ``default``."""
    tables = re.findall(r"^\| variable \| default \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [found for table in tables for found in re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", table, re.MULTILINE)]


def _unknown_words(line: str) -> list[str]:
    """Of a command line without the program's name: a command, or options of it, that there is not."""
    command, words = get_group(cli), re.sub(r"\"[^\"]*\"", "QUOTED", line).split()
    while (commands := getattr(command, "commands", None)) and words and not words[0].startswith("-"):
        if words[0] not in commands:
            return words[:1]
        command, words = commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    return [word for word in words if word.startswith("-") and len(word) > 1 and word.partition("=")[0] not in known]


def _default(row: SettingRow) -> str:
    """As documents show it: what a description says of an unset variable, else the value itself."""
    unset = re.search(r"Unset: (.*)\.$", row.description)
    if unset is None:
        return f"`{row.value_masked}`" if row.value_masked else "empty"
    return f"`{unset[1]}`" if unset[1].isupper() else unset[1]


def _anchors(text: str) -> set[str]:
    """As GitHub makes them of headings; code blocks have none."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
