"""What may follow an allowed command, tool by tool.

Tests are code of the tree that they test and may do whatever their process may. These rules protect something else: that
nobody who can only write *tickets* makes a tool load code or configuration from elsewhere, start another program, write
elsewhere or never end. For tools with a closed list of options only harmless ones are let through, in the spellings
given; pytest and the JavaScript runners take options of plugins, so there the dangerous ones are refused in every
spelling. A tool without rules runs exactly as it is listed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

Check = Callable[[Sequence[str]], str | None]
"""Why words that follow an allowed command are refused, or ``None``."""

_LONG_NAME = re.compile(r"--?([^=]*)")


def check_for(command: Sequence[str]) -> Check:
    """The rules for what may follow the allowed ``command``, found by its first words."""
    for length in (3, 2, 1):
        check = _CHECKS.get(tuple(command[:length]))
        if check is not None:
            return check
    return _nothing_more


def _nothing_more(words: Sequence[str]) -> str | None:
    if words:
        return f"{words[0]!r} is not part of the allowed command, and there are no rules for options of this program"
    return None


@dataclass(frozen=True, slots=True)
class _Listed:
    """Lets through ``flags``, ``valued`` options with their value, and what ``pattern`` matches whole.

    ``dashes_alike``: one dash or two mean the same. After ``end``, another check applies to the rest.
    """

    flags: frozenset[str]
    valued: frozenset[str]
    pattern: re.Pattern[str] | None = None
    takes_names: bool = True
    dashes_alike: bool = False
    end: str = "--"
    after_end: Check | None = None
    hint: str = ""

    def __call__(self, words: Sequence[str]) -> str | None:
        rest = list(words)
        while rest:
            word = rest.pop(0)
            name, has_value = self._name(word)
            if name == self.end and self.after_end is not None:
                return self.after_end(rest)
            if name in self.valued:
                # What begins with a dash is another option for some parsers, so it has to be checked like one.
                if not has_value and rest and not rest[0].startswith("-"):
                    rest.pop(0)
            elif not self._is_allowed(word, name, has_value=has_value):
                return f"{word!r} is not among what may follow this command{self.hint}"
        return None

    def _name(self, word: str) -> tuple[str, bool]:
        name, equals, _ = word.partition("=")
        if self.dashes_alike and name.startswith("--"):
            name = name[1:]
        return name, bool(equals)

    def _is_allowed(self, word: str, name: str, *, has_value: bool) -> bool:
        if self.pattern is not None and self.pattern.fullmatch(word):
            return True
        if word.startswith(("-", "+", "@")):
            # A flag of these tools may be switched by =true or =false.
            return name in self.flags and (not has_value or word.endswith(("=true", "=false")))
        return self.takes_names


@dataclass(frozen=True, slots=True)
class _Refused:
    """Refuses ``names`` (each with its reason) in every spelling, and short options of ``letters``, also in clusters.

    A name is compared without dashes and case, so that ``--rootDir``, ``--root-dir`` and ``--rootdir`` are one; with
    ``abbreviations``, whatever may stand for it is refused too. ``valued`` are letters whose option takes the rest of
    its cluster as value.
    """

    names: Mapping[str, str]
    letters: Mapping[str, str]
    valued: str
    abbreviations: bool = False
    harmless: frozenset[str] = frozenset()
    reads_argument_files: bool = False

    def __call__(self, words: Sequence[str]) -> str | None:
        for word in words:
            reason = self._reason(word)
            if reason is not None:
                return f"{word!r} is refused: it {reason}"
        return None

    def _reason(self, word: str) -> str | None:
        if word.startswith("@") and self.reads_argument_files:
            return "reads further arguments from a file"
        if word.startswith("--"):
            return self._of_name(_plain(word))
        if word.startswith("-"):
            # Some parsers also take a long name after a single dash.
            return self._of_letters(word[1:]) or self.names.get(_plain(word))
        return None

    def _of_name(self, name: str) -> str | None:
        if name in self.harmless:
            return None
        # `--poolOptions.forks.execArgv` sets a part of the option before the dot.
        reason = self.names.get(name) or self.names.get(name.partition(".")[0])
        if reason is None and self.abbreviations and name:
            reason = next((why for full, why in self.names.items() if full.startswith(name)), None)
        return reason

    def _of_letters(self, cluster: str) -> str | None:
        for letter in cluster:
            if letter in self.letters:
                return self.letters[letter]
            if letter in self.valued or not letter.isalpha():
                return None
        return None


def _plain(word: str) -> str:
    match = _LONG_NAME.match(word)
    return match[1].replace("-", "").replace("_", "").lower() if match else ""


_LOADS = "loads code that is not the tests'"
_CONFIG = "reads its configuration from elsewhere"
_WRITES = "chooses where to write or delete"
_STARTS = "starts another program"
_ENDLESS = "waits for a person and never ends"

_PYTEST: Final = _Refused(
    names={
        "plugin": _LOADS,
        "pdbcls": _LOADS,
        "pyargs": _LOADS,
        "configfile": _CONFIG,
        "rootdir": _CONFIG,
        "confcutdir": _CONFIG,
        "overrideini": _CONFIG,
        "inifile": _CONFIG,
        "basetemp": "deletes the directory that it names",
        "debug": _WRITES,
        "pastebin": "sends the output to a public service",
        "pdb": _ENDLESS,
        "trace": _ENDLESS,
        "looponfail": _ENDLESS,
        "tx": _STARTS,
        "px": _STARTS,
        "rsyncdir": "copies directories elsewhere",
    },
    letters={"p": _LOADS, "c": _CONFIG, "o": _CONFIG, "f": _ENDLESS},
    valued="kmrWn",
    abbreviations=True,
    harmless=frozenset({"co"}),  # a name in full (--collect-only), though others begin with it
    reads_argument_files=True,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_JAVASCRIPT: Final = _Refused(
    names={
        **dict.fromkeys(
            _words(
                "require import loader experimentalloader globalsetup globalteardown setupfile setupfiles"
                " setupfilesafterenv runner testrunner resolver transform moduleloader testenvironment environment"
                " testsequencer testresultsprocessor snapshotserializers haste prettierpath dependencyextractor filter"
                " file plugin package preset"
            ),
            _LOADS,
        ),
        **dict.fromkeys(
            _words(
                "config configloader root rootdir roots dir cwd projects opts prefix userconfig globalconfig"
                " modulefolder modulesfolder globalfolder useyarnrc"
            ),
            _CONFIG,
        ),
        **dict.fromkeys(
            _words(
                "nodeoption nodeoptions nodearg execargv pooloptions pool scriptshell shellemulator browser typecheck"
                " inspect inspectbrk inspectwait v8options eval print"
            ),
            _STARTS,
        ),
        **dict.fromkeys(_words("watch watchall ui api open standalone debug"), _ENDLESS),
        **dict.fromkeys(_words("cachedirectory cachedir clearcache"), _WRITES),
    },
    letters={"c": _CONFIG, "r": _LOADS, "C": _CONFIG, "n": _STARTS},
    valued="tgfRO",
)


def _anything(_: Sequence[str]) -> str | None:
    return None


_AFTER_DASHES = "; options of the test program itself go after --"

_NPM: Final = _Listed(
    flags=_words(
        "-s --silent -q --quiet -d --verbose --if-present -ws --workspaces --include-workspace-root --offline"
    ),
    valued=_words("-w --workspace --loglevel"),
    after_end=_JAVASCRIPT,
    hint=_AFTER_DASHES,
)

_GO: Final = _Listed(
    flags=_words(
        "-v -json -short -failfast -race -msan -asan -cover -benchmem -a -x -n -fullpath -trimpath -buildvcs -modcacherw"
    ),
    valued=_words(
        "-run -skip -list -timeout -count -cpu -parallel -p -shuffle -tags -mod -vet -bench -benchtime -fuzz -fuzztime"
        " -fuzzminimizetime -covermode -coverpkg -coverprofile -cpuprofile -memprofile -memprofilerate -blockprofile"
        " -blockprofilerate -mutexprofile -mutexprofilefraction -trace -outputdir"
    ),
    dashes_alike=True,
    end="-args",
    after_end=_anything,
    hint="; options of the test program itself go after -args",
)

_MAVEN: Final = _Listed(
    flags=_words(
        "-q --quiet -B --batch-mode -e --errors -X --debug -o --offline -U --update-snapshots -N --non-recursive -am"
        " --also-make -amd --also-make-dependents -fae --fail-at-end -ff --fail-fast -fn --fail-never -ntp"
        " --no-transfer-progress -nsu --no-snapshot-updates -C --strict-checksums -c --lax-checksums -V --show-version"
        " --no-daemon"
    ),
    valued=_words("-T --threads -pl --projects -P --activate-profiles -rf --resume-from --color"),
    pattern=re.compile(
        r"-T[\d.]+C?|-P[\w,!.+?-]+"
        r"|-D(test|it\.test|groups|excludedGroups|failIfNoTests|trimStackTrace|parallel|threadCount|reuseForks|forkCount"
        r"|skipTests|skipITs|style\.color|file\.encoding|project\.build\.sourceEncoding|user\.timezone"
        r"|maven\.test\.(skip|failure\.ignore)|(jacoco|checkstyle|spotbugs|pmd|enforcer|spotless)\.skip"
        r"|surefire\.(failIfNoSpecifiedTests|rerunFailingTestsCount|skipAfterFailureCount|timeout|reportFormat"
        r"|printSummary|useFile|excludes|includes|trimStackTrace))(=.*)?"
    ),
    takes_names=False,
    hint="; of goals there is only the allowed one, and of -D only what selects and reports tests",
)

_LIBTEST: Final = _Listed(
    flags=_words("--nocapture --no-capture --exact --ignored --include-ignored --show-output -q --quiet --test --list"),
    valued=_words("--test-threads --skip --format --color --shuffle-seed --report-time"),
)

_CARGO: Final = _Listed(
    flags=_words(
        "--lib --bins --tests --examples --benches --all-targets --doc --all --workspace --all-features"
        " --no-default-features -r --release --no-fail-fast --no-run -q --quiet -v --verbose -vv --offline --locked"
        " --frozen --keep-going --ignore-rust-version"
    ),
    valued=_words(
        "--bin --test --example --bench -p --package --exclude -F --features --profile -j --jobs --color"
        " --message-format"
    ),
    after_end=_LIBTEST,
    hint=_AFTER_DASHES,
)

_NEXTEST: Final = _Listed(
    flags=_CARGO.flags | _words("--no-capture --nocapture --fail-fast --hide-progress-bar"),
    valued=_CARGO.valued
    | _words(
        "-P --cargo-profile -E --filterset --filter-expr --retries --test-threads --partition --no-tests --run-ignored"
        " --failure-output --success-output --status-level --final-status-level --max-fail"
    ),
    after_end=_LIBTEST,
    hint=_AFTER_DASHES,
)

_CHECKS: Final[Mapping[tuple[str, ...], Check]] = {
    ("pytest",): _PYTEST,
    ("py.test",): _PYTEST,
    ("python", "-m", "pytest"): _PYTEST,
    ("python3", "-m", "pytest"): _PYTEST,
    ("npm", "test"): _NPM,
    ("npm", "run"): _NPM,
    ("yarn", "test"): _JAVASCRIPT,
    ("yarn", "run"): _JAVASCRIPT,
    ("pnpm", "test"): _JAVASCRIPT,
    ("pnpm", "run"): _JAVASCRIPT,
    ("npx", "jest"): _JAVASCRIPT,
    ("npx", "vitest"): _JAVASCRIPT,
    ("npx", "mocha"): _JAVASCRIPT,
    ("jest",): _JAVASCRIPT,
    ("vitest",): _JAVASCRIPT,
    ("mocha",): _JAVASCRIPT,
    ("go", "test"): _GO,
    ("mvn", "test"): _MAVEN,
    ("cargo", "test"): _CARGO,
    ("cargo", "nextest", "run"): _NEXTEST,
}
