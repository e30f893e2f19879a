"""Keeps path arguments of commands inside the working directory, symbolic links followed."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

# Where a path can begin inside a word: --flag=path, html:path, a,b, and values glued to a short flag.
_BREAKS = re.compile(r"[=:,;\"'\[\]{}()\s]+")
_GLUED = re.compile(r"-[A-Za-z0-9]+")
_URL = re.compile(r"https?://[^\s,\"']+")
_URL_OF_A_FILE = re.compile(r"file:", re.IGNORECASE)


def path_problem(words: Sequence[str], cwd: Path | None = None) -> str | None:
    """Why one of ``words`` could lead out of the working directory, or ``None``.

    Without ``cwd`` only what the words themselves say counts: absolute paths, ``..`` and ``~``. With it, links are
    followed too, as far as they exist now; what the program makes of them later, nobody here can see.
    """
    root = None if cwd is None else str(cwd.resolve())
    for word in words:
        if any(_climbs(address) for address in _URL.findall(word)):
            return f"{word!r} leads outside of the working directory; give paths relative to it"
        for part in _possible_paths(word):
            if part.startswith(("/", "~")) or ".." in part.split("/") or _URL_OF_A_FILE.match(part):
                return f"{word!r} leads outside of the working directory; give paths relative to it"
            if root is not None and not _stays_inside(root, part):
                return f"{word!r} leads outside of the working directory by a symbolic link"
    return None


def _possible_paths(word: str) -> Iterator[str]:
    without_urls = _URL.sub("", word)
    yield without_urls
    yield from filter(None, _BREAKS.split(without_urls))
    glued = _GLUED.match(word)
    if glued:
        # Which letter of a cluster takes the rest as its value, only its program knows.
        yield from (word[at:] for at in range(2, glued.end() + 1))


def _climbs(address: str) -> bool:
    """As a path, which Node's programs make of it by words alone, ``http://../../x`` is ``../x``."""
    return posixpath.normpath(address).split("/")[0] == ".."


def _stays_inside(root: str, part: str) -> bool:
    """Of a path without ``..``, in the directory ``root`` that is no link itself."""
    # Most parts are no paths: what is not there is no link, and following links is dear.
    if not os.path.lexists(f"{root}/{part.partition('/')[0]}"):
        return True
    try:
        return Path(root, part).resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a name too long, or a loop of links: no program gets anywhere by it
        return True
