"""The CPU quota of a container, from the files that the kernel shows."""

import os
from pathlib import Path

import pytest

from worker_agents.settings.cpu import available_cpus

HOST = len(os.sched_getaffinity(0))


class Cgroups:
    """A made-up /sys/fs/cgroup with this process in it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "cgroup"
        self.own = root / "self"
        self.root.mkdir()

    def put(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def cpus(self) -> int:
        return available_cpus(self.root, self.own)


@pytest.fixture
def cgroups(tmp_path: Path) -> Cgroups:
    return Cgroups(tmp_path)


def test_without_cgroups_the_affinity_counts(cgroups: Cgroups) -> None:
    assert cgroups.cpus() == HOST


def test_version_2_quota_of_a_container(cgroups: Cgroups) -> None:
    cgroups.own.write_text("0::/\n")
    cgroups.put("cpu.max", "50000 100000\n")
    assert cgroups.cpus() == 1


def test_version_2_without_a_limit(cgroups: Cgroups) -> None:
    cgroups.own.write_text("0::/\n")
    cgroups.put("cpu.max", "max 100000\n")
    assert cgroups.cpus() == HOST


def test_the_smallest_quota_on_the_way_up_binds(cgroups: Cgroups) -> None:
    cgroups.own.write_text("0::/pods/worker\n")
    cgroups.put("pods/worker/cpu.max", "400000 100000\n")
    cgroups.put("pods/cpu.max", "100000 100000\n")
    assert cgroups.cpus() == 1


def test_version_1_quota(cgroups: Cgroups) -> None:
    cgroups.own.write_text("12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n")
    cgroups.put("cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "100000\n")
    cgroups.put("cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n")
    assert cgroups.cpus() == 1


def test_version_1_quota_that_is_mounted_at_the_root(cgroups: Cgroups) -> None:
    cgroups.own.write_text("4:cpu,cpuacct:/docker/abc\n")
    cgroups.put("cpu,cpuacct/cpu.cfs_quota_us", "20000\n")
    cgroups.put("cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert cgroups.cpus() == 1


def test_version_1_without_a_limit(cgroups: Cgroups) -> None:
    cgroups.own.write_text("4:cpu:/\n")
    cgroups.put("cpu/cpu.cfs_quota_us", "-1\n")
    cgroups.put("cpu/cpu.cfs_period_us", "100000\n")
    assert cgroups.cpus() == HOST


def test_a_quota_above_the_host_changes_nothing(cgroups: Cgroups) -> None:
    cgroups.own.write_text("0::/\n")
    cgroups.put("cpu.max", "100000000 100000\n")
    assert cgroups.cpus() == HOST


@pytest.mark.parametrize("text", ["", "x", "100000", "1 0"])
def test_an_unreadable_quota_is_none(cgroups: Cgroups, text: str) -> None:
    cgroups.own.write_text("0::/\n")
    cgroups.put("cpu.max", text)
    assert cgroups.cpus() == HOST
