"""How much memory this container may use (cgroup version 2 or 1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
# Version 1 writes the largest number of pages for no limit.
_NO_LIMIT = 2**60


def available_memory(cgroups: Path = _CGROUPS, own_cgroup: Path = _OWN_CGROUP) -> int | None:
    """Bytes, the smallest limit of the own cgroup and of those above it; ``None`` where there is none."""
    return min((limit for limit in _limits(cgroups, own_cgroup) if limit < _NO_LIMIT), default=None)


def _limits(cgroups: Path, own_cgroup: Path) -> Iterator[int]:
    for line in _read(own_cgroup).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _upwards(cgroups, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _upwards(cgroups / controllers, path, "memory.limit_in_bytes")


def _upwards(mount: Path, path: str, name: str) -> Iterator[int]:
    own = mount / path.lstrip("/")
    for directory in (own, *own.parents):
        if directory.is_relative_to(mount) and (text := _read(directory / name)).isdecimal():
            yield int(text)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
