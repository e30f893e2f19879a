"""How many CPUs this container may use: the scheduler's affinity, cut by the cgroup's quota (version 2 or 1)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def available_cpus(cgroups: Path = _CGROUPS, own_cgroup: Path = _OWN_CGROUP) -> int:
    """At least 1; a part of a CPU counts as a whole one."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [math.ceil(quota) for quota in _quotas(cgroups, own_cgroup)]
    return max(1, min([affinity, *quotas]))


def _quotas(cgroups: Path, own_cgroup: Path) -> Iterator[float]:
    """Quotas in CPUs of the own cgroup and of those above it: the smallest binds."""
    for line in _read(own_cgroup).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _upwards(cgroups, path, _quota_v2)
        elif "cpu" in controllers.split(","):
            yield from _upwards(cgroups / controllers, path, _quota_v1)


def _upwards(mount: Path, path: str, quota_of: Callable[[Path], float | None]) -> Iterator[float]:
    own = mount / path.lstrip("/")
    for directory in (own, *own.parents):
        if not directory.is_relative_to(mount):
            return
        quota = quota_of(directory)
        if quota is not None:
            yield quota


def _quota_v2(directory: Path) -> float | None:
    return _ratio(*_read(directory / "cpu.max").split())


def _quota_v1(directory: Path) -> float | None:
    return _ratio(_read(directory / "cpu.cfs_quota_us"), _read(directory / "cpu.cfs_period_us"))


def _ratio(quota: str = "", period: str = "", *_: str) -> float | None:
    """``None`` for no limit, which version 2 writes as ``max`` and version 1 as ``-1``."""
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
