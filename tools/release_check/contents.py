"""What is in a wheel and in an sdist, beside what should be."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

PACKAGE = "worker_agents/"
_SHOWN = 5

Contents = Mapping[str, str]
"""Digests of files by their names."""


def wheel_contents(wheel: Path) -> Contents:
    with zipfile.ZipFile(wheel) as archive:
        return {name: _digest(archive.read(name)) for name in archive.namelist() if not name.endswith("/")}


def sdist_contents(sdist: Path) -> Contents:
    """Names without the folder that everything is in."""
    with tarfile.open(sdist) as archive:
        return dict(_files_of(archive))


def _files_of(archive: tarfile.TarFile) -> Iterator[tuple[str, str]]:
    for member in archive:
        if (content := archive.extractfile(member)) is not None:
            yield member.name.partition("/")[2], _digest(content.read())


def wheel_problems(found: Contents, tracked: Iterable[str]) -> list[str]:
    """It has the package as it is under version control, and beside it what describes it."""
    expected = {name for name in tracked if name.startswith(PACKAGE)}
    package = {name for name in found if not name.partition("/")[0].endswith(".dist-info")}
    return list(_differences("the wheel", package, expected))


def sdist_problems(found: Contents, tracked: Iterable[str]) -> list[str]:
    """It has all that is under version control: tests and documents check each other."""
    return list(_differences("the sdist", found.keys() - {"PKG-INFO"}, set(tracked)))


def rebuilt_problems(what: str, first: Contents, again: Contents) -> list[str]:
    """Whoever builds again from the sdist gets the same."""
    changed = {name for name in first.keys() & again.keys() if first[name] != again[name]}
    problems = list(_differences(f"{what} built from the sdist", again.keys(), first.keys()))
    return problems + ([f"{what} built from the sdist has other {_some(changed)}"] if changed else [])


def _differences(what: str, found: Iterable[str], expected: Iterable[str]) -> Iterator[str]:
    found, expected = set(found), set(expected)
    if missing := expected - found:
        yield f"{what} lacks {_some(missing)}"
    if stray := found - expected:
        yield f"{what} has {_some(stray)}, which should not be there"


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
