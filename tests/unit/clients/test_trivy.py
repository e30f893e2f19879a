"""How Trivy is started and what each of its ends means, with a program that ends as the test says."""

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from worker_agents.clients.trivy import ScanTarget, ScanTimedOut, TargetKind, Trivy
from worker_agents.clients.trivy_report import ScanReport
from worker_agents.clients.workspace_scratch import ScratchDirectories
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable, Reason, TaskError
from worker_agents.telemetry.events import Event, ExternalCall

STAND_IN = """#!/bin/sh
for word in "$@"; do
    case "$word" in --output=*) report=${word#--output=} ;; esac
done
case "$*" in *--download-*) printf '%s\\n' "$*" >> SEEN/downloads; UPDATE; exit 0 ;; esac
printf '%s\\n' "$@" > SEEN/arguments
/usr/bin/env > SEEN/environment
pwd > SEEN/cwd
/bin/ls -A > SEEN/entries
SCRIPT
"""
EMPTY = """printf '{"SchemaVersion": 2}' > "$report" """


class Stage:
    """A stand-in for Trivy that runs ``script`` with the report's path in ``$report``, and ``update`` for a download."""

    def __init__(self, directory: Path, script: str = EMPTY, update: str = ":", **options: object) -> None:
        self.seen = directory / "seen"
        self.seen.mkdir()
        program = directory / "trivy"
        program.write_text(STAND_IN.replace("SEEN", str(self.seen)).replace("SCRIPT", script).replace("UPDATE", update))
        program.chmod(0o755)
        self.events: list[Event] = []
        settings = {"scanners": ("vuln", "secret"), "environment": {"PATH": "/usr/bin:/bin"}} | options
        self.trivy = Trivy(
            emit=self.events.append,
            cache_dir=directory / "cache",
            scratch=ScratchDirectories(directory / "scratch"),
            program=str(program),
            **settings,  # type: ignore[arg-type]
        )

    async def scan(self, kind: TargetKind = "fs", name: str = "/src/app", seconds: float = 30.0) -> ScanReport:
        return await self.trivy.scan(ScanTarget(kind, name), seconds=seconds)

    def saw(self, what: str) -> list[str]:
        path = self.seen / what
        return path.read_text().splitlines() if path.exists() else []

    @property
    def downloads(self) -> list[str]:
        return [word for line in self.saw("downloads") for word in line.split() if word.startswith("--download-")]

    def environment(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.saw("environment") if "=" in line)

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(event.operation, event.outcome) for event in self.events if isinstance(event, ExternalCall)]


async def test_it_runs_in_an_empty_directory_with_the_target_behind_everything_else(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    await stage.scan(name="/src/--help")

    arguments = stage.saw("arguments")
    assert arguments[0] == "fs"
    assert arguments[-2:] == ["--", "/src/--help"]
    assert {"--config=", "--ignorefile=", "--secret-config=", "--exit-code=0", "--scanners=vuln,secret"} <= {*arguments}
    assert {"--offline-scan", "--skip-check-update", "--skip-version-check", "--disable-telemetry"} <= {*arguments}
    assert stage.saw("entries") == []
    assert Path(stage.saw("cwd")[0]).is_relative_to(tmp_path / "scratch")
    assert stage.outcomes == [("fs", "ok")]


async def test_of_the_environment_it_gets_little_and_secrets_only_there(tmp_path: Path) -> None:
    worker = {"PATH": "/usr/bin:/bin", "HTTPS_PROXY": "http://proxy:1", "KAFKA_SASL_PASSWORD": "kafka-secret"}
    worker |= {"TRIVY_SEVERITY": "LOW", "TRIVY_PASSWORD": "registry-secret", "HOME": "/root"}
    stage = Stage(tmp_path, environment=worker, server_url="http://trivy:4954", server_token=SecretStr("server-secret"))

    await stage.scan()

    names = stage.environment()
    assert (names["NO_PROXY"], names["TRIVY_TOKEN"]) == ("trivy", "server-secret")
    assert names.keys().isdisjoint({"KAFKA_SASL_PASSWORD", "TRIVY_SEVERITY"})
    assert names["HOME"] == stage.saw("cwd")[0]
    assert "--server=http://trivy:4954" in stage.saw("arguments")
    assert not any("secret" in word and "=" not in word for word in stage.saw("arguments"))
    assert not any("-secret" in word and "config" not in word for word in stage.saw("arguments"))


async def test_a_scan_has_neither_git_nor_the_network(tmp_path: Path) -> None:
    stage = Stage(tmp_path, environment={"PATH": "/usr/bin:/bin", "HTTPS_PROXY": "http://proxy:1", "no_proxy": "*"})

    await stage.scan()

    names = stage.environment()
    assert names["HTTPS_PROXY"] == names["HTTP_PROXY"] == "http://127.0.0.1:9"
    assert names["NO_PROXY"] == ""
    assert "no_proxy" not in names
    assert names["PATH"] == stage.saw("cwd")[0]


async def test_the_scan_of_an_image_has_the_workers_network(tmp_path: Path) -> None:
    stage = Stage(tmp_path, environment={"PATH": "/usr/bin:/bin", "HTTPS_PROXY": "http://proxy:1"})

    await stage.scan("image", "app:1")

    assert stage.environment()["HTTPS_PROXY"] == "http://proxy:1"
    assert stage.environment()["PATH"] == stage.saw("cwd")[0]


@pytest.mark.parametrize(
    ("options", "downloads"),
    [
        ({}, ["--download-db-only"]),
        ({"skip_db_update": True}, []),
        ({"server_url": "http://trivy:4954"}, []),
        ({"scanners": ("secret",)}, []),
    ],
)
async def test_the_database_is_brought_up_to_date_before_the_scan(
    tmp_path: Path, options: dict[str, object], downloads: list[str]
) -> None:
    stage = Stage(tmp_path, **options)

    await stage.scan()

    assert stage.downloads == downloads
    assert ("--skip-db-update" in stage.saw("arguments")) is ("server_url" not in options)
    assert not any("/src/app" in line for line in stage.saw("downloads"))


async def test_the_database_of_java_packages_is_had_once_it_was_needed(tmp_path: Path) -> None:
    needed = f"""if [ -e SEEN/java ]; then {EMPTY}; else : > SEEN/java; {fatal("Java DB error: first run")}; fi"""
    stage = Stage(tmp_path, needed.replace("SEEN", str(tmp_path / "seen")))

    await stage.scan()
    assert stage.downloads == ["--download-db-only", "--download-java-db-only"]

    (tmp_path / "cache" / "java-db").mkdir(parents=True)
    (tmp_path / "cache" / "java-db" / "metadata.json").touch()
    await stage.scan()
    assert stage.downloads[2:] == ["--download-db-only", "--download-java-db-only"]


async def test_a_database_that_cannot_be_fetched_is_an_outage_and_nothing_is_scanned(tmp_path: Path) -> None:
    stage = Stage(tmp_path, update=fatal("DB error: failed to download vulnerability DB: no such host"))

    with pytest.raises(IntegrationUnavailable, match="DB error"):
        await stage.scan()

    assert stage.saw("arguments") == []


async def test_a_download_counts_as_time_of_the_scan(tmp_path: Path) -> None:
    with pytest.raises(ScanTimedOut, match=r"not finished within 0\.2 s"):
        await Stage(tmp_path, update="exec /bin/sleep 3600").scan(seconds=0.2)


@pytest.mark.parametrize(
    ("kind", "scanners", "present", "absent"),
    [
        ("config", ("secret", "misconfig"), {"--skip-check-update"}, {"--scanners=misconfig", "--secret-config="}),
        (
            "sbom",
            ("vuln", "secret"),
            {"--scanners=vuln", "--offline-scan"},
            {"--secret-config=", "--skip-check-update"},
        ),
        ("image", ("vuln", "secret"), {"--scanners=vuln,secret", "--image-src=remote", "--secret-config="}, set()),
    ],
)
async def test_each_kind_of_target_has_its_own_flags(
    tmp_path: Path, kind: TargetKind, scanners: tuple[str, ...], present: set[str], absent: set[str]
) -> None:
    stage = Stage(tmp_path, scanners=scanners)

    await stage.scan(kind)

    assert present <= {*stage.saw("arguments")}
    assert absent.isdisjoint(stage.saw("arguments"))


async def test_with_nothing_to_look_for_nothing_is_started(tmp_path: Path) -> None:
    stage = Stage(tmp_path, scanners=("secret",))

    with pytest.raises(IntegrationRejected, match="TRIVY_SCANNERS names nothing"):
        await stage.scan("sbom")

    assert not (stage.seen / "arguments").exists()


def fatal(message: str) -> str:
    return f"printf '2026-11-23T21:16:33Z\\tFATAL\\tFatal error\\t{message}\\n' >&2; exit 1"


@pytest.mark.parametrize(
    "message",
    [
        "run error: init error: DB error: database error: --skip-db-update cannot be specified on the first run",
        "run error: failed to download vulnerability DB: OCI repository error: no such host",
        "twirp error internal: failed to do request: connect: connection refused",
        "remote error: unexpected status code 503 Service Unavailable",
        "unable to write: no space left on device",
    ],
)
async def test_trouble_around_trivy_is_an_outage(tmp_path: Path, message: str) -> None:
    stage = Stage(tmp_path, fatal(message))

    with pytest.raises(IntegrationUnavailable, match="trivy fs: "):
        await stage.scan()

    assert stage.outcomes == [("fs", "unavailable")]


@pytest.mark.parametrize(
    "message",
    [
        "sbom scan error: SBOM decode error: unknown scanning is not yet supported",
        "remote error: UNAUTHORIZED: authentication required",
        "walk dir error: unknown error with /src/app/connection refused: permission denied",
        "unknown flag: --nonsense",
        "",
    ],
)
async def test_any_other_fatal_error_is_no_outage(tmp_path: Path, message: str) -> None:
    stage = Stage(tmp_path, fatal(message))

    with pytest.raises(IntegrationRejected):
        await stage.scan()

    assert stage.outcomes == [("fs", "rejected")]


async def test_a_long_error_keeps_its_cause(tmp_path: Path) -> None:
    with pytest.raises(IntegrationRejected, match=r"^trivy fs: run error: .* the cause$") as raised:
        await Stage(tmp_path, fatal(f"run error: {'x' * 5000} the cause")).scan()

    assert len(str(raised.value)) < 600


async def test_findings_with_exit_code_one_are_an_error_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(IntegrationRejected):
        await Stage(tmp_path, f"{EMPTY}; exit 1").scan()


@pytest.mark.parametrize("script", ["kill -SEGV $$", "echo 'panic: runtime error' >&2; exit 2"])
async def test_a_crash_is_tried_again_and_no_outage(tmp_path: Path, script: str) -> None:
    with pytest.raises(TaskError) as raised:
        await Stage(tmp_path, script).scan()

    assert not isinstance(raised.value, IntegrationUnavailable)
    assert raised.value.retryable


async def test_out_of_memory_is_told_as_such_and_no_outage(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="out of memory") as raised:
        await Stage(tmp_path, "echo 'fatal error: runtime: out of memory' >&2; exit 2").scan()

    assert raised.value.reason is Reason.OUT_OF_MEMORY
    assert not isinstance(raised.value, IntegrationUnavailable)


@pytest.mark.parametrize("name", ["KILL", "TERM"])
async def test_killed_from_outside_is_an_outage(tmp_path: Path, name: str) -> None:
    with pytest.raises(IntegrationUnavailable, match=f"SIG{name}"):
        await Stage(tmp_path, f"kill -{name} $$").scan()


async def test_a_time_out_is_an_outage_with_its_own_reason(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "exec /bin/sleep 3600")

    with pytest.raises(ScanTimedOut) as raised:
        await stage.scan(seconds=0.2)

    assert raised.value.reason is Reason.TIMEOUT
    assert stage.outcomes == [("fs", "timeout")]


async def test_a_program_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    (tmp_path / "trivy").unlink()

    with pytest.raises(IntegrationUnavailable, match="is not installed"):
        await stage.scan()


async def test_a_report_that_is_missing_or_no_report_is_no_outage(tmp_path: Path) -> None:
    for name, script in (("missing", ""), ("torn", """printf '{"Schema' > "$report" """)):
        (tmp_path / name).mkdir()
        with pytest.raises(TaskError, match="report") as raised:
            await Stage(tmp_path / name, script).scan()
        assert raised.value.reason is Reason.REPORT_UNREADABLE
        assert not isinstance(raised.value, IntegrationUnavailable)


async def test_the_servers_token_is_masked_where_trivy_repeats_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, fatal("bad token $TRIVY_TOKEN").replace("'", '"'), server_token=SecretStr("server-secret"))

    with pytest.raises(IntegrationRejected) as raised:
        await stage.scan()

    assert "server-secret" not in str(raised.value)
    assert "bad token ****" in str(raised.value)


async def test_findings_come_out_of_the_report(tmp_path: Path) -> None:
    found = {"VulnerabilityID": "CVE-1", "PkgName": "a", "Severity": "LOW"}
    report = {"SchemaVersion": 2, "Results": [{"Target": "go.sum", "Vulnerabilities": [found]}]}

    scanned = await Stage(tmp_path, f"""printf '%s' '{json.dumps(report)}' > "$report" """).scan()

    assert [finding.rule_id for finding in scanned.findings] == ["CVE-1"]
