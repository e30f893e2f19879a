"""Decides whether a ticket's command may run, by its words alone.

What this protects, and what it cannot: an allowed test command runs the code of the tree under test, which may do
whatever the worker's user may do - read its files, use its network, talk to its other processes. The policy keeps
*tickets* from choosing other programs, other code, other configuration and other places; the limits and the supervision of
``clients.process`` keep the *code* from outliving its run and from eating the machine. Neither hides the worker's files
or network from test code: that is the container's and the network policy's work, or that of a worker of its own for TEST.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worker_agents.clients.command.paths import path_problem
from worker_agents.clients.command.tools import check_for
from worker_agents.clients.command.words import UnfitCommand, words_of


@dataclass(frozen=True, slots=True)
class Allowed:
    """``rule`` is the entry of the list that matched; ``program`` the file that would run, ``None`` if there is none."""

    argv: tuple[str, ...]
    program: Path | None
    rule: str


@dataclass(frozen=True, slots=True)
class Refused:
    """``reason`` is a sentence without its subject: "it names no program"."""

    reason: str


class CommandPolicy:
    """Commands are allowed by their first words, word by word; ``path`` is the fixed PATH of programs.

    ``allowed`` entries are split as a shell would; an empty list allows nothing. Words of an entry itself are trusted.
    """

    def __init__(self, allowed: Sequence[str], *, path: str) -> None:
        self.allowed = tuple(allowed)
        self.path = path
        entries = [(entry, tuple(shlex.split(entry))) for entry in allowed]
        # The longest first: it is the one that says most about what may follow.
        self._entries = sorted((each for each in entries if each[1]), key=lambda each: -len(each[1]))

    def decide(self, command: str | Sequence[str], *, cwd: Path | None = None) -> Allowed | Refused:
        """Whether ``command`` may run; with ``cwd``, paths in it are followed through symbolic links from there."""
        try:
            words = words_of(command)
        except UnfitCommand as error:
            return Refused(str(error))
        match = self._match(words)
        if match is None:
            return Refused(self._unlisted(words[0]))
        rule, length = match
        further = words[length:]
        problem = check_for(words[:length])(further) or path_problem(further, cwd)
        if problem is not None:
            return Refused(problem)
        found = shutil.which(words[0], path=self.path)
        return Allowed(tuple(words), Path(found) if found else None, rule)

    def _match(self, words: Sequence[str]) -> tuple[str, int] | None:
        for rule, entry in self._entries:
            if tuple(words[: len(entry)]) == entry:
                return rule, len(entry)
        return None

    def _unlisted(self, program: str) -> str:
        if not self.allowed:
            return "ALLOWED_TEST_COMMANDS is empty, so that no command is allowed"
        listed = f"allowed are commands that begin with {' or '.join(self.allowed)} (ALLOWED_TEST_COMMANDS)"
        if "/" in program or "\\" in program:
            return f"{program!r} is a path, and programs are named without one; {listed}"
        return f"it begins with none of the allowed commands; {listed}"
