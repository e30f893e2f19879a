"""The memory limit of a container, from the files that the kernel shows."""

from pathlib import Path

import pytest

from worker_agents.settings.memory import available_memory


def limit(folder: Path, own: str, files: dict[str, str]) -> int | None:
    (folder / "self").write_text(own)
    for name, text in files.items():
        file = folder / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return available_memory(folder / "cgroup", folder / "self")


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"memory.max": "536870912\n"}, 536_870_912),
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/pods/a\n", {"pods/a/memory.max": "max", "pods/memory.max": "1000", "memory.max": "2000"}, 1000),
        ("0::/../elsewhere\n", {"memory.max": "4096"}, 4096),
        ("5:memory:/docker/a\n", {"memory/docker/a/memory.limit_in_bytes": "4096\n"}, 4096),
        ("5:memory:/docker/a\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("4:cpu,cpuacct:/docker/a\n", {"cpu,cpuacct/docker/a/memory.limit_in_bytes": "1"}, None),
    ],
)
def test_the_smallest_limit_on_the_way_up_binds(
    tmp_path: Path, own: str, files: dict[str, str], expected: int | None
) -> None:
    assert limit(tmp_path, own, files) == expected


def test_without_cgroups_there_is_no_limit(tmp_path: Path) -> None:
    assert available_memory(tmp_path / "cgroup", tmp_path / "self") is None
