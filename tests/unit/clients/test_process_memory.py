"""The kernel's counter of out-of-memory kills, as version 2 and 1 of cgroups show it."""

from pathlib import Path

import pytest

from worker_agents.clients.process_memory import out_of_memory_kills

V2 = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"


@pytest.mark.parametrize(
    ("own", "file", "content", "kills"),
    [
        ("0::/pods/one\n", "pods/one/memory.events", V2, 2),
        ("0::/pods/one\n", "memory.events", V2, 2),
        ("0::/\n", "memory.events", V2, 2),
        ("7:cpu:/x\n4:memory:/pods/one\n0::/\n", "memory/pods/one/memory.oom_control", V1, 4),
        ("4:memory:/pods/one\n", "memory/memory.oom_control", V1, 4),
        ("0::/\n", "memory.events", "nonsense\n", None),
        ("4:cpu:/\n", "memory.events", V2, None),
        ("", "memory.events", V2, None),
    ],
)
def test_the_counter(tmp_path: Path, own: str, file: str, content: str, kills: int | None) -> None:
    cgroups, own_cgroup = tmp_path / "cgroup", tmp_path / "own"
    (cgroups / file).parent.mkdir(parents=True)
    (cgroups / file).write_text(content)
    own_cgroup.write_text(own)

    assert out_of_memory_kills(cgroups, own_cgroup) == kills


def test_no_cgroups_at_all(tmp_path: Path) -> None:
    assert out_of_memory_kills(tmp_path / "cgroup", tmp_path / "own") is None
