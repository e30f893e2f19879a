"""What the environment comes to: values, defaults, sources, secrets."""

import re
import socket
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from worker_agents.model.errors import SettingsInvalid
from worker_agents.settings import Settings, describe, load_settings
from worker_agents.settings.model import FIELDS, is_secret, variable_of

# Design §8, letter by letter.
PUBLIC_VARIABLES = set(
    """
KAFKA_BOOTSTRAP_SERVERS KAFKA_TICKETS_TOPIC KAFKA_RESULTS_TOPIC KAFKA_DLQ_TOPIC KAFKA_STATE_TOPIC
KAFKA_CONSUMER_GROUP_ID KAFKA_CREATE_TOPICS KAFKA_SESSION_TIMEOUT_SECONDS KAFKA_SECURITY_PROTOCOL KAFKA_SASL_MECHANISM
KAFKA_SASL_USERNAME KAFKA_SASL_PASSWORD KAFKA_SSL_CA_LOCATION KAFKA_SSL_CERTIFICATE_LOCATION KAFKA_SSL_KEY_LOCATION
WORKER_ID SUPPORTED_TASK_TYPES MAX_CONCURRENT_TASKS MAX_CONCURRENT_EXECUTE MAX_CONCURRENT_BUILD MAX_CONCURRENT_VALIDATE
MAX_CONCURRENT_TEST MAX_CONCURRENT_DEPLOY MAX_BUFFERED_TICKETS MAX_PARKED_TICKETS MAX_RETRIES_PER_TICKET
RETRY_BACKOFF_BASE_SECONDS RETRY_BACKOFF_MAX_SECONDS MAX_DELIVERIES TASK_TIMEOUT_MULTIPLIER PUBLISH_RUNNING ORDERING
DEPENDENCY_TIMEOUT_SECONDS DRAIN_TIMEOUT_SECONDS DEDUP_RETENTION_SECONDS FALLBACK_MODE CODE_FORGE_FALLBACK OPA_FALLBACK
TRIVY_FALLBACK ARGOCD_FALLBACK TEST_FALLBACK CODE_FORGE_URL CODE_FORGE_ENABLED CODE_FORGE_TIMEOUT_SECONDS
CODE_FORGE_TOKEN ARGOCD_URL ARGOCD_TOKEN ARGOCD_ENABLED OPA_URL OPA_ENABLED OPA_TOKEN TRIVY_ENABLED
TRIVY_TIMEOUT_SECONDS TRIVY_SCANNERS TRIVY_FAIL_SEVERITIES TEST_EXECUTION_TIMEOUT_SECONDS ALLOWED_TEST_COMMANDS
TEST_WORKSPACE_ROOT VAULT_ENABLED VAULT_ADDRESS VAULT_KUBERNETES_ROLE VAULT_TOKEN VAULT_MOUNT_KV HTTP_HOST HTTP_PORT
ADMIN_TOKEN OTEL_EXPORTER_OTLP_ENDPOINT LOG_LEVEL LOG_FORMAT RESULT_MAX_BYTES
""".split()  # noqa: SIM905 - sixty quoted names read worse
)

SECRETS = {
    "KAFKA_SASL_PASSWORD",
    "CODE_FORGE_TOKEN",
    "ARGOCD_TOKEN",
    "OPA_TOKEN",
    "GIT_TOKEN",
    "TRIVY_SERVER_TOKEN",
    "VAULT_TOKEN",
    "ADMIN_TOKEN",
    "OTEL_EXPORTER_OTLP_HEADERS",
}

NOT_SECRET = "hunter2=hunter2-hunter2"


def rows(environ: dict[str, str]) -> dict[str, tuple[str, str]]:
    return {row.variable: (row.value_masked, row.source) for row in describe(load_settings(environ))}


def test_every_variable_of_the_public_interface_exists() -> None:
    assert {variable_of(name) for name in FIELDS} >= PUBLIC_VARIABLES


def test_every_variable_is_documented_once() -> None:
    descriptions = [row.description for row in describe(load_settings({}))]
    assert all(re.fullmatch(r"\S.*[.]", text) for text in descriptions)
    assert len(set(descriptions)) == len(descriptions)


def test_the_secrets_are_secret() -> None:
    assert {variable_of(name) for name, field in FIELDS.items() if is_secret(field)} == SECRETS


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
        ("KAFKA_STATE_TOPIC", "execution.tickets.state"),
        ("KAFKA_CREATE_TOPICS", "true"),
        ("KAFKA_SESSION_TIMEOUT_SECONDS", "45"),
        ("KAFKA_CONNECT_TIMEOUT_SECONDS", "60"),
        ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT"),
        ("SUPPORTED_TASK_TYPES", ""),
        ("MAX_CONCURRENT_TASKS", "200"),
        ("MAX_CONCURRENT_BUILD", "200"),
        ("MAX_BUFFERED_TICKETS", "1000"),
        ("MAX_PARKED_TICKETS", "50000"),
        ("MAX_RETRIES_PER_TICKET", "3"),
        ("RETRY_BACKOFF_BASE_SECONDS", "2"),
        ("RETRY_BACKOFF_MAX_SECONDS", "60"),
        ("MAX_DELIVERIES", "5"),
        ("TASK_TIMEOUT_MULTIPLIER", "1.5"),
        ("PUBLISH_RUNNING", "false"),
        ("ORDERING", "dependencies"),
        ("DEPENDENCY_TIMEOUT_SECONDS", "3600"),
        ("DRAIN_TIMEOUT_SECONDS", "30"),
        ("DEDUP_RETENTION_SECONDS", "86400"),
        ("CODE_FORGE_URL", "http://code-forge:8000"),
        ("CODE_FORGE_TIMEOUT_SECONDS", "14400"),
        ("CODE_FORGE_TOKEN", ""),
        ("ARGOCD_ENABLED", "false"),
        ("OPA_URL", "http://opa:8181"),
        ("TRIVY_SCANNERS", "vuln,secret,misconfig"),
        ("TRIVY_FAIL_SEVERITIES", "HIGH,CRITICAL"),
        ("ALLOWED_TEST_COMMANDS", "pytest,npm test,go test,mvn test"),
        ("VAULT_ENABLED", "false"),
        ("HTTP_HOST", "0.0.0.0"),
        ("HTTP_PORT", "8080"),
        ("LOG_LEVEL", "INFO"),
        ("RESULT_MAX_BYTES", "921600"),
    ],
)
def test_defaults_are_those_of_the_design(variable: str, value: str) -> None:
    assert rows({})[variable] == (value, "default")


def test_an_empty_value_counts_as_unset() -> None:
    found = rows({"HTTP_PORT": "", "MAX_CONCURRENT_TASKS": "  ", "ADMIN_TOKEN": "", "ARGOCD_TOKEN_FILE": ""})
    assert found["HTTP_PORT"] == ("8080", "default")
    assert found["MAX_CONCURRENT_TASKS"] == ("200", "default")
    assert found["ADMIN_TOKEN"] == ("", "default")


def test_values_come_from_the_environment() -> None:
    settings = load_settings({"HTTP_PORT": "0", "KAFKA_CREATE_TOPICS": "no", "DRAIN_TIMEOUT_SECONDS": " 2.5 "})
    assert (settings.http_port, settings.kafka_create_topics, settings.drain_timeout_seconds) == (0, False, 2.5)


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_DELIVERIES", "7")
    assert load_settings().max_deliveries == 7
    assert Settings().max_deliveries == 5, "the constructor reads no environment"


@pytest.mark.parametrize(
    "text", ["a:9092,b:9093", " a:9092 , b:9093 ,", '["a:9092", "b:9093"]', "a:9092,a:9092,b:9093"]
)
def test_a_list_is_comma_separated_text_or_json(text: str) -> None:
    assert load_settings({"KAFKA_BOOTSTRAP_SERVERS": text}).kafka_bootstrap_servers == ("a:9092", "b:9093")


def test_brokers_may_have_ipv6_addresses() -> None:
    settings = load_settings({"KAFKA_BOOTSTRAP_SERVERS": "[::1]:9092,[fe80::1]:9093"})
    assert settings.kafka_bootstrap_servers == ("[::1]:9092", "[fe80::1]:9093")


def test_an_empty_json_list_is_not_the_default() -> None:
    settings = load_settings({"ALLOWED_TEST_COMMANDS": "[]", "TRIVY_FAIL_SEVERITIES": "[]"})
    assert settings.allowed_test_commands == ()
    assert settings.trivy_fail_severities == ()


def test_choices_are_read_without_case() -> None:
    settings = load_settings(
        {
            "LOG_LEVEL": "debug",
            "FALLBACK_MODE": "Fail",
            "KAFKA_SECURITY_PROTOCOL": "ssl",
            "SUPPORTED_TASK_TYPES": "build,Deploy,my_type",
            "TRIVY_FAIL_SEVERITIES": "low",
            "TRIVY_SCANNERS": "VULN",
        }
    )
    assert settings.log_level == "DEBUG"
    assert settings.fallback_mode == "fail"
    assert settings.kafka_security_protocol == "SSL"
    assert settings.supported_task_types == ("BUILD", "DEPLOY", "MY_TYPE")
    assert settings.trivy_fail_severities == ("LOW",)
    assert settings.trivy_scanners == ("vuln",)


def test_a_trailing_slash_of_an_address_is_dropped() -> None:
    assert load_settings({"OPA_URL": "https://opa.example:8181/base/"}).opa_url == "https://opa.example:8181/base"


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("fd00::7", "fd00::7"),
        ("[fd00:0:0::7]", "fd00::7"),
        ("worker-1.workers.flow.svc.cluster.local", "worker-1.workers.flow.svc.cluster.local"),
        ("worker_1", "worker_1"),
        ("7.workers.", "7.workers."),
    ],
)
def test_the_advertised_host_is_a_name_or_an_address(value: str, host: str) -> None:
    assert load_settings({"HTTP_ADVERTISED_HOST": value}).http_advertised_host == host


def test_without_an_advertised_host_it_is_the_name_of_the_machine() -> None:
    assert load_settings({}).http_advertised_host == socket.gethostname()


def test_fallbacks_follow_the_mode_but_not_that_of_tests() -> None:
    settings = load_settings({"FALLBACK_MODE": "fail", "OPA_FALLBACK": "simulate"})
    assert settings.fallback_for("code_forge") == "fail"
    assert settings.fallback_for("opa") == "simulate"
    assert settings.fallback_for("test") == "fail"
    assert load_settings({}).fallback_for("trivy") == "simulate"
    assert load_settings({}).fallback_for("test") == "fail"
    assert load_settings({"TEST_FALLBACK": "simulate"}).fallback_for("test") == "simulate"


def test_concurrency_of_a_type_defaults_to_the_total() -> None:
    limits = load_settings({"MAX_CONCURRENT_TASKS": "7", "MAX_CONCURRENT_BUILD": "3"}).concurrency_limits()
    assert limits["BUILD"] == 3
    assert limits["EXECUTE"] == limits["DEPLOY"] == limits["VALIDATE"] == 7
    assert 1 <= limits["TEST"] <= 7
    assert set(limits) == {"EXECUTE", "BUILD", "VALIDATE", "TEST", "DEPLOY"}


def test_a_type_never_gets_more_slots_than_there_are() -> None:
    settings = load_settings({"MAX_CONCURRENT_TASKS": "7", "MAX_CONCURRENT_TEST": "9"})
    assert settings.concurrency_limits()["TEST"] == 7
    assert any(warning.startswith("MAX_CONCURRENT_TEST: ") for warning in settings.warnings)


def test_the_worker_id_is_unique_and_printable() -> None:
    first, second = load_settings({}).worker_id, load_settings({}).worker_id
    assert first != second
    assert re.fullmatch(r"[A-Za-z0-9._-]+-[0-9a-f]{6}", first)


def test_the_kill_grace_shrinks_with_a_short_session() -> None:
    assert load_settings({}).kill_grace_seconds == 5
    assert load_settings({"KAFKA_SESSION_TIMEOUT_SECONDS": "6"}).kill_grace_seconds == 1


def test_the_lease_ends_a_kill_grace_before_the_session() -> None:
    assert load_settings({}).lease_seconds == 40
    assert load_settings({"KAFKA_SESSION_TIMEOUT_SECONDS": "6"}).lease_seconds == 5


# --- secrets -----------------------------------------------------------------------------------------------------


def test_a_secret_is_masked_wherever_it_is_shown() -> None:
    settings = load_settings({"ARGOCD_TOKEN": NOT_SECRET})
    assert settings.argocd_token.get_secret_value() == NOT_SECRET
    assert rows({"ARGOCD_TOKEN": NOT_SECRET})["ARGOCD_TOKEN"] == ("********", "environment")
    assert NOT_SECRET not in repr(settings) + str(settings) + repr(describe(settings))
    assert NOT_SECRET not in settings.model_dump_json()


@pytest.mark.parametrize("variable", sorted(SECRETS))
def test_every_secret_can_come_from_a_file(variable: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{NOT_SECRET}\r\n")
    environ = {f"{variable}_FILE": str(file)}
    secret = getattr(load_settings(environ), variable.lower())
    assert isinstance(secret, SecretStr)
    assert secret.get_secret_value() == NOT_SECRET
    assert rows(environ)[variable] == ("********", "file")


def test_spaces_belong_to_a_secret_and_line_ends_do_not() -> None:
    settings = load_settings({"KAFKA_SASL_PASSWORD": " pass word \n"})
    assert settings.kafka_sasl_password.get_secret_value() == " pass word "


def test_a_setting_that_is_no_secret_has_no_file_variable(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("http://elsewhere")
    settings = load_settings({"OPA_URL_FILE": str(file)})
    assert settings.opa_url == "http://opa:8181"


def test_an_empty_secret_file_is_unset_and_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("\n")
    settings = load_settings({"OPA_TOKEN_FILE": str(file)})
    assert not settings.opa_token
    assert settings.warnings == (f"OPA_TOKEN_FILE: {file} is empty, so OPA_TOKEN is unset",)


def test_the_masker_of_logs_gets_the_secrets_but_no_references() -> None:
    settings = load_settings(
        {
            "VAULT_ENABLED": "true",
            "VAULT_ADDRESS": "https://vault:8200",
            "ARGOCD_TOKEN": "vault:worker/argocd#token",
            "OPA_TOKEN": NOT_SECRET,
        }
    )
    assert settings.secret_values() == (NOT_SECRET,)


# --- the object ----------------------------------------------------------------------------------------------------


def test_what_is_shown_is_accepted_as_a_setting() -> None:
    environ = {"ALLOWED_TEST_COMMANDS": '["pytest -k a,b", "go test"]', "KAFKA_SESSION_TIMEOUT_SECONDS": "30.5"}
    settings = load_settings(environ)
    again = load_settings({row.variable: row.value_masked for row in describe(settings)})
    assert {name: getattr(again, name) for name in FIELDS} == {name: getattr(settings, name) for name in FIELDS}


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        setattr(load_settings({}), "http_port", 1)  # noqa: B010 - the type checker refuses the plain form


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(ValidationError):
        Settings(http_prot=1)  # type: ignore[call-arg]


def test_the_exit_code_of_bad_settings_is_2() -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load_settings({"HTTP_PORT": "-1"})
    assert caught.value.exit_code == 2
