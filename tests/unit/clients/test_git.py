"""Shallow checkouts by the real git, from real repositories, friendly and hostile."""

import base64
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.git_server import GitServer, Repository, run_git, serving
from worker_agents.clients import git as git_module
from worker_agents.clients.git import Git, GitLimits, check_revision
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable, Reason
from worker_agents.model.git_urls import read_git_url


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "served" / "app")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with serving(tmp_path / "served") as running:
        yield running


@pytest.fixture
def into(tmp_path: Path) -> Path:
    directory = tmp_path / "into"
    directory.mkdir()
    return directory


async def checkout(url: str, revision: str, into: Path, **limits: float) -> str:
    git = Git(limits=GitLimits(**limits), environment={})  # type: ignore[arg-type] # seconds, max_bytes
    return await git.checkout(read_git_url(url), revision, into)


def names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


# --- what is checked out -----------------------------------------------------------------------------------------


async def test_a_branch_is_checked_out_at_its_tip_and_nothing_older(repository: Repository, into: Path) -> None:
    repository.commit({"a.txt": "old"})
    tip = repository.commit({"a.txt": "new"})
    assert await checkout(repository.url, "main", into) == tip
    assert (into / "a.txt").read_text() == "new"
    assert run_git(into, "log", "--format=%H").split() == [tip]


async def test_an_annotated_tag_stands_for_its_commit(repository: Repository, into: Path) -> None:
    tagged = repository.commit({"a.txt": "1"})
    repository.git("tag", "--annotate", "v1", "--message", "one")
    repository.commit({"a.txt": "2"})
    assert await checkout(repository.url, "v1", into) == tagged
    assert (into / "a.txt").read_text() == "1"


async def test_a_full_commit_id_needs_no_branch_at_it(repository: Repository, into: Path) -> None:
    wanted = repository.commit({"a.txt": "1"})
    repository.commit({"a.txt": "2"})
    assert await checkout(repository.url, wanted, into) == wanted
    assert (into / "a.txt").read_text() == "1"


async def test_head_is_the_default_branch(repository: Repository, into: Path) -> None:
    repository.commit({"a.txt": "1"})
    repository.git("checkout", "--quiet", "-b", "trunk")
    tip = repository.commit({"a.txt": "2"})
    assert await checkout(repository.url, "HEAD", into) == tip


@pytest.mark.parametrize("revision", ["gone", "refs/heads/gone", "0" * 40, "deadbee"])
async def test_an_unknown_revision_is_refused_for_good(repository: Repository, into: Path, revision: str) -> None:
    repository.commit({"a.txt": "1"})
    with pytest.raises(IntegrationRejected, match="revision: the repository has no such branch, tag or commit"):
        await checkout(repository.url, revision, into)


async def test_a_tag_of_a_file_is_no_commit(repository: Repository, into: Path) -> None:
    repository.commit({"a.txt": "1"})
    repository.git("tag", "blob", repository.git("rev-parse", "HEAD:a.txt"))
    with pytest.raises(IntegrationRejected, match="revision: is not a commit"):
        await checkout(repository.url, "blob", into)


# --- what a repository could try ---------------------------------------------------------------------------------


async def test_nothing_of_the_repository_or_the_machine_runs(
    repository: Repository, into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks by template, filters by attribute and any other program by the user's configuration."""
    ran = tmp_path / "ran"
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (hooks / "post-checkout").chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[init]\ntemplateDir = {hooks.parent}\n[core]\nhooksPath = {hooks}\n[filter "x"]\nsmudge = touch {ran}\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(hooks.parent))
    repository.commit({".gitattributes": "* filter=x\n", "a.txt": "1"})
    await checkout(repository.url, "main", into)
    assert (into / "a.txt").read_text() == "1"
    assert not ran.exists()
    assert not (into / ".git" / "hooks").exists()


async def test_the_workers_own_environment_does_not_steer_git(
    repository: Repository, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"a.txt": "1"})
    monkeypatch.setenv("GIT_EXEC_PATH", "/nonexistent")
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    await Git().checkout(read_git_url(repository.url), "main", into)
    assert (into / "a.txt").read_text() == "1"


async def test_submodules_are_left_alone(repository: Repository, into: Path, tmp_path: Path) -> None:
    other = Repository(tmp_path / "served" / "other")
    other.commit({"inner.txt": "1"})
    repository.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", other.url, "inner")
    repository.commit({"a.txt": "1"})
    await checkout(repository.url, "main", into)
    assert names(into / "inner") == set()


async def test_symbolic_links_are_kept_and_not_followed(repository: Repository, into: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (repository.path / "link").symlink_to(outside)
    repository.commit({"a.txt": "1"})
    await checkout(repository.url, "main", into)
    assert (into / "link").readlink() == outside
    assert names(outside) == set()


async def test_files_too_large_together_are_refused_before_one_is_written(repository: Repository, into: Path) -> None:
    repository.commit({f"{number}.txt": "0" * 100_000 for number in range(30)})
    with pytest.raises(IntegrationRejected, match="revision: its files have 3000000 bytes, and 2000000 are allowed"):
        await checkout(repository.url, "main", into, max_bytes=2_000_000)
    assert names(into) == {".git"}


async def test_a_pack_too_large_is_not_downloaded_to_its_end(repository: Repository, into: Path) -> None:
    (repository.path / "noise").write_bytes(os.urandom(3_000_000))
    repository.commit({})
    with pytest.raises(IntegrationRejected, match="repo_url: the repository is too large"):
        await checkout(repository.url, "main", into, max_bytes=1_000_000)
    assert sum(file.stat().st_size for file in into.rglob("*") if file.is_file()) < 2_000_000


async def test_a_tree_of_trees_that_would_never_end_is_refused(repository: Repository, into: Path) -> None:
    """Ten levels of ten times the same directory: a few objects, ten thousand million files."""
    repository.commit({"a.txt": "1"})
    level = repository.git("rev-parse", "HEAD^{tree}")
    for _ in range(10):
        entries = "".join(f"040000 tree {level}\td{number}\n" for number in range(10))
        level = repository.git("mktree", given=entries)
    repository.git("update-ref", "refs/heads/bomb", repository.git("commit-tree", level, "-m", "bomb"))
    with pytest.raises(IntegrationRejected, match="revision: has too many files"):
        await checkout(repository.url, "bomb", into, listing_seconds=1)
    assert names(into) == {".git"}


# --- over HTTP ---------------------------------------------------------------------------------------------------


async def test_over_http_too(repository: Repository, server: GitServer, into: Path) -> None:
    tip = repository.commit({"a.txt": "1"})
    assert await checkout(f"{server.url}/app/.git", tip, into) == tip
    assert set(server.authorizations) == {None}


async def test_the_token_goes_to_the_server_and_nowhere_else(
    repository: Repository, server: GitServer, into: Path
) -> None:
    repository.commit({"a.txt": "1"})
    git = Git(token="s3cret-token", environment={})
    await git.checkout(read_git_url(f"{server.url}/app/.git"), "main", into)
    sent = base64.b64encode(b"x-access-token:s3cret-token").decode()
    assert set(server.authorizations) == {f"Basic {sent}"}
    left_behind = b"".join(file.read_bytes() for file in into.rglob("*") if file.is_file())
    assert b"s3cret-token" not in left_behind
    assert sent.encode() not in left_behind


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, IntegrationRejected),
        (403, IntegrationRejected),
        (404, IntegrationRejected),
        (429, IntegrationUnavailable),
        (500, IntegrationUnavailable),
        (503, IntegrationUnavailable),
    ],
)
async def test_a_refusal_is_final_and_an_outage_is_tried_again(
    server: GitServer, into: Path, status: int, expected: type[Exception]
) -> None:
    def answer(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(status)
        if status == 401:
            request.send_header("WWW-Authenticate", "Basic realm=x")
        request.end_headers()
        return True

    server.answer = answer
    with pytest.raises(expected):
        await checkout(f"{server.url}/app", "main", into)


async def test_a_redirect_out_of_the_allowed_prefix_is_not_followed(
    repository: Repository, server: GitServer, into: Path
) -> None:
    repository.commit({"a.txt": "1"})
    asked: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> bool:
        asked.append(request.path)
        if not request.path.startswith("/allowed/"):
            return False
        request.send_response(301)
        request.send_header("Location", request.path.replace("/allowed/", "/app/.git/"))
        request.end_headers()
        return True

    server.answer = answer
    with pytest.raises(IntegrationRejected, match=r"repo_url: the repository cannot be read: .*301"):
        await checkout(f"{server.url}/allowed/", "main", into)
    assert all(path.startswith("/allowed/") for path in asked)


async def test_a_server_that_is_down_is_an_outage(into: Path) -> None:
    with pytest.raises(IntegrationUnavailable, match=r"git fetch: .*connect") as error:
        await checkout("http://127.0.0.1:1/app", "main", into)
    assert error.value.retryable


async def test_a_worker_without_git_is_an_outage(
    repository: Repository, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(git_module._ENVIRONMENT, "PATH", str(into))
    with pytest.raises(IntegrationUnavailable, match="the program 'git' is not found") as error:
        await checkout(repository.url, "main", into)
    assert not error.value.retryable, "another attempt finds none either"


async def test_a_server_that_never_answers_costs_the_time_limit(server: GitServer, into: Path) -> None:
    asked, given_up = [], []

    def hang(request: BaseHTTPRequestHandler) -> bool:
        asked.append(request.path)
        given_up.append(request.connection.recv(1))  # returns when git is gone
        return True

    server.answer = hang
    with pytest.raises(IntegrationUnavailable, match="was not done within 1 s") as error:
        await checkout(f"{server.url}/app", "main", into, seconds=1)
    assert error.value.reason is Reason.TIMEOUT
    assert asked


# --- revisions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "revision", ["main", "v1.0", "feature/x-1", "refs/pull/12/head", "release_2", "ümlaut", "a" * 40, "deps@2"]
)
def test_the_name_of_a_branch_tag_or_commit_is_a_revision(revision: str) -> None:
    assert check_revision(revision) == revision


@pytest.mark.parametrize(
    "revision",
    [
        "",
        "-c",
        "--upload-pack=touch /tmp/x",
        "+main",
        "main:refs/heads/x",
        "main^{commit}",
        "main~1",
        "HEAD@{1}",
        "@",
        "a..b",
        "a b",
        "a\nb",
        "a\u202eb",
        "*",
        "refs/heads/*",
        "/main",
        "main/",
        "main.lock",
        "a//b",
        "\\main",
        "a" * 251,
    ],
)
def test_options_refspecs_and_expressions_are_no_revision(revision: str) -> None:
    with pytest.raises(ValueError, match="must "):
        check_revision(revision)
