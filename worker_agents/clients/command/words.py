"""Reads a command line into words as a shell would, and refuses what only a shell could do."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

MAX_CHARACTERS = 8_192
MAX_WORDS = 256

_NO_SHELL = "commands run without a shell"
_HINTS = {
    ">": "standard output and standard error are read anyway, and reports are named by report_path, "
    "junit_xml_path and coverage_report_path",
    "<": "standard input is closed",
    "|": "the whole output is read anyway",
    "&": "give one command; what it leaves running in the background is ended with it",
    ";": "give one command",
    "(": "give one command; quote what belongs to an argument",
    ")": "give one command; quote what belongs to an argument",
    "`": "give the value itself",
    "$": "give the value itself; names in env_vars reach the tests when TEST_ENVIRONMENT_ALLOWED names them",
}
_OPERATOR_WORD = re.compile(r"\d*[<>|&;]+\d*")
_EXPANSION = re.compile(r"\$[A-Za-z_({]")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


class UnfitCommand(ValueError):
    """This is no list of words for one program; the message says what is wrong with it."""


def words_of(command: str | Sequence[str]) -> list[str]:
    """At least one word, all printable. Raises :class:`UnfitCommand`."""
    given = [command] if isinstance(command, str) else list(command)
    if sum(len(part) + 1 for part in given) > MAX_CHARACTERS + 1:
        raise UnfitCommand(f"it is longer than {MAX_CHARACTERS} characters")
    if not all(part.isprintable() for part in given):
        raise UnfitCommand("it contains a control character, such as a line end or NUL")
    words = _split(command) if isinstance(command, str) else given
    _check(words)
    return words


def _split(command: str) -> list[str]:
    operator = _unquoted_operator(command)
    if operator:
        raise UnfitCommand(f"{operator!r} is for a shell, and {_NO_SHELL}: {_HINTS[operator[0]]}")
    try:
        return shlex.split(command)
    except ValueError as error:
        raise UnfitCommand("a quotation mark is not closed, or nothing follows its last backslash") from error


def _check(words: Sequence[str]) -> None:
    if not words or not words[0]:
        raise UnfitCommand("it names no program")
    if len(words) > MAX_WORDS:
        raise UnfitCommand(f"it has more than {MAX_WORDS} words")
    if _ASSIGNMENT.match(words[0]):
        raise UnfitCommand(
            f"{words[0].split('=')[0]}=... in front of a program is for a shell, and {_NO_SHELL}: use env_vars, "
            "for names that TEST_ENVIRONMENT_ALLOWED lists"
        )
    for word in words:
        if _OPERATOR_WORD.fullmatch(word):
            sign = word.lstrip("0123456789")[0]
            raise UnfitCommand(f"{word!r} is for a shell, and {_NO_SHELL}: {_HINTS[sign]}")


def _unquoted_operator(command: str) -> str | None:
    """The first thing that a shell would act upon, whether it stands alone or is glued to a word."""
    quote = ""
    is_escaped = False
    for at, sign in enumerate(command):
        if is_escaped:
            is_escaped = False
        elif sign == "\\" and quote != "'":
            is_escaped = True
        elif sign == quote:
            quote = ""
        elif not quote and sign in "'\"":
            quote = sign
        elif quote != "'" and (sign == "`" or _EXPANSION.match(command, at)):
            return command[at : at + 2] if sign == "$" else sign
        elif not quote and sign in "<>|&;()":
            return sign
    return None
