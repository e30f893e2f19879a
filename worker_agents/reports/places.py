"""Where tools put their reports, and which files a pattern means, without following links or searching for ever."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from worker_agents.reports.files import relative_name
from worker_agents.reports.model import ReportUnreadable

COVERAGE_PLACES = (
    "coverage.xml",
    "coverage.json",
    "coverage/coverage-summary.json",
    "coverage/lcov.info",
    "target/site/jacoco/jacoco.xml",
    "cover.out",
)

MAX_DEPTH = 12
MAX_ENTRIES = 50_000

_ANY_DEPTH = "**"
# Other people's code: large, and its reports are not of this run.
_NOT_SEARCHED = frozenset({"node_modules", "vendor", "site-packages"})


def places_of_tests(root: Path) -> Iterator[str]:
    """Paths and patterns, to be tried in this order: the first with a report of this run is taken."""
    yield from ("report.json", ".report.json")
    if (root / "pom.xml").is_file():  # Surefire's and Failsafe's, of every module
        yield "**/target/*-reports/TEST-*.xml"
    yield from ("junit.xml", "target/nextest/*/junit.xml")


def is_pattern(path: str) -> bool:
    return "*" in path or "?" in path


def expand(pattern: str, root: Path) -> list[str]:
    """The files below ``root`` that the pattern means, sorted, relative to ``root``. One without wildcards means itself.

    ``*`` and ``?`` stand for characters within a name, ``**`` for any directories but hidden and vendored ones.

    Raises:
        ReportUnreadable: the pattern leaves ``root``, or more than ``MAX_ENTRIES`` names would have to be looked at.
    """
    if not is_pattern(pattern):
        return [pattern]
    name = relative_name(pattern, root)
    parts = PurePath(name).parts
    if PurePath(name).is_absolute() or ".." in parts:
        raise ReportUnreadable(name, "lies outside of the working directory")
    if "\0" in name:
        raise ReportUnreadable(name, "is no valid file name")
    return sorted({str(path) for path in _Search(name, root).below(PurePath(), parts)})


class _Search:
    """Paths are relative to the root."""

    def __init__(self, name: str, root: Path) -> None:
        self._name = name
        self._root = root
        self._real_root = os.path.realpath(root)
        self._entries = 0

    def below(self, directory: PurePath, parts: tuple[str, ...]) -> Iterator[PurePath]:
        """What the pattern's ``parts`` mean below ``directory``."""
        if not parts:
            if os.path.lexists(self._root / directory):
                yield directory
            return
        part, rest = parts[0], parts[1:]
        if part == _ANY_DEPTH:
            for descendant in self._descendants(directory, MAX_DEPTH):
                yield from self.below(descendant, rest)
        elif is_pattern(part):
            for entry in self._list(directory):
                if fnmatchcase(entry.name, part):
                    yield from self.below(directory / entry.name, rest)
        else:
            yield from self.below(directory / part, rest)

    def _descendants(self, directory: PurePath, levels: int) -> Iterator[PurePath]:
        """The directory itself and those below it."""
        yield directory
        if levels == 0:
            return
        for entry in self._list(directory):
            searched = not entry.name.startswith(".") and entry.name not in _NOT_SEARCHED
            if searched and entry.is_dir(follow_symlinks=False):
                yield from self._descendants(directory / entry.name, levels - 1)

    def _list(self, directory: PurePath) -> list[os.DirEntry[str]]:
        real = os.path.realpath(self._root / directory)
        if not PurePath(real).is_relative_to(self._real_root):
            return []
        entries: list[os.DirEntry[str]] = []
        try:
            with os.scandir(real) as scan:
                for entry in scan:
                    self._entries += 1
                    if self._entries > MAX_ENTRIES:
                        raise ReportUnreadable(self._name, f"more than {MAX_ENTRIES:,} names to search")
                    entries.append(entry)
        except OSError:
            return []
        return entries
