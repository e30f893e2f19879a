"""Opens reports safely: the code under test wrote them, and chose their names, kinds and sizes."""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from worker_agents.reports.model import ReportStale, ReportUnreadable

MAX_REPORT_BYTES = 32 * 2**20

# File times come from the kernel's coarse clock, which lags behind the one that ``newer_than`` is read from.
_COARSE_CLOCK_SECONDS = 0.01
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
_PROBLEMS = {
    errno.EACCES: "permission denied",
    errno.ELOOP: "is a symbolic link",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ENXIO: "is no regular file",
}


def read_report_file(path: str, *, root: Path, newer_than: float, max_bytes: int = MAX_REPORT_BYTES) -> bytes | None:
    """The file's content, or None where there is no such file.

    ``path`` is relative to ``root`` or an absolute one below it. Directories on the way may be symbolic links as long as
    they stay below ``root``; the file itself may not be one. ``newer_than`` is wall-clock time in seconds.

    Raises:
        ReportStale: the file was last written before ``newer_than``.
        ReportUnreadable: it lies outside of ``root``, is no regular file, is larger than ``max_bytes``, or cannot be read.
    """
    name = relative_name(path, root)
    try:
        with _opened(path, name, root) as descriptor:
            _check(os.fstat(descriptor), name, newer_than)
            content = _read(descriptor, max_bytes + 1)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        problem = _PROBLEMS.get(error.errno or 0, error.strerror or "cannot be read")
        raise ReportUnreadable(name, problem) from None
    except ValueError:
        raise ReportUnreadable(name, "is no valid file name") from None
    if len(content) > max_bytes:
        raise ReportUnreadable(name, f"is larger than {max_bytes / 2**20:g} MiB")
    return content


def relative_name(path: str, root: Path) -> str:
    """How messages call the file: relative to ``root`` where it is below."""
    pure = PurePath(path)
    return str(pure.relative_to(root)) if pure.is_relative_to(root) else path


@contextmanager
def _opened(path: str, name: str, root: Path) -> Iterator[int]:
    """A descriptor reached from ``root`` one component at a time: a directory swapped for a link meanwhile is not followed."""
    directories, file_name = _way(path, name, root)
    at = os.open(os.path.realpath(root), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for directory in directories:
            below = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        # Non-blocking: opening a FIFO would wait for a writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(file_name, flags, dir_fd=at)
    finally:
        os.close(at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _way(path: str, name: str, root: Path) -> tuple[tuple[str, ...], str]:
    """The real directories from ``root`` to the file, and the file's own name, which is not resolved."""
    directory, file_name = os.path.split(root / path)
    if PurePath(path).name in ("", ".."):
        raise ReportUnreadable(name, "is a directory")
    real_root, real_directory = os.path.realpath(root), PurePath(os.path.realpath(directory))
    if not real_directory.is_relative_to(real_root):
        raise ReportUnreadable(name, "lies outside of the working directory")
    return real_directory.relative_to(real_root).parts, file_name


def _check(status: os.stat_result, name: str, newer_than: float) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ReportUnreadable(name, "is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise ReportUnreadable(name, "is no regular file")
    if _is_older(status.st_mtime_ns, newer_than):
        raise ReportStale(name, "is older than this run")


def _is_older(modified_ns: int, newer_than: float) -> bool:
    if modified_ns % 10**9 == 0:  # the file system may keep whole seconds only
        newer_than = math.floor(newer_than)
    return modified_ns / 10**9 < newer_than - _COARSE_CLOCK_SECONDS


def _read(descriptor: int, limit: int) -> bytes:
    """Up to ``limit`` bytes: the file may still grow."""
    parts: list[bytes] = []
    while limit > 0 and (part := os.read(descriptor, min(limit, 1 << 20))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)
