"""How often the kernel's out-of-memory killer struck in this container (cgroup version 2 or 1)."""

from __future__ import annotations

from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def out_of_memory_kills(cgroups: Path = _CGROUPS, own_cgroup: Path = _OWN_CGROUP) -> int | None:
    """A counter that only rises, or ``None`` where it cannot be read. Children share this process's cgroup."""
    for line in _read(own_cgroup).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            counter = _counter(cgroups, path, "memory.events")
        elif "memory" in controllers.split(","):
            counter = _counter(cgroups / controllers, path, "memory.oom_control")
        else:
            continue
        if counter is not None:
            return counter
    return None


def _counter(mount: Path, path: str, name: str) -> int | None:
    # In a container the mount often shows the own cgroup as its root, whatever the path says.
    for directory in (mount / path.lstrip("/"), mount):
        for line in _read(directory / name).splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill" and value.isdecimal():
                return int(value)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
