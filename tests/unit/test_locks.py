"""The image is built from parts of the lock file: they must say what it says, and be whole."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PARTS = {
    "requirements-runtime.lock": PROJECT["project"]["dependencies"],
    "requirements-build.lock": PROJECT["build-system"]["requires"],
}
PIN = re.compile(r"^(?P<name>\S+)==(?P<pin>.+?(?:\\\n.*?)*)$", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """What a lock file says of each distribution: version, marker and hashes; not, who asked for it."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return {found["name"]: found["pin"] for found in PIN.finditer(text)}


def needed_here(asked: Iterable[str]) -> Iterator[str]:
    """Names of all distributions that these requirements come to, of those that are installed."""
    seen = set()
    waiting = list(asked)
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        extras = sorted(requirement.extras)
        if (name, *extras) in seen or not _holds(requirement.marker):
            continue
        seen.add((name, *extras))
        yield name
        waiting += [each for each in requires(name) or () if _is_wanted(Requirement(each), extras)]


def _without_marker(pin: str) -> str:
    # The whole may have a further reason for the same pin.
    return re.sub(r" ; [^\\]*", " ", pin)


def _is_wanted(requirement: Requirement, extras: Iterable[str]) -> bool:
    return any(_holds(requirement.marker, extra) for extra in ("", *extras))


def _holds(marker: Marker | None, extra: str = "") -> bool:
    return marker is None or marker.evaluate({"extra": extra})


@pytest.mark.parametrize("part", PARTS)
def test_a_part_says_what_the_lock_file_says(part: str) -> None:
    whole = pins("requirements.lock")
    found = {name: _without_marker(pin) for name, pin in pins(part).items()}

    assert found
    assert found == {name: _without_marker(whole.get(name, "")) for name in found}, "`make lock` writes them anew"


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_whole_and_has_nothing_else(part: str) -> None:
    needed = set(needed_here(PARTS[part]))
    elsewhere = {name for name, pin in pins(part).items() if "sys_platform == 'win32'" in pin}

    assert pins(part).keys() - elsewhere == needed


def test_the_group_that_is_locked_for_the_build_is_what_the_build_asks_for() -> None:
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]
