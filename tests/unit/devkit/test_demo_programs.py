"""Programs that the demo finds, and what it does and says without them."""

from pathlib import Path

import pytest

from worker_agents.devkit.demo import programs as programs_module
from worker_agents.devkit.demo.programs import OPA, PYTEST, TRIVY, Programs, told
from worker_agents.devkit.demo.props import BROKEN, LEAKY, SHOP, write_workspace
from worker_agents.devkit.demo.services import services


def program(path: Path, script: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The three folders that are looked into, empty."""
    folders = {name: tmp_path / name for name in ("tools", "path", "beside")}
    monkeypatch.setattr(programs_module, "_MADE_BY_TOOLS", folders["tools"])
    monkeypatch.setattr(programs_module, "_BESIDE_US", folders["beside"])
    monkeypatch.setenv("PATH", str(folders["path"]))
    return folders


def test_nothing_is_installed(places: dict[str, Path]) -> None:
    assert places
    assert Programs.installed() == Programs()
    assert Programs().missing == {OPA, TRIVY, PYTEST}


def test_what_make_tools_installed_comes_first(places: dict[str, Path]) -> None:
    expected = program(places["tools"] / "opa")
    program(places["path"] / "opa")
    trivy = program(places["path"] / "trivy")
    program(places["path"] / "pytest")

    assert Programs.installed() == Programs(opa=expected, trivy=trivy)


def test_pytest_is_the_one_beside_the_interpreter(places: dict[str, Path]) -> None:
    expected = program(places["beside"] / "pytest")

    assert Programs.installed() == Programs(pytest=expected)


def test_one_line_tells_what_is_used_and_how_to_get_the_rest() -> None:
    assert told(frozenset()) == "real programs: opa, trivy, pytest"
    assert told({TRIVY, PYTEST}) == (
        "real programs: opa; not found: trivy (`make tools` installs it), pytest (`make setup` installs it); "
        "their tickets get simulated results"
    )
    assert told({OPA, TRIVY, PYTEST}).startswith("not found: opa (`make tools` installs it), trivy")


async def test_an_opa_that_does_not_serve_is_told_and_done_without(tmp_path: Path) -> None:
    broken = program(tmp_path / "bin" / "opa", "echo unknown flag: --server >&2; exit 2")
    lines: list[str] = []

    async with services(Programs(opa=broken), tmp_path, lines.append) as running:
        assert running.missing == {OPA, TRIVY, PYTEST}

    assert f"OPA was found, but does not serve: {broken}: unknown flag: --server" in lines


def test_the_planted_key_is_new_each_time_and_in_one_place_only(tmp_path: Path) -> None:
    keys = [write_workspace(tmp_path / name) for name in ("one", "two")]

    assert keys[0] != keys[1]
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file() and keys[0] in path.read_text()]
    assert files == [tmp_path / "one" / LEAKY / "settings.py"]
    assert {path.name for path in (tmp_path / "one").iterdir()} == {SHOP, BROKEN, LEAKY}
