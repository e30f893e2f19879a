"""A shallow checkout of one revision, by the ``git`` program, from a repository that nobody needs to trust.

What a repository could use against the worker, and what stands against it:

- *its address*: only what ``git_urls`` allows gets here; git itself speaks no other protocol than the address's own
  (``GIT_ALLOW_PROTOCOL``: no ``ext::``), and follows no redirect, which could lead out of the allowed prefix;
- *the revision*: no option, no refspec, no expression (:func:`check_revision`), and after ``--`` on the command line;
- *what git would run*: no configuration but ours, no hooks, no templates, no submodules, no filters (``.gitattributes``
  can only name programs that a configuration defines), no credential helper, no prompt;
- *its size*: a pack larger than ``max_bytes`` ends the fetch; the files of the revision are added up from the pack
  before one of them is written; memory and time are limited;
- *symbolic links* are kept, as projects need them and git never writes through them. Whoever reads the checkout must
  not follow them out of it.
"""

from __future__ import annotations

import base64
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker_agents.clients.process import ProcessLimits, ProcessOutcome, run_process
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable, Reason
from worker_agents.model.git_urls import GitUrl
from worker_agents.telemetry.masking import SecretMasker

DEFAULT_BRANCH: Final = "HEAD"
"""The revision to ask for where a ticket names none."""

SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED_ON: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSH_AUTH_SOCK")
_MEMORY_BYTES = 2 * 1024**3
# The longest output is a line of a few digits for each file: this is more than half a million files.
_OUTPUT_BYTES = 4 * 1024**2
_LONGEST_REVISION = 250
# What git forbids in the name of a ref, and "~^:?*[\\{" because they make an expression or a refspec.
_IN_NO_REVISION = re.compile(r"[\x00-\x20\x7f~^:?*\[\\{]|\.\.|//|/\.|\.lock(?:/|$)")
_LAST_LINES = 6

# As git 2.39 says them with LC_ALL=C; what is not listed counts as an outage and is tried again.
_NO_SUCH_REVISION = re.compile(
    r"couldn't find remote ref|not our ref|unadvertised object|no such remote ref|did not send all necessary objects"
)
_REFUSED = re.compile(
    r"returned error: (?:3\d\d|40[0-7]|410|451)|Authentication failed|could not read (?:Username|Password)"
    r"|[Rr]epository .*not found|does not appear to be a git repository|Permission denied|Host key verification failed"
    r"|unable to update url base from redirection|does not support shallow|dubious ownership|certificate"
)
_TOO_LARGE = re.compile(r"File too large|[Oo]ut of memory|malloc failed|mmap failed")

_ENVIRONMENT: Final = {
    "PATH": SEARCH_PATH,
    "LC_ALL": "C",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=15 -oClearAllForwardings=yes -oPermitLocalCommand=no",
    "GIT_SSH_VARIANT": "ssh",
}
_SETTINGS: Final = {
    "advice.detachedHead": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    # One pack, whatever its number of objects: that is the one file whose size is limited.
    "fetch.unpackLimit": "1",
    "gc.auto": "0",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
    "init.defaultBranch": "main",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
}


@dataclass(frozen=True, slots=True)
class GitLimits:
    """``seconds`` for a whole checkout, ``listing_seconds`` for its list of files, which takes about one for a million.

    ``max_bytes`` for the files of the revision, and for the pack that brings them. ``silence`` as of ``ProcessLimits``.
    """

    seconds: float = 300.0
    silence: float | None = None
    listing_seconds: float = 60.0
    max_bytes: int = 1024**3


class Git:
    """Makes checkouts. ``token`` is sent to every allowed http(s) repository, as the password of Basic authentication."""

    def __init__(
        self, *, limits: GitLimits | None = None, token: str = "", environment: Mapping[str, str] = os.environ
    ) -> None:
        self._limits = limits or GitLimits()
        self._credentials = base64.b64encode(f"x-access-token:{token}".encode()).decode() if token else ""
        self._mask = SecretMasker([token, self._credentials] if token else []).text
        names = [*_PASSED_ON, *(name.lower() for name in _PASSED_ON if name.endswith("_PROXY"))]
        self._passed_on = {name: environment[name] for name in names if name in environment}

    async def checkout(self, url: GitUrl, revision: str, into: Path) -> str:
        """Bring ``revision`` (a branch, a tag or a full commit id) into the empty directory ``into``; the commit's id.

        ``url`` and ``revision`` must have been checked. Raises :class:`IntegrationRejected` when the repository or the
        revision is not there, not for us, or too large, :class:`IntegrationUnavailable` when git or the repository
        cannot be reached, and :class:`WorkerStalled`.
        """
        run = _Checkout(into, self._environment(url, into), self._limits, self._mask)
        await run.git("init", "--quiet", "--template=")
        await run.git("fetch", "--quiet", "--no-tags", "--depth=1", "--", url.text, revision)
        commit = await run.commit()
        await run.check_size(commit)
        await run.git("checkout", "--quiet", "--force", "--detach", commit)
        return commit

    def _environment(self, url: GitUrl, into: Path) -> dict[str, str]:
        settings = dict(_SETTINGS)
        if self._credentials and url.scheme in {"https", "http"}:
            settings[f"http.{url.origin}.extraHeader"] = f"Authorization: Basic {self._credentials}"
        numbered: dict[str, str] = {}
        for number, (name, value) in enumerate(settings.items()):
            numbered |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        return {
            **self._passed_on,
            **_ENVIRONMENT,
            **numbered,
            "GIT_CONFIG_COUNT": str(len(settings)),
            "GIT_ALLOW_PROTOCOL": url.scheme,
            "GIT_CEILING_DIRECTORIES": str(into.parent),
        }


def check_revision(revision: str) -> str:
    """``revision`` as it came. Raises ``ValueError`` with the problem when it cannot be a branch, a tag or a commit id."""
    if not revision or len(revision) > _LONGEST_REVISION:
        raise ValueError(f"must have 1 to {_LONGEST_REVISION} characters")
    is_name = not (revision.startswith(("-", "+", "/", ".", "@")) or revision.endswith(("/", ".")))
    if not is_name or _IN_NO_REVISION.search(revision) or not revision.isprintable():
        raise ValueError("must be the name of a branch or tag, or a full commit id")
    return revision


class _Checkout:
    """One repository being filled, step by step, within one time limit."""

    def __init__(self, directory: Path, environment: Mapping[str, str], limits: GitLimits, mask: Callable[[str], str]):
        self._directory = directory
        self._environment = environment
        self._limits = limits
        self._mask = mask
        self._ends_at = time.monotonic() + limits.seconds

    async def git(self, *arguments: str) -> str:
        """Run one git command; its output. Raises what :meth:`Git.checkout` raises."""
        outcome = await self._run(arguments, self._ends_at - time.monotonic())
        if outcome.timed_out:
            raise IntegrationUnavailable(
                f"the checkout was not done within {self._limits.seconds:g} s", reason=Reason.TIMEOUT
            )
        if outcome.exit_code != 0:
            raise self._error(arguments[0], outcome)
        return outcome.stdout

    async def commit(self) -> str:
        """The commit that was fetched, behind a tag if it was one."""
        try:
            return (await self.git("rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}")).strip()
        except IntegrationUnavailable as error:
            if error.reason is Reason.TIMEOUT:
                raise
            raise IntegrationRejected("revision: is not a commit") from error

    async def check_size(self, commit: str) -> None:
        """Add up the files before any is written: a few small objects can stand for a tree without end."""
        outcome = await self._run(
            ("ls-tree", "-r", "--full-tree", "--format=%(objectsize)", commit), self._limits.listing_seconds
        )
        # A submodule has no size ("-"). Words are there only where output was left out.
        sizes = [size for size in outcome.stdout.split() if size != "-"]
        if outcome.timed_out or not all(size.isdecimal() for size in sizes):
            raise IntegrationRejected("revision: has too many files")
        if outcome.exit_code != 0:
            raise self._error("ls-tree", outcome)
        if sum(map(int, sizes)) > self._limits.max_bytes:
            raise IntegrationRejected(
                f"revision: its files have {sum(map(int, sizes))} bytes, and {self._limits.max_bytes} are allowed"
            )

    async def _run(self, arguments: Sequence[str], seconds: float) -> ProcessOutcome:
        limits = ProcessLimits(
            seconds=max(seconds, 0.001),
            kill_grace=1.0,
            silence=self._limits.silence,
            output_bytes=_OUTPUT_BYTES,
            memory_bytes=_MEMORY_BYTES,
            file_bytes=self._limits.max_bytes,
        )
        return await run_process(
            ["git", *arguments], cwd=self._directory, env=self._environment, limits=limits, mask=self._mask
        )

    def _error(self, command: str, outcome: ProcessOutcome) -> IntegrationRejected | IntegrationUnavailable:
        stderr = outcome.stderr.strip()
        said = " | ".join(stderr.splitlines()[-_LAST_LINES:]) or outcome.ending
        if outcome.signal == signal.SIGXFSZ or _TOO_LARGE.search(stderr) or self._pack_is_full():
            return IntegrationRejected(
                f"repo_url: the repository is too large ({self._limits.max_bytes} bytes are allowed): {said}"
            )
        if _NO_SUCH_REVISION.search(stderr):
            return IntegrationRejected(f"revision: the repository has no such branch, tag or commit: {said}")
        if _REFUSED.search(stderr):
            return IntegrationRejected(f"repo_url: the repository cannot be read: {said}")
        return IntegrationUnavailable(f"git {command}: {said}")

    def _pack_is_full(self) -> bool:
        """The kernel ends what writes past the limit of a file, and git does not say of what its child died."""
        packs = self._directory.glob(".git/objects/pack/*pack*")
        return any(pack.stat().st_size >= self._limits.max_bytes for pack in packs)
