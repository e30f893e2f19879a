"""What is said of the settings alone, and of the machine that they are used on."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from worker_agents.cli.doctor.clock import Readings, judge_clock
from worker_agents.cli.doctor.findings import Finding, Level
from worker_agents.cli.doctor.machine import judge_directories, judge_room, judge_slots
from worker_agents.cli.doctor.programs import judge_database, judge_test_programs
from worker_agents.cli.doctor.safety import judge_drain, judge_settings
from worker_agents.settings import load_settings

STRONG = "9f2c61d07ab84e35"
PRODUCTION = {
    "FALLBACK_MODE": "fail",
    "ADMIN_TOKEN": STRONG,
    "KAFKA_CREATE_TOPICS": "false",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9093",
    "KAFKA_SECURITY_PROTOCOL": "SSL",
    "CODE_FORGE_URL": "https://forge.example",
    "CODE_FORGE_TOKEN": STRONG,
}
GIB, MIB = 1024**3, 1024**2


def bad(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level in (Level.ERROR, Level.WARNING)]


def of_settings(**changed: str) -> list[Finding]:
    return bad(judge_settings(load_settings({**PRODUCTION, **changed})))


def test_settings_that_are_fit_for_production() -> None:
    assert of_settings() == []


@pytest.mark.parametrize(
    ("changed", "check", "level", "words"),
    [
        ({"FALLBACK_MODE": "simulate"}, "settings.fallbacks", "warning", "CODE_FORGE_FALLBACK, OPA_FALLBACK"),
        ({"OPA_FALLBACK": "simulate"}, "settings.fallbacks", "warning", "simulated results: OPA_FALLBACK"),
        ({"TEST_FALLBACK": "simulate"}, "settings.fallbacks", "warning", "TEST_FALLBACK is simulate"),
        ({"ADMIN_TOKEN": ""}, "settings.admin_token", "warning", "is unset"),
        ({"ADMIN_TOKEN": "short"}, "settings.admin_token", "error", "shorter than 16 characters, so it can be guessed"),
        ({"ADMIN_TOKEN": "change-me-please-123"}, "settings.admin_token", "error", "common words"),
        ({"ADMIN_TOKEN": "abababababababababab"}, "settings.admin_token", "error", "few different characters"),
        ({"ADMIN_TOKEN": "01234567890123456789"}, "settings.admin_token", "error", "a sequence"),
        ({"CODE_FORGE_URL": "http://forge.example"}, "settings.transport", "warning", "CODE_FORGE_URL is http"),
        ({"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, "settings.transport", "warning", "is PLAINTEXT"),
        (
            {"VAULT_ENABLED": "true", "VAULT_ADDRESS": "http://vault.example:8200"},
            *("settings.transport", "warning", "VAULT_ADDRESS is http"),
        ),
        ({"KAFKA_CREATE_TOPICS": "true"}, "settings.topics", "warning", "KAFKA_CREATE_TOPICS is true"),
        ({"WORKER_ID": "the-worker"}, "settings.worker_id", "warning", "WORKER_ID is fixed: the-worker"),
        ({"KAFKA_TICKET_TOPIC": "x"}, "settings.doubtful", "warning", "did you mean KAFKA_TICKETS_TOPIC?"),
    ],
)
def test_each_fault_of_the_settings(changed: dict[str, str], check: str, level: str, words: str) -> None:
    (finding,) = of_settings(**changed)

    assert (finding.check, finding.level) == (check, level)
    assert words in finding.what
    assert finding.why
    assert finding.advice


def test_what_stays_on_this_machine_or_carries_no_secret_needs_no_encryption() -> None:
    assert of_settings(CODE_FORGE_URL="http://127.0.0.1:8000", OPA_URL="http://opa.example:8181") == []
    assert of_settings(KAFKA_SECURITY_PROTOCOL="PLAINTEXT", KAFKA_BOOTSTRAP_SERVERS="localhost:9092,[::1]:9093") == []


def test_a_name_that_begins_with_the_hosts_is_no_fixed_name() -> None:
    assert of_settings(WORKER_ID=f"{socket.gethostname()}-7") == []


def test_a_fallback_of_a_type_that_is_not_served_is_no_matter() -> None:
    assert of_settings(SUPPORTED_TASK_TYPES="TEST", FALLBACK_MODE="simulate") == []


# --- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grace", "level"), [("60", "ok"), ("45", "ok"), ("40", "warning"), ("30", "error"), ("", "skipped")]
)
def test_the_pod_must_be_given_the_time_that_a_stop_takes(grace: str, level: str) -> None:
    (finding,) = judge_drain(load_settings({"TERMINATION_GRACE_PERIOD_SECONDS": grace}))

    assert (finding.check, finding.level) == ("lifecycle.drain", level)


def test_a_grace_that_is_too_short_is_told_once_only() -> None:
    assert of_settings(TERMINATION_GRACE_PERIOD_SECONDS="30") == []


# --- machine ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "cpus", "memory", "words"),
    [
        ({"MAX_CONCURRENT_TEST": "8"}, 2, None, "MAX_CONCURRENT_TEST is 8, and this container may use 2 CPUs"),
        ({"TRIVY_CONCURRENT_SCANS": "3"}, 1, None, "TRIVY_CONCURRENT_SCANS is 3, and this container may use 1 CPU"),
        ({"TRIVY_CONCURRENT_SCANS": "2"}, 2, 512 * MIB, "may need 1.0 GiB, and the container has 0.5 GiB"),
        (
            {"TRIVY_ENABLED": "false", "MAX_CONCURRENT_TEST": "2", "TEST_MEMORY_LIMIT_MB": "1024"},
            *(2, GIB, "may need 2.2 GiB, and the container has 1.0 GiB"),
        ),
    ],
)
def test_more_slots_than_the_container_bears(
    changed: dict[str, str], cpus: int, memory: int | None, words: str
) -> None:
    environ = {"TRIVY_CONCURRENT_SCANS": "1", "MAX_CONCURRENT_TEST": "1", **changed}
    (finding,) = judge_slots(load_settings(environ), cpus, memory)

    assert (finding.check, finding.level) == ("machine.slots", "warning")
    assert words in finding.what


def test_slots_that_fit() -> None:
    (finding,) = judge_slots(load_settings({"TRIVY_CONCURRENT_SCANS": "1", "MAX_CONCURRENT_TEST": "2"}), 2, GIB)

    assert finding.level == "ok"


@pytest.mark.parametrize(("free", "levels"), [(3 * GIB, []), (GIB, ["warning"]), (100 * MIB, ["error"])])
def test_room_on_the_disk(free: int, levels: list[str]) -> None:
    assert [finding.level for finding in judge_room({"SCRATCH_DIRECTORY": free})] == levels


def directories(folder: Path, **changed: str) -> list[Finding]:
    named = {
        "TEST_WORKSPACE_ROOT": folder / "work",
        "SCRATCH_DIRECTORY": folder / "scratch",
        "TRIVY_CACHE_DIR": folder / "cache",
    }
    environ = {name: str(path) for name, path in named.items()} | changed
    (folder / "work").mkdir(exist_ok=True)
    return [finding for finding in judge_directories(load_settings(environ)) if finding.check == "machine.directories"]


def test_directories_that_can_be_made_are_fine_and_nothing_is_left_in_them(tmp_path: Path) -> None:
    (finding,) = directories(tmp_path)

    assert finding.level == "ok"
    assert list(tmp_path.iterdir()) == [tmp_path / "work"]
    assert list((tmp_path / "work").iterdir()) == []


def test_a_worker_that_writes_no_files_needs_no_directories(tmp_path: Path) -> None:
    assert [finding.level for finding in directories(tmp_path, SUPPORTED_TASK_TYPES="BUILD")] == ["skipped"]


def test_a_workspace_that_somebody_named_and_that_is_not_there(tmp_path: Path) -> None:
    (finding,) = directories(tmp_path, TEST_WORKSPACE_ROOT=str(tmp_path / "volume"))

    assert (finding.level, "there is no directory" in finding.what) == ("error", True)


def test_a_directory_that_cannot_be_written_to() -> None:
    # Nobody, root included, makes a file there.
    environ = {"SCRATCH_DIRECTORY": "/proc/1/scratch", "TRIVY_CACHE_DIR": "/proc/1/trivy"}
    found = [each for each in judge_directories(load_settings(environ)) if each.check == "machine.directories"]

    assert [finding.level for finding in found] == ["error", "error"]
    assert "SCRATCH_DIRECTORY: nothing can be written to /proc/1/scratch" in found[0].what


# --- programs --------------------------------------------------------------------------------------------------------


def executable(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_each_test_command_needs_its_program(tmp_path: Path) -> None:
    path = executable(tmp_path, "pytest", "npm", "go")

    (finding,) = judge_test_programs(load_settings({"TEST_COMMAND_PATH": path}))
    assert (finding.level, finding.what) == ("warning", "no program on TEST_COMMAND_PATH for: mvn test")

    executable(tmp_path, "mvn")
    (finding,) = judge_test_programs(load_settings({"TEST_COMMAND_PATH": path}))
    assert finding.level == "ok"


def test_no_test_program_at_all_is_an_error_unless_tests_are_not_for_this_worker(tmp_path: Path) -> None:
    none = {"TEST_COMMAND_PATH": str(tmp_path)}

    assert [finding.level for finding in judge_test_programs(load_settings(none))] == ["error"]
    for unneeded in ({"SUPPORTED_TASK_TYPES": "BUILD"}, {"ALLOWED_TEST_COMMANDS": "[]"}):
        assert [finding.level for finding in judge_test_programs(load_settings({**none, **unneeded}))] == ["skipped"]


NOW = datetime(2026, 3, 15, tzinfo=UTC)


def database(age: timedelta) -> dict[str, str]:
    return {"UpdatedAt": (NOW - age).isoformat().replace("+00:00", "Z")}


@pytest.mark.parametrize(
    ("known", "changed", "level"),
    [
        (database(timedelta(hours=5)), {}, "ok"),
        ({"UpdatedAt": "2026-03-14T18:30:12.123456789Z"}, {}, "ok"),
        (database(timedelta(days=30)), {}, "ok"),
        (database(timedelta(days=30)), {"TRIVY_SKIP_DB_UPDATE": "true"}, "warning"),
        (None, {}, "warning"),
        (None, {"TRIVY_SKIP_DB_UPDATE": "true"}, "error"),
        (None, {"TRIVY_SCANNERS": "secret"}, "skipped"),
        (None, {"TRIVY_SERVER_URL": "http://trivy:4954"}, "skipped"),
    ],
)
def test_the_database_of_vulnerabilities(known: Any, changed: dict[str, str], level: str) -> None:
    (finding,) = judge_database(known, load_settings(changed), NOW)

    assert finding.level == level


# --- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ahead", "level"), [(0.4, "ok"), (-20.0, "warning"), (20.0, "warning"), (600.0, "error")])
def test_a_clock_that_goes_wrong(ahead: float, level: str) -> None:
    readings = Readings()
    readings.add("OPA", ahead)
    (finding,) = judge_clock(readings)

    assert (finding.check, finding.level) == ("clock.skew", level)
    assert "OPA" in finding.what
    assert ("behind" in finding.what) == (ahead > 5)


def test_a_clock_that_cannot_be_compared() -> None:
    assert [finding.level for finding in judge_clock(Readings())] == ["skipped"]


@pytest.mark.parametrize(
    ("date", "ahead"),
    [
        ("Sun, 15 Mar 2026 00:00:10 GMT", 10.5),
        ("tomorrow", None),
        (None, None),
        ("Sun, 99 Mar 2026 00:00:10 GMT", None),
    ],
)
def test_the_date_of_an_answer(date: str | None, ahead: float | None) -> None:
    readings = Readings()
    readings.add_date("OPA", date, NOW.timestamp())

    assert readings.seconds.get("OPA") == ahead
