"""Looks for the programs that executors start: Trivy, git and the test commands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from worker_agents.cli.doctor.checks import Check
from worker_agents.cli.doctor.clock import Readings
from worker_agents.cli.doctor.findings import Finding, Subject, ok_unless
from worker_agents.cli.doctor.integrations import TRIVY, not_used
from worker_agents.cli.doctor.probes import Probe, Service, is_refused, refused, silent, token_unknown, unwell
from worker_agents.clients.git import SEARCH_PATH
from worker_agents.clients.http import Answer
from worker_agents.clients.process import ProcessLimits, ProcessOutcome, run_process
from worker_agents.settings import Settings

_TRIVY = TRIVY.subject
_DATABASE = Subject("integrations.trivy_database")
_SERVER = Subject("integrations.trivy_server")
_GIT = Subject("programs.git")
_TESTS = Subject("programs.tests")

_OLD_DATABASE = timedelta(days=7)
_OLDEST_GIT = (2, 36)


def program_checks(settings: Settings, readings: Readings, unread: Collection[str], seconds: float) -> list[Check]:
    """Checks of ``seconds`` each. ``unread`` are the secret settings that lie in Vault and could not be read."""

    async def trivy() -> Iterable[Finding]:
        return await _trivy(settings, seconds)

    async def server() -> Iterable[Finding]:
        if "trivy_server_token" in unread:
            return [token_unknown(_SERVER, "the Trivy server", "TRIVY_SERVER_TOKEN")]
        return await _trivy_server(settings, readings, seconds)

    async def git() -> Iterable[Finding]:
        return await _git(settings, seconds)

    async def tests() -> Iterable[Finding]:
        return judge_test_programs(settings)

    return [
        Check(_TRIVY.check, trivy),
        Check(_SERVER.check, server),
        Check(_GIT.check, git),
        Check(_TESTS.check, tests),
    ]


async def _output(command: list[str], path: str, seconds: float) -> ProcessOutcome:
    """What a program says of itself, in an empty directory and without the worker's environment."""
    with tempfile.TemporaryDirectory() as empty:
        environment = {"PATH": path, "HOME": empty, "LC_ALL": "C"}
        limits = ProcessLimits(seconds, kill_grace=0.5)
        return await run_process(command, cwd=Path(empty), env=environment, limits=limits)


# --- Trivy -----------------------------------------------------------------------------------------------------------


async def _trivy(settings: Settings, seconds: float) -> list[Finding]:
    if (unused := not_used(TRIVY, settings)) is not None:
        return [unused]
    path = os.environ.get("PATH", os.defpath)
    loss = TRIVY.loss(settings.trivy_fallback)
    if shutil.which("trivy", path=path) is None:
        return [
            _TRIVY.error(
                "trivy is not found on PATH",
                why=loss,
                advice="Put it into the worker's image, or set TRIVY_ENABLED=false.",
            )
        ]
    command = ["trivy", "version", "--format=json", f"--cache-dir={settings.trivy_cache_dir}"]
    ended = await _output(command, path, seconds)
    known = _json(ended.stdout)
    if ended.exit_code != 0 or "Version" not in known:
        return [
            _TRIVY.error(
                f"trivy does not tell its version: {ended.ending}: {' '.join(ended.stderr.split())[:200]}",
                why=loss,
                advice="Run `trivy version` by hand; the program may be of another architecture.",
            )
        ]
    database = judge_database(known.get("VulnerabilityDB"), settings, datetime.now(UTC))
    return [_TRIVY.ok(f"trivy {known['Version']}"), *database]


def judge_database(known: object, settings: Settings, now: datetime) -> Iterator[Finding]:
    """``known`` is what ``trivy version`` says of the database of vulnerabilities, if there is one."""
    if "vuln" not in settings.trivy_scanners:
        yield _DATABASE.skipped("not needed: TRIVY_SCANNERS does not name vuln")
    elif settings.trivy_server_url:
        yield _DATABASE.skipped("not needed here: the Trivy server has it")
    elif not isinstance(known, dict):
        yield _no_database(settings)
    else:
        updated = datetime.fromisoformat(str(known.get("UpdatedAt")))
        yield from _database_age(now - updated, settings)


def _no_database(settings: Settings) -> Finding:
    what = f"there is no database of vulnerabilities in {settings.trivy_cache_dir}"
    if settings.trivy_skip_db_update:
        return _DATABASE.error(
            f"{what}, and TRIVY_SKIP_DB_UPDATE is true",
            why="Every scan with vuln is an outage (DB error).",
            advice="Fill the directory (trivy image --download-db-only --cache-dir …), or set TRIVY_SKIP_DB_UPDATE=false.",
        )
    return _DATABASE.warning(
        f"{what} yet",
        why="The first scan downloads it, which takes minutes and needs the network; without a volume every new pod does.",
        advice="Keep TRIVY_CACHE_DIR on a volume, or use a Trivy server (TRIVY_SERVER_URL).",
    )


def _database_age(age: timedelta, settings: Settings) -> Iterator[Finding]:
    if settings.trivy_skip_db_update and age > _OLD_DATABASE:
        yield _DATABASE.warning(
            f"the database of vulnerabilities is {age.days} days old",
            why="Vulnerabilities that became known since are not found.",
            advice="Bring a new one into TRIVY_CACHE_DIR, or set TRIVY_SKIP_DB_UPDATE=false.",
        )
    else:
        yield _DATABASE.ok(f"the database of vulnerabilities is {max(age.total_seconds(), 0) / 3600:.0f} h old")


async def _trivy_server(settings: Settings, readings: Readings, seconds: float) -> list[Finding]:
    if not settings.trivy_server_url or not_used(TRIVY, settings) is not None:
        return []
    loss = TRIVY.loss(settings.trivy_fallback)
    service = Service("the Trivy server", "TRIVY_SERVER", settings.trivy_server_url, settings.trivy_server_token, loss)
    async with Probe(service, readings, seconds / 2) as probe:
        answer = await probe.get("/healthz")
    if not isinstance(answer, Answer):
        return [silent(service, answer)]
    if is_refused(answer):
        return [refused(service, answer)]
    if not answer.is_success:
        return [unwell(service, "/healthz", answer)]
    return [service.subject.ok(f"the Trivy server answers at {service.url}")]


# --- git -------------------------------------------------------------------------------------------------------------


async def _git(settings: Settings, seconds: float) -> list[Finding]:
    if not settings.allowed_git_urls:
        return [_GIT.skipped("not needed: ALLOWED_GIT_URLS is empty, so nothing is checked out")]
    if shutil.which("git", path=SEARCH_PATH) is None:
        return [_no_git()]
    ended = await _output(["git", "--version"], SEARCH_PATH, seconds)
    found = re.search(r"(\d+)\.(\d+)[\w.]*", ended.stdout)
    if ended.exit_code != 0 or found is None:
        return [_no_git(f"git does not tell its version: {ended.ending}")]
    if (int(found[1]), int(found[2])) < _OLDEST_GIT:
        return [_no_git(f"git is {found[0]}, older than 2.36")]
    return [_GIT.ok(f"git {found[0]}")]


def _no_git(what: str = f"git is not found on {SEARCH_PATH}") -> Finding:
    return _GIT.error(
        what,
        why="TEST and VALIDATE tickets with repo_url fail.",
        advice="Put git 2.36 or newer into the worker's image.",
    )


# --- test commands ---------------------------------------------------------------------------------------------------


def judge_test_programs(settings: Settings) -> list[Finding]:
    """Whether there is a program for each of the commands that TEST tickets may run."""
    served = settings.supported_task_types
    if served is not None and "TEST" not in served:
        return [_TESTS.skipped("not needed: SUPPORTED_TASK_TYPES does not name TEST")]
    if not settings.allowed_test_commands:
        return [_TESTS.skipped("not needed: ALLOWED_TEST_COMMANDS allows none")]
    path = settings.test_command_path
    missing = [each for each in settings.allowed_test_commands if shutil.which(shlex.split(each)[0], path=path) is None]
    found = len(settings.allowed_test_commands) - len(missing)
    fine = _TESTS.ok(f"there is a program for each of {', '.join(settings.allowed_test_commands)}")
    return ok_unless([_no_programs(missing, settings, found)] if missing else [], fine)


def _no_programs(missing: list[str], settings: Settings, found: int) -> Finding:
    find = _TESTS.warning if found else _TESTS.error
    ends = "get simulated results" if settings.test_fallback == "simulate" else "fail"
    return find(
        f"no program on TEST_COMMAND_PATH for: {', '.join(missing)}",
        why=f"TEST tickets with such commands {ends}.",
        advice="Install them in the worker's image, add their directory to TEST_COMMAND_PATH, or take them out of "
        "ALLOWED_TEST_COMMANDS.",
    )


def _json(text: str) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
