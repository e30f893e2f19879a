"""Directories that exist for the length of one ticket, and are cleared away even after a worker that crashed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from worker_agents.model.errors import TaskError

_LOCK_SUFFIX = ".lock"
_PREFIX = "worker-"


class ScratchDirectories:
    """Fresh directories below ``base``, each with an unpredictable name and for this user only.

    Each worker process has a directory of its own there, and beside it a file that it keeps locked while it lives: the
    kernel gives the lock back when the process dies, however it dies. So what nobody holds a lock for is left over from
    a crash; it is removed before the next worker makes its first directory. On a volume without locks nothing is removed.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self._own: _Home | None = None
        self._preparing = Lock()

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Path]:
        """An empty directory (mode 0700, a real path) that is removed at the end with all that it holds then.

        Raises :class:`TaskError` when none can be made.
        """
        # The long part waits in a thread; the directory itself is made here, where no cancellation can come between.
        await asyncio.to_thread(self._own_directory)
        directory = self._make()
        try:
            yield directory
        finally:
            # A second cancellation ends the wait, not the removal.
            await asyncio.shield(asyncio.to_thread(remove_tree, directory))

    def close(self) -> None:
        """Remove this process's own directory and give up its lock."""
        with self._preparing:
            if self._own is not None:
                remove_tree(self._own.path)
                self._own.lock.unlink(missing_ok=True)
                os.close(self._own.handle)
                self._own = None

    def _make(self) -> Path:
        try:
            return Path(tempfile.mkdtemp(dir=self._own_directory()))
        except OSError as error:
            raise self._error(error) from error

    def _own_directory(self) -> Path:
        try:
            with self._preparing:
                if self._own is None:
                    base = _private(self.base)
                    _sweep(base)
                    self._own = _new_home(base)
                return self._own.path
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> TaskError:
        return TaskError(f"no scratch directory can be made in {self.base}: {error.strerror}", retryable=True)


@dataclass(frozen=True, slots=True)
class _Home:
    """A worker process's own directory; ``handle`` holds the lock on the file beside it."""

    path: Path
    lock: Path
    handle: int


def _private(base: Path) -> Path:
    """``base``, made if need be. It may lie in a directory for everyone: somebody else's, or a link, is refused.

    Root's is not: that is what a volume mounted for us looks like, and root could do anything anyway.
    """
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = base.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (os.geteuid(), 0):
        raise PermissionError(errno.EPERM, "it is a link, or belongs to another user")
    return base.resolve()


def _new_home(base: Path) -> _Home:
    while True:
        handle, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_LOCK_SUFFIX, dir=base)
        fcntl.flock(handle, fcntl.LOCK_EX)
        lock = Path(name)
        # Another worker that swept between these two lines has taken the file away.
        if lock.exists():
            home = lock.with_suffix("")
            home.mkdir(mode=0o700)
            return _Home(home, lock, handle)
        os.close(handle)


def _sweep(base: Path) -> None:
    """Remove what workers left behind that are no more."""
    for lock in base.glob(f"{_PREFIX}*{_LOCK_SUFFIX}"):
        with contextlib.suppress(OSError), lock.open("rb") as file:  # held by a living worker, or just swept by another
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if remove_tree(lock.with_suffix("")):
                lock.unlink()


def remove_tree(directory: Path) -> bool:
    """Remove ``directory`` and what is in it, read-only or not; whether it is gone.

    By ``rm``, which opens each level from the one above: a hostile tree may be deeper than a path can be long, or than
    Python's own recursion goes.
    """
    for command in ("rm -rf --", "chmod -R u+rwx --", "rm -rf --"):
        try:
            subprocess.run(
                [*command.split(), str(directory)], stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
        except FileNotFoundError:
            shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return True
    return False
