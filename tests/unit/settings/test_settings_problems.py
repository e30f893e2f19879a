"""What is wrong with an environment: each problem once, by its variable's name, without secrets."""

import base64
from pathlib import Path
from random import Random

import pytest

from worker_agents.model.errors import SettingsInvalid
from worker_agents.settings import load_settings

SECRET = "s3cr3t-s3cr3t-s3cr3t"


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(environ)
    return caught.value.problems


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("HTTP_PORT", "eighty", "must be a whole number, not 'eighty'"),
        ("TEST_COMMAND_PATH", "/usr/bin:", "must be absolute directories separated by colons"),
        ("TEST_COMMAND_PATH", "bin:/usr/bin", "must be absolute directories separated by colons"),
        ("TEST_MEMORY_LIMIT_MB", "1", "must be at least 16, not '1'"),
        ("TEST_PROCESS_LIMIT", "0", "must be at least 1, not '0'"),
        ("ALLOWED_TEST_COMMANDS", "pytest,npm 'test", "must be commands by their first words"),
        ("ALLOWED_GIT_URLS", "https://git.example,git.example/team", "entry 2 must start with https://"),
        ("GIT_CHECKOUT_LIMIT_MB", "0", "must be at least 1, not '0'"),
        ("HTTP_PORT", "80.5", "must be a whole number, not '80.5'"),
        ("HTTP_PORT", "65536", "must be at most 65535, not '65536'"),
        ("KAFKA_SESSION_TIMEOUT_SECONDS", "5.9", "must be at least 6, not '5.9'"),
        ("KAFKA_SESSION_TIMEOUT_SECONDS", "1801", "must be at most 1800, not '1801'"),
        ("KAFKA_SESSION_TIMEOUT_SECONDS", "long", "must be a number, not 'long'"),
        ("DEPENDENCY_TIMEOUT_SECONDS", "0", "must be more than 0, not '0'"),
        ("DEPENDENCY_TIMEOUT_SECONDS", "inf", "must be a number, not 'inf'"),
        ("MAX_RETRIES_PER_TICKET", "21", "must be at most 20, not '21'"),
        ("MAX_CONCURRENT_TASKS", "0", "must be at least 1, not '0'"),
        ("MAX_CONCURRENT_TEST", "-1", "must be at least 1, not '-1'"),
        ("PUBLISH_RUNNING", "perhaps", "must be true or false, not 'perhaps'"),
        ("FALLBACK_MODE", "pretend", "must be 'simulate' or 'fail', not 'pretend'"),
        ("OPA_FALLBACK", "pretend", "must be 'simulate' or 'fail', not 'pretend'"),
        ("ORDERING", "fifo", "must be 'dependencies' or 'key', not 'fifo'"),
        ("LOG_FORMAT", "xml", "must be 'json' or 'console', not 'xml'"),
        ("LOG_LEVEL", "x" * 100, f"must be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL', not '{'x' * 60}…'"),
        ("KAFKA_BOOTSTRAP_SERVERS", "PLAINTEXT://kafka:9092", "must be host:port pairs without a scheme"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:99999", "must be host:port pairs"),
        ("KAFKA_BOOTSTRAP_SERVERS", ",", "names nothing"),
        ("KAFKA_TICKETS_TOPIC", "my topic", "must be a topic name"),
        ("KAFKA_TICKETS_TOPIC", "..", "must be a topic name"),
        ("KAFKA_CONSUMER_GROUP_ID", "g" * 201, "must have at most 200 characters"),
        ("SUPPORTED_TASK_TYPES", "[]", "names nothing"),
        ("SUPPORTED_TASK_TYPES", '["BUILD", 1]', "must be comma-separated text or a JSON list of strings"),
        ("ALLOWED_TEST_COMMANDS", "[pytest]", "must be comma-separated text or a JSON list of strings"),
        ("TRIVY_SCANNERS", "vuln,virus", "may name only vuln, secret, misconfig, license"),
        ("TRIVY_FAIL_SEVERITIES", "SEVERE", "may name only UNKNOWN, LOW"),
        ("CODE_FORGE_URL", "code-forge:8000", "must be an address that starts with http:// or https://"),
        ("CODE_FORGE_URL", "http://", "must be an address"),
        ("CODE_FORGE_URL", "http://forge:port", "must be an address"),
        ("CODE_FORGE_URL", "http://for ge", "must be an address"),
        ("CODE_FORGE_URL", "http://forge/?a=b", "must end with its path"),
        ("TEST_WORKSPACE_ROOT", "workspace", "must be an absolute path"),
        ("TEST_WORKSPACE_ROOT", "/", "must be an absolute path, and not the root directory"),
        ("WORKER_ID", "worker one", "must be up to 200 of the characters"),
        ("POD_NAME", "worker/../../secrets", "must be a name of Kubernetes"),
        ("POD_NAMESPACE", "Flow", "must be a name of Kubernetes"),
        ("KUBERNETES_API_URL", "tcp://10.96.0.1:443", "must be an address"),
        ("ADMIN_TOKEN", f"{SECRET}\nX-Injected: 1", "contains a character that cannot be sent in an HTTP header"),
    ],
)
def test_a_wrong_value_is_one_line_that_starts_with_its_variable(variable: str, value: str, sentence: str) -> None:
    found = problems({variable: value})
    assert len(found) == 1
    assert found[0].startswith(f"{variable}: {sentence}")


@pytest.mark.parametrize(
    "value",
    [
        *("http://10.1.2.3", "10.1.2.3:8080", "[fd00::7]:8080", "worker one", "worker-1/", "-worker", "worker..local"),
        *("fe80::1%eth0", "10.1.2", "10.1.2.256", "0x7f.1", "[10.1.2.3]", "[worker]", "w" * 64, "w." * 127 + "w"),
    ],
)
def test_an_advertised_host_that_is_none(value: str) -> None:
    sentence = "must be a host name or an IP address, without scheme, port, path or blanks"
    assert problems({"HTTP_ADVERTISED_HOST": value}) == [f"HTTP_ADVERTISED_HOST: {sentence}"]


@pytest.mark.parametrize("value", ["0.0.0.0", "::", "[::]"])
def test_every_interface_is_no_host_to_advertise(value: str) -> None:
    sentence = "must be one address that others reach, not that of every interface"
    assert problems({"HTTP_ADVERTISED_HOST": value}) == [f"HTTP_ADVERTISED_HOST: {sentence}"]


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        (
            {"RETRY_BACKOFF_BASE_SECONDS": "90"},
            "RETRY_BACKOFF_BASE_SECONDS: is 90, more than RETRY_BACKOFF_MAX_SECONDS (60)",
        ),
        ({"ARGOCD_ENABLED": "true"}, "ARGOCD_URL: is needed with ARGOCD_ENABLED=true"),
        ({"VAULT_ENABLED": "true"}, "VAULT_ADDRESS: is needed with VAULT_ENABLED=true"),
        (
            {"POD_DELETION_COST_ENABLED": "true", "POD_NAMESPACE": "flow"},
            "POD_NAME: is needed with POD_DELETION_COST_ENABLED=true (fieldRef: metadata.name)",
        ),
        (
            {"POD_DELETION_COST_ENABLED": "true", "POD_NAME": "worker-0"},
            "POD_NAMESPACE: is needed with POD_DELETION_COST_ENABLED=true (fieldRef: metadata.namespace)",
        ),
        (
            {"KAFKA_RESULTS_TOPIC": "execution.tickets"},
            "KAFKA_RESULTS_TOPIC: is execution.tickets like KAFKA_TICKETS_TOPIC; each topic needs its own name",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
            "KAFKA_SASL_MECHANISM: is needed with KAFKA_SECURITY_PROTOCOL=SASL_SSL",
        ),
        (
            {
                "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                "KAFKA_SASL_MECHANISM": "PLAIN",
                "KAFKA_SASL_PASSWORD": SECRET,
            },
            "KAFKA_SASL_USERNAME: is needed with KAFKA_SASL_MECHANISM",
        ),
        (
            {
                "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                "KAFKA_SASL_MECHANISM": "PLAIN",
                "KAFKA_SASL_USERNAME": "me",
            },
            "KAFKA_SASL_PASSWORD: is needed with KAFKA_SASL_MECHANISM",
        ),
        (
            {"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "me", "KAFKA_SASL_PASSWORD": SECRET},
            "KAFKA_SECURITY_PROTOCOL: is PLAINTEXT, which has no login, but KAFKA_SASL_MECHANISM is set; use SASL_SSL or SASL_PLAINTEXT",
        ),
        (
            {"KAFKA_SSL_CERTIFICATE_LOCATION": "/tls.crt", "KAFKA_SECURITY_PROTOCOL": "SSL"},
            "KAFKA_SSL_KEY_LOCATION: is needed with KAFKA_SSL_CERTIFICATE_LOCATION",
        ),
        (
            {"KAFKA_SSL_KEY_LOCATION": "/tls.key", "KAFKA_SECURITY_PROTOCOL": "SSL"},
            "KAFKA_SSL_CERTIFICATE_LOCATION: is needed with KAFKA_SSL_KEY_LOCATION",
        ),
        (
            {"KILL_GRACE_SECONDS": "3", "KAFKA_SESSION_TIMEOUT_SECONDS": "6"},
            "KILL_GRACE_SECONDS: is 3, more than a third of KAFKA_SESSION_TIMEOUT_SECONDS (6): the lease would end before it can be renewed",
        ),
        (
            {"OPA_TOKEN": "vault:worker/opa#token"},
            "OPA_TOKEN: names a secret of Vault, but VAULT_ENABLED is false",
        ),
        ({"OPA_TOKEN": "vault:worker/opa"}, "OPA_TOKEN: must name a secret of Vault as vault:path#key"),
        ({"VAULT_TOKEN": "vault:worker/vault#token"}, "VAULT_TOKEN: cannot itself come from Vault"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str], line: str) -> None:
    assert problems(environ) == [line]


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    found = problems(
        {
            "HTTP_PORT": "x",
            "FALLBACK_MODE": "maybe",
            "MAX_CONCURRENT_TASKS": "none",
            "ADMIN_TOKEN_FILE": str(tmp_path / "gone"),
            "ARGOCD_ENABLED": "true",
            "RETRY_BACKOFF_BASE_SECONDS": "61",
        }
    )
    assert sorted(line.partition(":")[0] for line in found) == [
        "ADMIN_TOKEN_FILE",
        "ARGOCD_URL",
        "FALLBACK_MODE",
        "HTTP_PORT",
        "MAX_CONCURRENT_TASKS",
        "RETRY_BACKOFF_BASE_SECONDS",
    ]


def test_the_error_shows_every_problem_in_its_text() -> None:
    with pytest.raises(SettingsInvalid, match=r"(?s)invalid settings:\n.*HTTP_PORT: .*LOG_LEVEL: "):
        load_settings({"HTTP_PORT": "x", "LOG_LEVEL": "loud"})


def test_no_contradiction_is_derived_from_a_value_that_is_wrong_already() -> None:
    assert [line.partition(":")[0] for line in problems({"ARGOCD_ENABLED": "true", "ARGOCD_URL": "argocd"})] == [
        "ARGOCD_URL"
    ]


@pytest.mark.parametrize("variable", ["ADMIN_TOKEN", "OPA_TOKEN", "ARGOCD_TOKEN", "CODE_FORGE_TOKEN", "VAULT_TOKEN"])
def test_a_secret_is_never_echoed(variable: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(SECRET.encode() + b"\x00")
    for environ in ({variable: f"{SECRET}ä"}, {f"{variable}_FILE": str(file)}, {variable: f"vault:{SECRET}"}):
        assert SECRET not in str(problems(environ))


def test_credentials_in_an_address_are_refused_and_not_echoed() -> None:
    (line,) = problems({"OPA_URL": f"http://me:{SECRET}@opa:8181"})
    assert line.startswith("OPA_URL: must not contain a user name or password")
    assert SECRET not in line


# --- secrets in files ----------------------------------------------------------------------------------------------


def test_a_missing_secret_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone"
    assert problems({"OPA_TOKEN_FILE": str(path)}) == [f"OPA_TOKEN_FILE: {path} does not exist"]


def test_a_directory_is_no_secret_file(tmp_path: Path) -> None:
    assert problems({"OPA_TOKEN_FILE": str(tmp_path)}) == [f"OPA_TOKEN_FILE: {tmp_path} is not a file"]


def test_a_huge_secret_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    path.write_bytes(b"x" * (64 * 1024 + 1))
    assert problems({"OPA_TOKEN_FILE": str(path)}) == [f"OPA_TOKEN_FILE: {path} is larger than 64 KiB"]


def test_a_binary_secret_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe")
    assert problems({"OPA_TOKEN_FILE": str(path)}) == [f"OPA_TOKEN_FILE: {path} is not UTF-8 text"]


def test_a_path_that_cannot_be_looked_at_is_one_problem() -> None:
    (line,) = problems({"OPA_TOKEN_FILE": "/tmp/" + "x" * 5000})
    assert line.startswith("OPA_TOKEN_FILE: /tmp/xxx")


def test_a_secret_has_one_source(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("b")
    found = problems({"OPA_TOKEN": "a", "OPA_TOKEN_FILE": str(path)})
    assert found == ["OPA_TOKEN: set this or OPA_TOKEN_FILE, not both"]


# --- warnings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("KAFKA_TICKET_TOPIC", "KAFKA_TICKETS_TOPIC"),
        ("MAX_CONCURRENT_TASK", "MAX_CONCURRENT_TASKS"),
        ("CODE_FORGE_URI", "CODE_FORGE_URL"),
        ("OPA_ENABLE", "OPA_ENABLED"),
        ("ARGOCD_TOKENS", "ARGOCD_TOKEN"),
        ("ARGOCD_TOKEN_FILES", "ARGOCD_TOKEN_FILE"),
        ("TRIVY_SCANNER", "TRIVY_SCANNERS"),
        ("VAULT_ADDR", "VAULT_ADDRESS"),
        ("DRAIN_TIMEOUT_SECOND", "DRAIN_TIMEOUT_SECONDS"),
    ],
)
def test_a_likely_typo_is_warned_of(typo: str, meant: str) -> None:
    assert load_settings({typo: "x"}).warnings == (f"{typo}: no such setting, it is ignored; did you mean {meant}?",)


@pytest.mark.parametrize(
    "variable",
    [
        "OPA_SERVICE_HOST",
        "OPA_PORT_8181_TCP_ADDR",
        "KAFKA_PORT",
        "HTTP_PROXY",
        "TEST_KAFKA_BOOTSTRAP_SERVERS",
        "OTEL_PROPAGATORS",
        "PATH",
        "KAFKA_HEAP_OPTS",
    ],
)
def test_variables_of_others_are_left_alone(variable: str) -> None:
    assert load_settings({variable: "x"}).warnings == ()


def test_no_typo_is_suspected_where_the_right_name_is_set_too() -> None:
    environ = {"VAULT_ADDR": "https://vault:8200", "VAULT_ADDRESS": "https://vault:8200"}
    assert load_settings(environ).warnings == ()


@pytest.mark.parametrize(
    ("environ", "start"),
    [
        ({"ARGOCD_ENABLED": "true", "ARGOCD_URL": "https://argocd"}, "ARGOCD_TOKEN: is unset"),
        ({"ADMIN_TOKEN": "short"}, "ADMIN_TOKEN: is shorter than 16"),
        ({"TERMINATION_GRACE_PERIOD_SECONDS": "40"}, "DRAIN_TIMEOUT_SECONDS: is 30, and a stop takes up to 15 s more"),
        ({"KAFKA_SSL_CA_LOCATION": "/ca.pem"}, "KAFKA_SSL_CA_LOCATION: has no effect"),
    ],
)
def test_what_is_allowed_but_odd_is_warned_of(environ: dict[str, str], start: str) -> None:
    (warning,) = load_settings(environ).warnings
    assert warning.startswith(start)


@pytest.mark.parametrize(
    "token",
    [
        "fifteen-letters",
        "Change-Me-Please-1!",
        "WorkerAgentsAdminToken",
        "super-secret-token-2026",
        "aaaabbbbaaaabbbbaaaabbbb",
        "abcdefghijklmnopqrst",
        "1234567890123456",
        "qwertyuiopasdfgh",
    ],
)
def test_a_token_that_can_be_guessed_is_warned_of_and_not_repeated(token: str) -> None:
    (warning,) = load_settings({"ADMIN_TOKEN": token}).warnings
    assert warning.startswith("ADMIN_TOKEN: is ")
    assert warning.endswith(", so it can be guessed")
    assert token not in warning


def test_no_token_of_a_random_generator_is_warned_of() -> None:
    random = Random(7)
    tokens = {f"{random.getrandbits(128):032x}" for _ in range(500)}
    tokens |= {base64.urlsafe_b64encode(random.randbytes(16)).decode() for _ in range(500)}
    tokens |= {str(random.randrange(10**31, 10**32)) for _ in range(500)}
    assert [token for token in tokens if load_settings({"ADMIN_TOKEN": token}).warnings] == []
