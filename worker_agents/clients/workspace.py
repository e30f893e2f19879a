"""The source under test: a directory on a mounted volume, or a checkout that exists for one ticket only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from worker_agents.clients.git import DEFAULT_BRANCH, Git, check_revision
from worker_agents.clients.workspace_scratch import ScratchDirectories
from worker_agents.model.errors import InvalidParameters, SettingsInvalid
from worker_agents.model.git_urls import AllowedGitUrls, GitUrl


class Workspaces:
    """Gives each ticket the directory that it may work in.

    ``root`` holds the directories that tickets may name; nothing is ever removed or made there. Checkouts are made in
    ``scratch``, which must not overlap with ``root``: a run in ``root`` itself would otherwise find the source of other
    tickets.
    """

    def __init__(self, root: Path, *, scratch: ScratchDirectories, allowed: AllowedGitUrls, git: Git) -> None:
        """Raises :class:`SettingsInvalid` when the two directories overlap."""
        self._root = root
        self._scratch = scratch
        self._allowed = allowed
        self._git = git
        real_root, real_scratch = root.resolve(), scratch.base.resolve()
        if real_root.is_relative_to(real_scratch) or real_scratch.is_relative_to(real_root):
            raise SettingsInvalid(["SCRATCH_DIRECTORY: must not overlap with TEST_WORKSPACE_ROOT"])

    def source(
        self, *, working_dir: str | None, repo_url: str | None, revision: str | None, log: Callable[[str], None]
    ) -> AbstractAsyncContextManager[Path]:
        """The directory to work in, for the length of the ``with`` block.

        ``repo_url`` with ``revision`` (a branch, a tag or a full commit id; without it the default branch) is checked out
        anew and removed afterwards, however the block ends; ``working_dir`` is relative to it then, and otherwise to the
        workspace root; without it, that is the directory. The path is real, without symbolic links.

        Raises :class:`InvalidParameters` naming ``working_dir``, ``repo_url`` or ``revision``, and what
        :meth:`Git.checkout` raises.
        """
        if repo_url is None:
            return self._mounted(working_dir, revision)
        return self._checked_out(self._url(repo_url), _revision(revision), working_dir, log)

    @asynccontextmanager
    async def _mounted(self, working_dir: str | None, revision: str | None) -> AsyncIterator[Path]:
        if revision is not None:
            raise InvalidParameters("parameters: revision: needs repo_url, which says what to check out")
        yield await asyncio.to_thread(_directory_inside, self._root, working_dir or ".", "TEST_WORKSPACE_ROOT")

    @asynccontextmanager
    async def _checked_out(
        self, url: GitUrl, revision: str, working_dir: str | None, log: Callable[[str], None]
    ) -> AsyncIterator[Path]:
        async with self._scratch.fresh() as directory:
            commit = await self._git.checkout(url, revision, directory)
            log(f"checked out {commit} ({revision}) of {url.text}")
            yield await asyncio.to_thread(_directory_inside, directory, working_dir or ".", "the checkout")

    def _url(self, repo_url: str) -> GitUrl:
        if not self._allowed:
            raise InvalidParameters(
                "parameters: repo_url: checkouts are off on this worker (ALLOWED_GIT_URLS is empty)"
            )
        try:
            return self._allowed.check(repo_url)
        except ValueError as error:
            raise InvalidParameters(f"parameters: repo_url: {error}") from error


def _revision(revision: str | None) -> str:
    try:
        return DEFAULT_BRANCH if revision is None else check_revision(revision)
    except ValueError as error:
        raise InvalidParameters(f"parameters: revision: {error}") from error


def _directory_inside(root: Path, working_dir: str, root_name: str) -> Path:
    """The real path of ``working_dir``, which must be a directory in ``root`` once all symbolic links are followed."""
    if not working_dir.isprintable():
        raise InvalidParameters("parameters: working_dir: must not contain control characters")
    try:
        real_root = root.resolve(strict=True)
        path = (real_root / working_dir).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise InvalidParameters(f"parameters: working_dir: there is no such directory in {root_name}") from error
    if not path.is_relative_to(real_root):
        raise InvalidParameters(f"parameters: working_dir: leads out of {root_name}")
    if not path.is_dir():
        raise InvalidParameters("parameters: working_dir: is not a directory")
    return path
