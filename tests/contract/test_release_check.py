"""`make release-check` says what is wrong with a release: each fault is made for real, and found."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.release_check.__main__ import ROOT, build, collection_problems, failure, same, unpacked
from tools.release_check.contents import sdist_contents, sdist_problems, wheel_contents, wheel_problems
from tools.release_check.installed import (
    Expected,
    command_problems,
    expected_of,
    import_problems,
    licence_problems,
)
from tools.release_check.metadata import changelog_problems, metadata_problems, wheel_metadata
from worker_agents import __version__

EPOCH = "1700000000"
WHEEL_TARGET = 'packages = ["worker_agents"]'


class Tree:
    """What a release is made of, in a folder where it may be spoiled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tree"
        shutil.copytree(
            ROOT / "worker_agents", self.folder / "worker_agents", ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
            shutil.copy(ROOT / name, self.folder)
        files = (path for path in self.folder.rglob("*") if path.is_file())
        self.tracked = [path.relative_to(self.folder).as_posix() for path in files]
        self._output = folder

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def build(self, name: str = "built", epoch: str = EPOCH) -> tuple[Path, Path]:
        return build(self.folder, self._output / name, epoch)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_good_tree_has_no_problems_and_is_the_same_when_built_from_its_sdist(tree: Tree, tmp_path: Path) -> None:
    sdist, wheel = tree.build()
    sdist_again, wheel_again = build(unpacked(sdist, tmp_path / "source"), tmp_path / "again", EPOCH)

    assert sdist_problems(sdist_contents(sdist), tree.tracked) == []
    assert wheel_problems(wheel_contents(wheel), tree.tracked) == []
    assert metadata_problems(wheel_metadata(wheel), __version__) == []
    assert same(sdist, sdist_again) + same(wheel, wheel_again) == []


def test_a_template_that_is_missing_in_the_wheel_is_named(tree: Tree) -> None:
    tree.edit("pyproject.toml", WHEEL_TARGET, f'{WHEEL_TARGET}\nexclude = ["overview.html", "py.typed"]')

    _, wheel = tree.build()

    assert wheel_problems(wheel_contents(wheel), tree.tracked) == [
        "the wheel lacks worker_agents/py.typed, worker_agents/web/page/templates/overview.html"
    ]


def test_what_should_not_be_there_is_named(tree: Tree) -> None:
    tree.write("worker_agents/notes.txt", "not under version control")
    tree.write("password", "neither is this")
    (tree.folder / "tests").mkdir()
    tree.write("tests/test_nothing.py", "")
    tree.tracked.append("tests/test_nothing.py")
    tree.edit("pyproject.toml", WHEEL_TARGET, 'packages = ["worker_agents", "tests"]')

    sdist, wheel = tree.build()

    assert wheel_problems(wheel_contents(wheel), tree.tracked) == [
        "the wheel has tests/test_nothing.py, worker_agents/notes.txt, which should not be there"
    ]
    assert sdist_problems(sdist_contents(sdist), tree.tracked) == [
        "the sdist has password, worker_agents/notes.txt, which should not be there"
    ]


def test_an_sdist_that_nobody_can_build_the_same_from_is_told(tree: Tree, tmp_path: Path) -> None:
    sdist, wheel = tree.build()
    source = unpacked(sdist, tmp_path / "source")
    (source / "worker_agents" / "web" / "page" / "static" / "style.css").unlink()
    (source / "worker_agents" / "py.typed").write_text("partial\n")

    _, again = build(source, tmp_path / "again", EPOCH)

    assert same(wheel, again) == [
        f"{wheel.name} built from the sdist lacks worker_agents/web/page/static/style.css",
        f"{wheel.name} built from the sdist has other worker_agents-{__version__}.dist-info/RECORD, worker_agents/py.typed",
    ]


def test_builds_that_depend_on_the_time_are_told(tree: Tree) -> None:
    _, wheel = tree.build()
    _, later = tree.build("later", epoch="1800000000")

    assert "other bytes" in same(wheel, later)[0]


def test_a_tree_that_cannot_be_built_is_told_with_the_builders_words(tree: Tree) -> None:
    tree.edit("pyproject.toml", 'license = "Apache-2.0"', 'license = "none of them"')

    with pytest.raises(subprocess.CalledProcessError) as raised:
        tree.build()

    assert "-m build --no-isolation" in failure(raised.value)
    assert "none of them" in failure(raised.value)


def test_metadata_that_says_nothing_of_the_project_is_told(tree: Tree) -> None:
    tree.edit("pyproject.toml", 'readme = "README.md"\n', "")
    tree.edit("pyproject.toml", 'license-files = ["LICENSE"]', "license-files = []")

    _, wheel = tree.build()

    assert metadata_problems(wheel_metadata(wheel), "9.9.9") == [
        "the metadata's version is missing or wrong",
        "the metadata's license-file is missing or wrong",
        "the metadata's description is missing or wrong",
        "the metadata's description-content-type is missing or wrong",
    ]


def test_metadata_that_no_index_would_take_is_told() -> None:
    raw = b"Metadata-Version: 2.4\nName: worker-agents\nVersion: 1.0 beta of May\nRequires-Python: three\n"

    problems = metadata_problems(raw, "1.0")

    assert len(problems) == 2
    assert all("is invalid" in problem for problem in problems)


def test_tests_that_miss_something_in_the_sdist_are_told(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text("import tests.support.not_in_the_sdist\n")

    (problem,) = collection_problems(tmp_path)

    assert "No module named" in problem


UNRELEASED = "## [Unreleased]\n\n- mended\n"
EMPTY = "## [Unreleased]\n\n"
RELEASED = "## [1.2.0] - 2026-03-15\n\n- added\n"


@pytest.mark.parametrize(
    ("changelog", "version", "tags", "problem"),
    [
        (UNRELEASED, "0.1.0", [], None),
        (UNRELEASED, "0.2.0.dev1", [], None),
        (UNRELEASED + RELEASED, "1.3.0", [], None),
        (RELEASED, "1.2.0", [], None),
        (RELEASED, "1.2.0", ["v1.2.0"], None),
        (EMPTY + RELEASED, "1.2.0", ["v1.2.0"], None),
        ("# Changelog\n", "0.1.0", [], "has no section with text"),
        (EMPTY, "0.1.0", [], "has no section with text"),
        (UNRELEASED + RELEASED, "1.2.0", [], "1.2.0 is released: name the next version"),
        (UNRELEASED + RELEASED, "1.1.9", [], "1.2.0 is released: name the next version"),
        (UNRELEASED + RELEASED, "1.3.0", ["v1.3.0"], "still stands under [Unreleased]"),
        (RELEASED, "1.3.0", [], "newest section is 1.2.0, but the version is 1.3.0"),
        (RELEASED, "1.2.0", ["v1.2.1"], "tag is v1.2.1, but the version is 1.2.0"),
        ("## [1.2.0]\n\n- added\n", "1.2.0", [], "section 1.2.0 has no date"),
        ("## [1.2.0] - soon\n\n- added\n", "1.2.0", [], "section 1.2.0 has no date"),
    ],
)
def test_the_changelog(changelog: str, version: str, tags: list[str], problem: str | None) -> None:
    problems = changelog_problems(changelog, version, tags)

    assert len(problems) == (problem is not None), problems
    assert (problem or "") in "".join(problems)


def test_commands_that_do_not_do_what_they_should_are_told(tmp_path: Path) -> None:
    programs = Path(sys.executable).parent

    assert list(command_problems(programs, expected_of(__version__), tmp_path)) == []
    (other_version,) = command_problems(programs, [Expected(("--version",), "worker-agents 9.9.9")], tmp_path)
    (other_end,) = command_problems(programs, [Expected(("config",), "", 3)], tmp_path)

    assert "does not say 'worker-agents 9.9.9'" in other_version
    assert "worker-agents config ended with 0, not 3" in other_end


def test_a_command_that_breaks_is_told(tmp_path: Path) -> None:
    program = tmp_path / "worker-agents"
    program.write_text("#!/bin/sh\necho 'Traceback (most recent call last)' >&2\n")
    program.chmod(0o755)

    (problem,) = command_problems(tmp_path, [Expected(("samples",), "")], tmp_path)

    assert problem.startswith("worker-agents samples broke: Traceback")


def test_a_missing_module_and_a_licence_that_nobody_looked_at_are_told(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    for name, licence in (("closed", "GPL-3.0-only"), ("silent", ""), ("free", "MIT OR GPL-3.0-only")):
        (site / f"{name}-1.0.dist-info").mkdir()
        metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nLicense-Expression: {licence}\n"
        (site / f"{name}-1.0.dist-info" / "METADATA").write_text(metadata)

    (missing,) = import_problems(environment / "bin", tmp_path)
    licences = sorted(licence_problems(environment / "bin", tmp_path))

    assert "No module named 'worker_agents'" in missing
    assert [problem.partition(":")[0] for problem in licences] == [
        "the licence of closed is GPL-3.0-only",
        "the licence of silent is not told",
    ]
