"""The command of a TEST ticket. Input: the command line, or a JSON list of its words."""

import contextlib
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import orjson

from tests.fuzz.harness import Target, assert_readable
from worker_agents.clients.command import Allowed, CommandPolicy, Refused

_TOOLS = (
    *(
        "pytest",
        "npm test",
        "go test",
        "mvn test",
        "cargo test",
        "cargo nextest run",
        "jest",
        "npx vitest",
        "npx mocha",
    ),
    *("python -m pytest", "make check"),
)
_POLICY = CommandPolicy(_TOOLS, path="/usr/bin:/bin")
_WORKSPACE = "/workspace/tree"
_SHELL_ONLY = re.compile(r"\d*[<>|&;]+\d*")
_VALUE_BEGINS = re.compile(r"[=,]")
_ADDRESS = re.compile(r"[^=]*://")


def check(content: bytes) -> None:
    """Refused with a reason, or made of an allowed command and words that keep to the working directory."""
    command = _command(content)
    decision = _POLICY.decide(command)
    assert decision == _POLICY.decide(command)
    match decision:
        case Refused(reason=reason):
            assert_readable(reason if len(reason) < 4_000 else _shown(reason))
        case Allowed(argv=argv, rule=rule):
            _sound(list(argv), rule)
            # Spelled as words it is the same command.
            assert _POLICY.decide(list(argv)) == decision
            # Links are looked for behind every letter of an option: that takes long enough to be left to one kept input.
            if len(content) < 500 or content.startswith(b"pytest -qaaa"):
                assert isinstance(_POLICY.decide(list(argv), cwd=Path("/nonexistent")), Allowed)


def _shown(reason: str) -> str:
    """A reason may hold the word that it is about, which is as long as commands may be."""
    assert len(reason) < 10_000
    return reason[:1_000]


def _command(content: bytes) -> str | list[str]:
    with contextlib.suppress(orjson.JSONDecodeError):
        words = orjson.loads(content)
        if isinstance(words, list) and all(isinstance(each, str) for each in words):
            return words
    return content.decode(errors="surrogateescape")


def _sound(argv: list[str], rule: str) -> None:
    allowed = rule.split(" ")
    assert rule in _TOOLS
    assert argv[: len(allowed)] == allowed
    for word in argv:
        assert word.isprintable()
        assert not _SHELL_ONLY.fullmatch(word)
    for word in argv[len(allowed) :]:
        for path in _paths_in(word):
            inside = posixpath.normpath(posixpath.join(_WORKSPACE, path))
            assert f"{inside}/".startswith(f"{_WORKSPACE}/"), f"{word!r} reaches {inside}"
            assert not path.startswith("~"), word


def _paths_in(word: str) -> Iterator[str]:
    """What a program may take for a path: the word, its values, and what is glued to a short option.

    Written apart from the rules, and simpler: this is what they are measured by.
    """
    yield word
    for found in _VALUE_BEGINS.finditer(word):
        if not _ADDRESS.match(word):
            yield word[found.end() :]
    if re.match(r"-[A-Za-z0-9]", word):
        yield from (word[at:] for at in range(2, min(len(word), 40)) if word[1:at].isalnum())


TARGET = Target(
    "commands",
    check,
    tokens=(
        *(tool.encode() + b" " for tool in _TOOLS),
        *b"-p -c -o -xp -k -R -r -C -n --rootdir --config= --plugin -exec= --outputFile= --junitxml= -- -args -D --watch".split(),
        *(
            b" ",
            b"'",
            b'"',
            b"\\",
            b"=",
            b",",
            b":",
            b"@",
            b"../",
            b"..",
            b"/etc",
            b"~",
            b"http://",
            b"file:",
            b"$(",
            b"`",
            b";",
        ),
        *(b"&&", b">", b"2>&1", b"PYTHONPATH=x ", b"\xc2\xa0", "\u202e".encode(), b'["pytest","', b'","', b'"]'),
    ),
)
