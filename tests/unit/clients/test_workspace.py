"""The directory that a ticket may work in, and what is left of it afterwards: nothing."""

import asyncio
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.git_server import Repository
from worker_agents.clients.git import Git, GitLimits
from worker_agents.clients.workspace import Workspaces
from worker_agents.clients.workspace_scratch import ScratchDirectories, remove_tree
from worker_agents.model.errors import IntegrationRejected, InvalidParameters, SettingsInvalid, TaskError
from worker_agents.model.git_urls import AllowedGitUrls

NOBODY = 65534
quiet: Callable[[str], None] = lambda _: None  # noqa: E731 # a named function would say no more


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "volume"
    (directory / "project" / "inner").mkdir(parents=True)
    return directory


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path / "served" / "app")
    repository.commit({"a.txt": "1", "package/b.txt": "2"})
    return repository


@pytest.fixture
def checkouts(tmp_path: Path) -> Path:
    return tmp_path / "checkouts"


@pytest.fixture
def scratch(checkouts: Path) -> ScratchDirectories:
    return ScratchDirectories(checkouts)


@pytest.fixture
def workspaces(root: Path, scratch: ScratchDirectories, tmp_path: Path) -> Workspaces:
    allowed = AllowedGitUrls([f"file://{tmp_path}/served"])
    return Workspaces(root, scratch=scratch, allowed=allowed, git=Git(environment={}))


def left_in(checkouts: Path) -> list[Path]:
    """Directories of tickets, in those of all workers."""
    return [directory for worker in checkouts.glob("worker-*") if worker.is_dir() for directory in worker.iterdir()]


# --- a mounted volume --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("working_dir", "expected"),
    [("project", "project"), ("project/inner/..", "project"), (".", "."), (None, "."), ("", ".")],
)
async def test_a_working_directory_is_relative_to_the_root(
    workspaces: Workspaces, root: Path, working_dir: str | None, expected: str
) -> None:
    async with workspaces.source(working_dir=working_dir, repo_url=None, revision=None, log=quiet) as directory:
        assert directory == (root / expected).resolve()


async def test_an_absolute_one_inside_the_root_is_accepted(workspaces: Workspaces, root: Path) -> None:
    path = str(root / "project")
    async with workspaces.source(working_dir=path, repo_url=None, revision=None, log=quiet) as directory:
        assert directory == root / "project"
    assert directory.is_dir()


@pytest.mark.parametrize("working_dir", ["..", "project/../..", "/", "/etc", "link", "link/passwd/..", "project/up"])
async def test_no_way_leads_out_of_the_root(workspaces: Workspaces, root: Path, working_dir: str) -> None:
    (root / "link").symlink_to("/etc")
    (root / "project" / "up").symlink_to("../..")
    with pytest.raises(InvalidParameters, match=r"working_dir: (leads out of TEST_WORKSPACE_ROOT|there is no such)"):
        async with workspaces.source(working_dir=working_dir, repo_url=None, revision=None, log=quiet):
            pytest.fail("entered")


@pytest.mark.parametrize(
    ("working_dir", "problem"),
    [
        ("gone", "there is no such directory"),
        ("project/file", "is not a directory"),
        ("loop", "there is no such directory"),
        ("a" * 5000, "there is no such directory"),
        ("project\0", "must not contain control characters"),
        ("project\n", "must not contain control characters"),
        ("~", "there is no such directory"),
        ("$HOME", "there is no such directory"),
    ],
)
async def test_what_is_no_directory_is_refused_by_name(
    workspaces: Workspaces, root: Path, working_dir: str, problem: str
) -> None:
    (root / "project" / "file").write_text("")
    (root / "loop").symlink_to("loop")
    with pytest.raises(InvalidParameters, match=f"working_dir: {problem}"):
        async with workspaces.source(working_dir=working_dir, repo_url=None, revision=None, log=quiet):
            pytest.fail("entered")


async def test_a_revision_without_a_repository_is_refused(workspaces: Workspaces) -> None:
    """It would run on whatever lies there, and look as if it were that revision."""
    with pytest.raises(InvalidParameters, match="revision: needs repo_url"):
        async with workspaces.source(working_dir="project", repo_url=None, revision="main", log=quiet):
            pytest.fail("entered")


def test_checkouts_and_mounted_sources_must_lie_apart(tmp_path: Path) -> None:
    for root, other in (("a", "a/b"), ("a/b", "a"), ("a", "a")):
        with pytest.raises(SettingsInvalid, match="SCRATCH_DIRECTORY: must not overlap with TEST_WORKSPACE_ROOT"):
            Workspaces(
                tmp_path / root, scratch=ScratchDirectories(tmp_path / other), allowed=AllowedGitUrls([]), git=Git()
            )


# --- a checkout --------------------------------------------------------------------------------------------------


async def test_a_checkout_exists_for_the_length_of_the_block(
    workspaces: Workspaces, repository: Repository, checkouts: Path
) -> None:
    lines: list[str] = []
    async with workspaces.source(working_dir=None, repo_url=repository.url, revision="main", log=lines.append) as path:
        assert (path / "a.txt").read_text() == "1"
        assert path.stat().st_mode & 0o777 == 0o700
    assert left_in(checkouts) == []
    assert lines == [f"checked out {repository.git('rev-parse', 'HEAD')} (main) of {repository.url}"]


async def test_a_working_directory_is_relative_to_the_checkout(
    workspaces: Workspaces, repository: Repository, checkouts: Path
) -> None:
    async with workspaces.source(working_dir="package", repo_url=repository.url, revision=None, log=quiet) as directory:
        assert (directory / "b.txt").read_text() == "2"
    assert left_in(checkouts) == []


async def test_a_link_in_a_repository_leads_nowhere(
    workspaces: Workspaces, repository: Repository, checkouts: Path
) -> None:
    (repository.path / "link").symlink_to("/etc")
    repository.commit({})
    with pytest.raises(InvalidParameters, match="working_dir: leads out of the checkout"):
        async with workspaces.source(working_dir="link", repo_url=repository.url, revision=None, log=quiet):
            pytest.fail("entered")
    assert left_in(checkouts) == []


async def test_two_tickets_with_one_repository_share_nothing(workspaces: Workspaces, repository: Repository) -> None:
    first = workspaces.source(working_dir=None, repo_url=repository.url, revision=None, log=quiet)
    second = workspaces.source(working_dir=None, repo_url=repository.url, revision=None, log=quiet)
    async with first as one, second as other:
        assert one != other
        assert one.parent == other.parent


async def test_it_is_removed_when_the_block_fails_or_is_cancelled(
    workspaces: Workspaces, repository: Repository, checkouts: Path
) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with workspaces.source(working_dir=None, repo_url=repository.url, revision=None, log=quiet):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    assert len(left_in(checkouts)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left_in(checkouts) == []


async def test_a_checkout_that_fails_leaves_nothing(
    workspaces: Workspaces, repository: Repository, checkouts: Path
) -> None:
    with pytest.raises(IntegrationRejected):
        async with workspaces.source(working_dir=None, repo_url=repository.url, revision="gone", log=quiet):
            pytest.fail("entered")
    assert left_in(checkouts) == []


@pytest.mark.parametrize(
    ("repo_url", "revision", "problem"),
    [
        ("file:///elsewhere/app", "main", "repo_url: is not below any of ALLOWED_GIT_URLS"),
        ("app", "main", "repo_url: must start with https://"),
        (None, "--upload-pack=x", "revision: must be the name of a branch"),
    ],
)
async def test_a_wrong_address_or_revision_is_refused_by_name(
    workspaces: Workspaces, repository: Repository, repo_url: str | None, revision: str, problem: str
) -> None:
    with pytest.raises(InvalidParameters, match=problem):
        async with workspaces.source(
            working_dir=None, repo_url=repo_url or repository.url, revision=revision, log=quiet
        ):
            pytest.fail("entered")


async def test_without_allowed_addresses_checkouts_are_off(root: Path, checkouts: Path) -> None:
    off = Workspaces(root, scratch=ScratchDirectories(checkouts), allowed=AllowedGitUrls([]), git=Git())
    with pytest.raises(InvalidParameters, match="repo_url: checkouts are off"):
        async with off.source(working_dir=None, repo_url="https://git.example/a", revision=None, log=quiet):
            pytest.fail("entered")
    assert not checkouts.exists()


# --- what is left over -------------------------------------------------------------------------------------------


async def test_what_a_dead_worker_left_is_removed_and_a_living_ones_work_is_not(
    workspaces: Workspaces, repository: Repository, checkouts: Path
) -> None:
    for name in ("worker-dead", "worker-alive"):
        (checkouts / name / "ticket").mkdir(parents=True)
        (checkouts / f"{name}.lock").touch()
    (checkouts / "somebody-elses").mkdir()
    with (checkouts / "worker-alive.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with workspaces.source(working_dir=None, repo_url=repository.url, revision=None, log=quiet):
            pass
    assert not (checkouts / "worker-dead").exists()
    assert not (checkouts / "worker-dead.lock").exists()
    assert (checkouts / "worker-alive" / "ticket").is_dir()
    assert (checkouts / "somebody-elses").is_dir()


async def test_a_killed_worker_gives_its_lock_back(
    workspaces: Workspaces, scratch: ScratchDirectories, repository: Repository, checkouts: Path
) -> None:
    """A real process, killed while it holds a checkout directory."""
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from worker_agents.clients.workspace_scratch import ScratchDirectories\n"
        "async def main():\n"
        "    async with ScratchDirectories(Path(sys.argv[1])).fresh() as directory:\n"
        "        print(directory, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(checkouts), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    directory = Path((await process.stdout.readline()).decode().strip())
    async with workspaces.source(working_dir=None, repo_url=repository.url, revision=None, log=quiet):
        assert directory.is_dir()
    process.kill()
    await process.wait()
    scratch.close()
    async with workspaces.source(working_dir=None, repo_url=repository.url, revision=None, log=quiet):
        assert not directory.parent.exists()


async def test_closing_leaves_nothing(
    workspaces: Workspaces, scratch: ScratchDirectories, repository: Repository, checkouts: Path
) -> None:
    async with workspaces.source(working_dir=None, repo_url=repository.url, revision=None, log=quiet):
        pass
    scratch.close()
    assert list(checkouts.iterdir()) == []


async def test_a_directory_that_belongs_to_others_is_not_used(
    root: Path, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if os.geteuid() == 0:
        os.chown(elsewhere, NOBODY, NOBODY)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: elsewhere.stat().st_uid + 1)
    workspaces = Workspaces(
        root, scratch=ScratchDirectories(elsewhere), allowed=AllowedGitUrls([repository.url]), git=Git(environment={})
    )
    with pytest.raises(TaskError, match=r"no scratch directory can be made .*belongs to another user"):
        async with workspaces.source(working_dir=None, repo_url=repository.url, revision=None, log=quiet):
            pytest.fail("entered")


async def test_a_volume_that_root_mounted_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes' emptyDir and a tmpfs belong to root, whoever the worker's user is."""
    volume = tmp_path / "volume"
    volume.mkdir()
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    else:
        monkeypatch.setattr(Path, "lstat", lambda _: os.lstat("/usr"))
    scratch = ScratchDirectories(volume)
    async with scratch.fresh() as directory:
        assert directory.is_relative_to(volume)
    scratch.close()


async def test_a_link_that_others_prepared_is_not_used(
    workspaces: Workspaces, repository: Repository, checkouts: Path, tmp_path: Path
) -> None:
    checkouts.symlink_to(tmp_path)
    with pytest.raises(TaskError, match=r"no scratch directory can be made .*it is a link"):
        async with workspaces.source(working_dir=None, repo_url=repository.url, revision=None, log=quiet):
            pytest.fail("entered")


def test_a_tree_deeper_than_a_path_can_be_long_is_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "outside").symlink_to(tmp_path)
    handle = os.open(tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=handle)
        deeper = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    os.close(handle)
    assert remove_tree(tree)
    assert not tree.exists()
    assert tmp_path.is_dir()


@pytest.fixture
def as_an_ordinary_user() -> Iterator[Path]:
    """A directory of somebody's own, and what follows is done by him: to root no directory is read-only."""
    directory = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield directory
    finally:
        os.seteuid(os.getuid())
        shutil.rmtree(directory)


def test_a_read_only_directory_is_removed_by_its_ordinary_owner(as_an_ordinary_user: Path) -> None:
    """As the module cache of Go leaves them."""
    tree = as_an_ordinary_user / "tree"
    (tree / "sealed" / "inner").mkdir(parents=True)
    (tree / "sealed" / "inner" / "file").touch()
    for directory in (tree / "sealed" / "inner", tree / "sealed", tree):
        directory.chmod(0o500)
    assert remove_tree(tree)
    assert not tree.exists()


async def test_limits_of_git_reach_the_checkout(
    root: Path, scratch: ScratchDirectories, repository: Repository
) -> None:
    small = Workspaces(
        root,
        scratch=scratch,
        allowed=AllowedGitUrls([repository.url]),
        git=Git(limits=GitLimits(max_bytes=1), environment={}),
    )
    with pytest.raises(IntegrationRejected, match=r"too large|bytes are allowed"):
        async with small.source(working_dir=None, repo_url=repository.url, revision=None, log=quiet):
            pytest.fail("entered")
