"""Reading files that the code under test wrote."""

import os
import time
from pathlib import Path

import pytest

from worker_agents.reports.files import read_report_file
from worker_agents.reports.model import ReportStale, ReportUnreadable

LONG_AGO = 0.0


def read(path: str, root: Path, **limits: int) -> bytes | None:
    return read_report_file(path, root=root, newer_than=LONG_AGO, **limits)


def problem(path: str, root: Path, **limits: int) -> str:
    with pytest.raises(ReportUnreadable) as caught:
        read(path, root, **limits)
    return str(caught.value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "secret.json").write_text("secret")
    return work


def test_a_file_is_read_by_its_relative_or_absolute_path(root: Path) -> None:
    (root / "out").mkdir()
    (root / "out/report.json").write_text("content")

    assert read("out/report.json", root) == b"content"
    assert read("./out/../out/report.json", root) == b"content"
    assert read(str(root / "out/report.json"), root) == b"content"


@pytest.mark.parametrize("path", ["report.json", "no/such/report.json", "file/report.json"])
def test_an_absent_file_is_none(path: str, root: Path) -> None:
    (root / "file").touch()

    assert read(path, root) is None


@pytest.mark.parametrize("path", ["../secret.json", "out/../../secret.json", "/etc/hostname", "../work2/x"])
def test_paths_that_leave_the_working_directory_are_refused(path: str, root: Path) -> None:
    (root / "out").mkdir()

    assert "lies outside of the working directory" in problem(path, root)


def test_a_neighbour_whose_name_begins_alike_is_outside(root: Path) -> None:
    neighbour = root.with_name("work-2")
    neighbour.mkdir()
    (neighbour / "report.json").write_text("secret")

    assert "outside" in problem(str(neighbour / "report.json"), root)


def test_a_symbolic_link_is_refused_wherever_it_leads(root: Path) -> None:
    (root / "report.json").write_text("content")
    (root / "inside.json").symlink_to("report.json")
    (root / "outside.json").symlink_to(root.parent / "secret.json")
    (root / "loop.json").symlink_to("loop.json")

    for name in ("inside.json", "outside.json", "loop.json"):
        assert problem(name, root) == f"report {name}: is a symbolic link"


def test_directories_may_be_links_only_while_they_stay_inside(root: Path) -> None:
    (root / "real").mkdir()
    (root / "real/report.json").write_text("content")
    (root / "link").symlink_to("real")
    (root / "escape").symlink_to(root.parent)

    assert read("link/report.json", root) == b"content"
    assert "outside" in problem("escape/secret.json", root)


def test_a_working_directory_that_is_itself_reached_by_a_link_is_no_matter(root: Path) -> None:
    (root / "report.json").write_text("content")
    alias = root.with_name("alias")
    alias.symlink_to(root)

    assert read("report.json", alias) == b"content"
    assert read(str(alias / "report.json"), alias) == b"content"


def test_a_directory_swapped_for_a_link_while_it_is_opened_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "out").mkdir()
    (root / "out/secret.json").write_text("harmless")
    open_really = os.open

    def open_after_the_swap(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        if path == "out":
            (root / "out").rename(root / "moved")
            (root / "out").symlink_to(root.parent)
        return open_really(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", open_after_the_swap)

    assert read("out/secret.json", root) is None


def test_a_fifo_is_refused_without_waiting_for_a_writer(root: Path) -> None:
    os.mkfifo(root / "report.json")

    assert problem("report.json", root) == "report report.json: is no regular file"


def test_a_device_is_refused(root: Path) -> None:
    try:
        os.mknod(root / "report.json", 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root may make a device")

    assert "is no regular file" in problem("report.json", root)


@pytest.mark.parametrize("path", ["out", "out/", "", ".", "..", "out/.."])
def test_a_directory_is_refused(path: str, root: Path) -> None:
    (root / "out").mkdir()

    assert "is a directory" in problem(path, root)


def test_a_large_file_is_refused_and_one_of_the_allowed_size_is_not(root: Path) -> None:
    (root / "report.json").write_bytes(b"x" * 1000)

    assert read("report.json", root, max_bytes=1000) == b"x" * 1000
    assert "is larger than" in problem("report.json", root, max_bytes=999)


def test_a_huge_sparse_file_is_refused_by_default(root: Path) -> None:
    with (root / "report.json").open("wb") as file:
        file.truncate(2**40)

    assert problem("report.json", root) == "report report.json: is larger than 32 MiB"


def test_a_file_that_grows_while_it_is_read_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "report.json").write_bytes(b"x")
    read_really = os.read

    def read_while_it_grows(descriptor: int, count: int) -> bytes:
        with (root / "report.json").open("ab") as file:
            file.write(b"x" * 600)
        return read_really(descriptor, count)

    monkeypatch.setattr(os, "read", read_while_it_grows)

    assert "is larger than" in problem("report.json", root, max_bytes=1000)


def test_a_file_from_before_the_run_is_stale(root: Path) -> None:
    (root / "report.json").write_text("content")
    os.utime(root / "report.json", (1000.25, 1000.25))

    assert read_report_file("report.json", root=root, newer_than=1000.2) == b"content"
    with pytest.raises(ReportStale, match=r"^report report\.json: is older than this run$"):
        read_report_file("report.json", root=root, newer_than=1000.5)


def test_a_file_system_that_keeps_whole_seconds_makes_no_file_stale(root: Path) -> None:
    (root / "report.json").write_text("content")
    os.utime(root / "report.json", (1000, 1000))

    assert read_report_file("report.json", root=root, newer_than=1000.9) == b"content"
    with pytest.raises(ReportStale):
        read_report_file("report.json", root=root, newer_than=1001.1)


def test_the_clock_of_file_times_may_lag_a_tick_behind(root: Path) -> None:
    (root / "report.json").write_text("content")
    os.utime(root / "report.json", (1000.495, 1000.495))

    assert read_report_file("report.json", root=root, newer_than=1000.5) == b"content"
    with pytest.raises(ReportStale):
        read_report_file("report.json", root=root, newer_than=1000.52)


def test_a_file_written_right_after_the_start_is_never_stale(root: Path) -> None:
    for _ in range(300):
        started = time.time()
        (root / "report.json").write_text("content")
        assert read_report_file("report.json", root=root, newer_than=started) == b"content"


@pytest.mark.parametrize("path", ["a\0b", "a\0/b", "\ud800", "x" * 300])
def test_impossible_names_are_refused(path: str, root: Path) -> None:
    assert problem(path, root)


def test_messages_name_the_file_relative_to_the_working_directory(root: Path) -> None:
    (root / "out").mkdir()

    assert problem(str(root / "out"), root) == "report out: is a directory"


def test_a_file_that_may_not_be_read_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "report.json").write_text("content")

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)

    assert problem("report.json", root) == "report report.json: permission denied"
