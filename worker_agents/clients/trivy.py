"""Trivy: scans of directories, configuration, images and bills of materials, by the real program (``contracts.md`` 4).

What the scanned tree could do to its own scan, and does not: ``trivy.yaml``, ``.trivyignore`` and ``trivy-secret.yaml`` are
read from the current directory by default. So Trivy runs in an empty directory of its own, and is told to load none of
them. (A ``trivy:ignore`` comment beside the line it excuses is a feature of Trivy that nothing switches off.)

What the scanned tree could do to others: Terraform files name modules at any address, and Trivy fetches them, by git or by
itself, offline or not. So a scan finds no git, and every proxy it knows leads nowhere; whatever is downloaded for it,
which is databases of vulnerabilities, is downloaded before it, without a look at the tree. The scan of an image must reach
its registry and keeps the network, but has no git either.

Exit code 1 means a fatal error, whatever was found: the verdict is read from the report, never from the exit code.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from worker_agents.clients.process import ProcessLimits, ProcessOutcome, ProgramMissing, run_process
from worker_agents.clients.trivy_report import ScanReport, read_report
from worker_agents.clients.workspace_scratch import ScratchDirectories
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable, Reason, TaskError
from worker_agents.telemetry.events import Emit, ExternalCall
from worker_agents.telemetry.masking import SecretMasker
from worker_agents.telemetry.tracing import new_call_span

TargetKind = Literal["fs", "config", "image", "sbom"]

# Of a long error, where it happened and its cause: Go puts the one first and the other last.
_HEAD_LENGTH: Final = 200
_TAIL_LENGTH: Final = 300

# The other scanners need files that these kinds of target do not have.
_SCANNERS_OF: Final[Mapping[TargetKind, frozenset[str]]] = {
    "fs": frozenset({"vuln", "secret", "misconfig", "license"}),
    "config": frozenset({"misconfig"}),
    "image": frozenset({"vuln", "secret", "misconfig", "license"}),
    "sbom": frozenset({"vuln", "license"}),
}
# What Trivy gets of the worker's environment: how to reach the network, and what it logs in with at registries.
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_SECRETS: Final = ("TRIVY_PASSWORD", "TRIVY_REGISTRY_TOKEN")
_PASSED_ON: Final = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "DOCKER_CONFIG", "TRIVY_USERNAME", *_SECRETS),
    *("TRIVY_DB_REPOSITORY", "TRIVY_JAVA_DB_REPOSITORY"),
)
# The discard port: nobody listens there.
_NOWHERE: Final = "http://127.0.0.1:9"
# Its own clock never decides: ours does, and tells a time-out from a fatal error.
_OWN_TIMEOUT_SLACK: Final = 600
_KILL_GRACE_SECONDS: Final = 2.0
_OUTPUT_BYTES: Final = 65_536
_ENDED_BY_OTHERS: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
# A fatal error that tells of Trivy's surroundings rather than of what it was asked to scan.
_OUTAGE: Final = re.compile(
    r"DB error|database error|failed to download|no space left on device|read-only file system"
    r"|connection refused|connection reset|no such host|i/o timeout|network is unreachable|no route to host"
    r"|context deadline exceeded|TLS handshake|x509:|TOOMANYREQUESTS|too many open files"
    r"|unexpected status code (?:429|5\d\d)|twirp error (?:internal|unavailable|unknown)|cache may be in use",
    re.IGNORECASE,
)
_NO_JAVA_DATABASE: Final = re.compile(r"Java DB", re.IGNORECASE)
_DATABASE: Final = "--download-db-only"
_JAVA_DATABASE: Final = "--download-java-db-only"
_SILENT: Final = ("--skip-version-check", "--disable-telemetry")
_NO_UPDATES: Final = ("--skip-db-update", "--skip-java-db-update")
_OUT_OF_MEMORY: Final = re.compile(r"runtime: out of memory|cannot allocate memory", re.IGNORECASE)


class ScanTimedOut(IntegrationUnavailable):
    """The scan took longer than it may. An outage: its fallback applies at once."""

    reason = Reason.TIMEOUT


@dataclass(frozen=True, slots=True)
class ScanTarget:
    """``name`` is the absolute path of a directory (``fs``, ``config``) or file (``sbom``), or an image's reference."""

    kind: TargetKind
    name: str


class Trivy:
    """Runs ``program``. ``scanners`` are what it looks for, as far as a kind of target has it.

    ``cache_dir`` keeps the databases of vulnerabilities, which are downloaded unless ``skip_db_update``; with ``server_url`` a
    Trivy server has them, and may need ``server_token``. Each scan has a
    directory of its own from ``scratch``. ``environment`` is the worker's; little of it is passed on. ``silence`` as of
    ``ProcessLimits``.
    """

    def __init__(
        self,
        *,
        emit: Emit,
        scanners: tuple[str, ...],
        cache_dir: Path,
        scratch: ScratchDirectories,
        program: str = "trivy",
        skip_db_update: bool = False,
        server_url: str = "",
        server_token: SecretStr | None = None,
        environment: Mapping[str, str] | None = None,
        silence: float | None = None,
    ) -> None:
        self._emit = emit
        self._scanners = scanners
        self._cache_dir = cache_dir
        self._scratch = scratch
        self._program = program
        self._skip_db_update = skip_db_update
        self._server_url = server_url
        self._silence = silence
        self._updating = asyncio.Lock()
        worker = os.environ if environment is None else environment
        self._search_path = worker.get("PATH", os.defpath)
        self._environment = {name: worker[name] for name in _PASSED_ON if name in worker}
        self._proxies = {name: worker[name] for name in _PROXIES if name in worker}
        if server_token is not None and server_token.get_secret_value():
            self._environment["TRIVY_TOKEN"] = server_token.get_secret_value()
        self._mask = SecretMasker(self._environment.get(name, "") for name in (*_SECRETS, "TRIVY_TOKEN")).text

    def scanners_for(self, kind: TargetKind) -> tuple[str, ...]:
        """What is looked for in such a target; empty when TRIVY_SCANNERS has nothing for it."""
        return tuple(name for name in self._scanners if name in _SCANNERS_OF[kind])

    async def scan(self, target: ScanTarget, *, seconds: float) -> ScanReport:
        """Scan for at most ``seconds``. Safe to repeat; cancelling it ends Trivy.

        Raises :class:`ScanTimedOut`, :class:`IntegrationUnavailable` (not installed, no database, no server, killed from
        outside), :class:`IntegrationRejected` (there is nothing to look for, or Trivy cannot scan this), and
        :class:`TaskError` (``out_of_memory``, ``report_unreadable``, a crash of its own, and :class:`WorkerStalled`).
        """
        if not self.scanners_for(target.kind):
            raise IntegrationRejected(f"trivy {target.kind}: TRIVY_SCANNERS names nothing that such a target has")
        began = time.monotonic()
        outcome = "unavailable"
        try:
            report = await self._scan(target, seconds)
            outcome = "ok"
            return report
        except ScanTimedOut:
            outcome = "timeout"
            raise
        except IntegrationRejected:
            outcome = "rejected"
            raise
        finally:
            self._emit(ExternalCall("trivy", target.kind, outcome, time.monotonic() - began, trace=new_call_span()))

    async def _scan(self, target: ScanTarget, seconds: float) -> ScanReport:
        async with self._scratch.fresh() as directory:
            run = _Run(target, directory, ends_at=time.monotonic() + seconds, seconds=seconds)
            updates = "vuln" in self.scanners_for(target.kind) and not (self._skip_db_update or self._server_url)
            if updates:
                await self._update_databases(run)
            ended = await self._run(self._command(run), run, has_network=target.kind == "image")
            if updates and ended.exit_code == 1 and _NO_JAVA_DATABASE.search(ended.stderr):
                await self._update(_JAVA_DATABASE, run)
                ended = await self._run(self._command(run), run, has_network=target.kind == "image")
            if ended.exit_code != 0:
                raise _failure(run, ended)
            return await asyncio.to_thread(read_report, run.report)

    async def _update_databases(self, run: _Run) -> None:
        """Fetch what is older than a day. The large one of Java packages is had once something needed it."""
        await self._update(_DATABASE, run)
        if await asyncio.to_thread((self._cache_dir / "java-db" / "metadata.json").exists):
            await self._update(_JAVA_DATABASE, run)

    async def _update(self, flag: str, run: _Run) -> None:
        # Two downloads at once would write over each other.
        async with self._updating:
            command = [self._program, "fs", "--quiet", "--config=", flag, f"--cache-dir={self._cache_dir}"]
            ended = await self._run([*command, *_SILENT], run, has_network=True)
        if ended.exit_code != 0:
            raise _failure(run, ended)

    async def _run(self, command: list[str], run: _Run, *, has_network: bool) -> ProcessOutcome:
        program = shutil.which(self._program, path=self._search_path)
        if program is None:
            raise ProgramMissing(f"the program {self._program} is not installed")
        left = run.ends_at - time.monotonic()
        if left <= 0:
            raise run.timed_out()
        neutral = run.directory / "cwd"
        neutral.mkdir(exist_ok=True)
        # PATH leads to nothing: no git.
        own = {"HOME": str(neutral), "TMPDIR": str(run.directory), "PATH": str(neutral)}
        return await run_process(
            [program, *command[1:]],
            cwd=neutral,
            env=self._environment | (self._proxies if has_network else self._no_network()) | own,
            limits=ProcessLimits(
                left, kill_grace=_KILL_GRACE_SECONDS, silence=self._silence, output_bytes=_OUTPUT_BYTES
            ),
            mask=self._mask,
        )

    def _no_network(self) -> dict[str, str]:
        """The Trivy server is reached all the same, and directly."""
        server = urlsplit(self._server_url).hostname or ""
        return {"HTTP_PROXY": _NOWHERE, "HTTPS_PROXY": _NOWHERE, "NO_PROXY": server}

    def _command(self, run: _Run) -> list[str]:
        """The command line. What a ticket names comes last, behind ``--``."""
        kind = run.target.kind
        command = [self._program, kind, "--quiet", "--config=", "--ignorefile=", "--format=json", "--exit-code=0"]
        command += [f"--output={run.report}", f"--cache-dir={self._cache_dir}", "--cache-backend=memory", *_SILENT]
        command += [f"--timeout={int(run.seconds) + _OWN_TIMEOUT_SLACK}s"]
        if kind != "sbom":
            command += ["--skip-check-update"]
        if kind != "config":
            command += [f"--scanners={','.join(self.scanners_for(kind))}", "--offline-scan"]
            command += ["--list-all-pkgs=false", "--skip-vex-repo-update"]
            command += [f"--server={self._server_url}"] if self._server_url else _NO_UPDATES
        if kind in ("fs", "image"):
            command += ["--secret-config="]
        if kind == "image":
            command += ["--image-src=remote"]
        return [*command, "--", run.target.name]


@dataclass(frozen=True, slots=True)
class _Run:
    """A scan under way: its own directory, its end on the monotonic clock, and the ``seconds`` that it got."""

    target: ScanTarget
    directory: Path
    ends_at: float
    seconds: float

    @property
    def report(self) -> Path:
        return self.directory / "report.json"

    def timed_out(self) -> ScanTimedOut:
        return ScanTimedOut(f"trivy {self.target.kind}: not finished within {self.seconds:g} s")


def _failure(run: _Run, ended: ProcessOutcome) -> TaskError:
    """What an end other than exit code 0 means."""
    name = f"trivy {run.target.kind}"
    if ended.timed_out:
        return run.timed_out()
    if ended.out_of_memory or _OUT_OF_MEMORY.search(ended.stderr):
        return TaskError(f"{name}: out of memory", reason=Reason.OUT_OF_MEMORY, retryable=True)
    if ended.signal in _ENDED_BY_OTHERS:
        return IntegrationUnavailable(f"{name}: {ended.ending}")
    # Names that the target brings are no evidence: a file may be called "connection refused".
    words = re.sub(re.escape(run.target.name) + r".*?(?=: |$)", "the target", _fatal_words(ended.stderr))
    message = f"{name}: {_shortened(words) or ended.ending}"
    if _OUTAGE.search(words):
        return IntegrationUnavailable(message)
    if ended.exit_code == 1:
        return IntegrationRejected(message)
    return TaskError(f"{name}: {ended.ending}: {_shortened(words)}", retryable=True)


def _fatal_words(stderr: str) -> str:
    """The last fatal error, on one line and without its time stamp."""
    _, found, fatal = stderr.rpartition("\tFATAL\t")
    return " ".join((fatal if found else stderr).split()).removeprefix("Fatal error ")


def _shortened(words: str) -> str:
    if len(words) <= _HEAD_LENGTH + _TAIL_LENGTH:
        return words
    return f"{words[:_HEAD_LENGTH]} ... {words[-_TAIL_LENGTH:]}"
