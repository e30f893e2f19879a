"""Which commands may run, by their words alone."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.clients.command import Allowed, CommandPolicy, Refused

DEFAULT = ("pytest", "npm test", "go test", "mvn test")
EVERY = (
    *DEFAULT,
    "cargo test",
    "cargo nextest run",
    "jest",
    "npx vitest",
    "npx mocha",
    "python -m pytest",
    "make check",
)


def decide(command: str | list[str], *, allowed: tuple[str, ...] = EVERY, cwd: Path | None = None) -> Allowed | Refused:
    return CommandPolicy(allowed, path="/usr/bin:/bin").decide(command, cwd=cwd)


def reason(command: str | list[str], *, allowed: tuple[str, ...] = EVERY) -> str:
    decision = decide(command, allowed=allowed)
    assert isinstance(decision, Refused), decision
    return decision.reason


@pytest.mark.parametrize(
    "command",
    [
        "pytest",
        "pytest -q",
        "pytest -xvs tests/unit tests/test_a.py::TestB::test_c",
        "pytest 'tests/test_a.py::test_d[1/2-a b]' -k 'a and not (b or c)' -m 'not slow'",
        "pytest -rfE -n 4 --maxfail=1 --cov=src --cov-report=xml:reports/coverage.xml --junitxml=reports/junit.xml",
        "pytest --co --collect-only --import-mode=importlib --color=no --tb=short -W error --timeout 30",
        "pytest --json-report --json-report-file=report.json --base-url http://localhost:8000/a/../b",
        "python -m pytest -q",
        "npm test",
        "npm test --silent -w packages/web",
        "npm test -- --coverage --ci -t 'a name' --reporters=default --testPathPattern=src/a --maxWorkers=2",
        "go test ./...",
        "go test -v -race -run '^TestA$/b|c' -count=1 -timeout 30s -coverprofile cover.out --json ./a/... example.com/x",
        "go test -run ^TestA$ ./...",
        "go test ./... -args -golden -v",
        "mvn test",
        "mvn test -B -q -Dtest=A#b,C -DfailIfNoTests=false -T1C -pl core,web -am -Pfast -Djacoco.skip=true",
        "cargo test --workspace --all-features -p core --lib name::of -- --nocapture --test-threads=1 --skip slow",
        "cargo nextest run -P ci -E 'test(a)' --no-fail-fast",
        "jest --ci --json --outputFile=out.json src/a.test.ts @scope/name",
        "npx vitest run --reporter=json --coverage",
        "make check",
    ],
)
def test_ordinary_commands_are_allowed(command: str) -> None:
    decision = decide(command)

    assert isinstance(decision, Allowed), decision
    assert decision.argv == tuple(shlex.split(command))
    assert decide(list(decision.argv)) == decision


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "names no program"),
        ("   ", "names no program"),
        ("''", "names no program"),
        ("pytest 'a", "quotation mark"),
        ("pytest a\\", "quotation mark"),
        ("pytest\nid", "control character"),
        ("pytest \x1b[31m", "control character"),
        ("pytest a\0b", "control character"),
        ("pytest \u202etxt", "control character"),
        ("pytest " + "a" * 8_200, "longer than 8192 characters"),
        ("pytest " + "a " * 300, "more than 256 words"),
        ("pytest;id", "';' is for a shell"),
        ("pytest && id", "'&' is for a shell"),
        ("pytest & id", "'&' is for a shell"),
        ("pytest|tee x", "'|' is for a shell"),
        ("pytest > report.json", "standard output and standard error are read anyway"),
        ("pytest 2>&1", "are read anyway"),
        ("pytest < input", "standard input is closed"),
        ("pytest `id`", "'`' is for a shell"),
        ('pytest "`id`"', "'`' is for a shell"),
        ("pytest $(id)", r"'$(' is for a shell"),
        ('pytest "$(id)"', "'$(' is for a shell"),
        ("pytest ${HOME}", "'${' is for a shell"),
        ("pytest $HOME", "'$H' is for a shell"),
        ("(pytest)", "'(' is for a shell"),
        ("PYTHONPATH=/tmp pytest", "PYTHONPATH=... in front of a program"),
        ("/usr/bin/pytest", "is a path"),
        ("./pytest", "is a path"),
        ("PYTEST", "begins with none"),
        ("pytestfoo", "begins with none"),
        ("pytest-3", "begins with none"),
        ("npm", "begins with none"),
        ("npm tests", "begins with none"),
        ("npm install", "begins with none"),
        ("go  vet", "begins with none"),
        ("cargo +nightly test", "begins with none"),
        ("make check all", "no rules for options of this program"),
        ("make check -f other", "no rules for options"),
    ],
)
def test_refused_as_a_command(command: str, words: str) -> None:
    assert words in reason(command)


@pytest.mark.parametrize(
    "words",
    [["pytest", ";", "id"], ["pytest", ">", "x"], ["pytest", "2>&1"], ["pytest", "|", "x"], ["pytest", "&&", "x"], []],
)
def test_refused_as_words(words: list[str]) -> None:
    assert reason(words)


def test_quoted_signs_are_ordinary_characters() -> None:
    assert isinstance(decide(r"pytest -k 'a;b|c>d$(e)`' \;x"), Allowed)


PYTEST = """
    -p|-pfoo|-p foo|-xp foo|-vvpfoo|-c|-cfoo.ini|-c foo.ini|-vc foo.ini|-qsc|-o|-ofoo=bar|-o addopts=x|-f
    --config-file=foo.ini|--config-file foo.ini|--config-f=x|--rootdir=x|--rootdir x|--rootd=x|--roo x|--confcutdir=x
    --conf=x|--basetemp=x|--basetemp x|--baset=x|--override-ini=a=b|--overr a=b|--pastebin=all|--past=all|--pdb
    --pdbcls=a:b|--pdbc=a:b|--trace|--debug|--debug=x|--pyargs os|--looponfail|--tx=popen//python=x|--rsyncdir=x
    @args.txt
"""
NPM = """
    --script-shell=./x|--script-shell x|--script-sh=x|--prefix=x|--prefix x|-C x|--node-options=x|--node-options x
    --userconfig=x|--globalconfig x|--ignore-scripts=false|--ignore-scripts|--call=id|-c id|--unsafe-perm|--scripts-prepend
    -g|--global|--registry=http://x|--cache=x|--workspace --script-shell=x
    -- --config=x|-- --config {"a":1}|-- -c x|-- --rootDir=x|-- --root-dir x|-- --globalSetup=./x.js|-- --require ./x
    -- -r ./x|-- --import=./x|-- --setupFiles ./x|-- --watch|-- --poolOptions.forks.execArgv=x|-- --node-option=x
    -- --experimental-loader=x|-- --inspect-brk|-- --runner=x|-- --testEnvironment=x
"""
GO = """
    -exec=x|-exec x|--exec x|--exec=x|-toolexec=x|-toolexec x|--toolexec=x|-overlay=x.json|-overlay x|-modfile=x|-modfile x
    -o x|-o=x|-C x|-C=x|-ldflags=-extld=x|-ldflags x|-gcflags=x|-asmflags=x|-gccgoflags=x|-compiler=gccgo|-pkgdir=x
    -vettool=x|-pgo=x|-work|-linkshared|-run -exec=x|-v=x|@x
"""
MAVEN = """
    -f x|-fx|--file x|--file=x|-s x|--settings x|--settings=x|--sett x|-gs x|--global-settings x|-t x|--toolchains x|-gt x
    -l x|--log-file x|-b x|--builder x|-DargLine=x|-Djvm=x|-Dexec.executable=x|-Dmaven.surefire.debug=x|-D argLine=x
    --define argLine=x|-Dmaven.repo.local=x|-DtestX=1|-Dmaven.ext.class.path=x|exec:exec|deploy|install|clean
    org.codehaus.mojo:exec-maven-plugin:3.1.0:exec|-emp x|-ps x|-P -Djvm=x|--raw-streams x
"""
CARGO = """
    --config x|--config=build.rustc-wrapper=x|--manifest-path x|--manifest-path=x|-Z x|-Zunstable|--target-dir x|-C x
    --target x|--lockfile-path x|+nightly|--out-dir x|--artifact-dir=x|--test --config=x|-- --logfile x|-- -Z x
"""
JEST = "-c x|--config=x|--config {}|--rootDir x|--root-dir=x|--globalSetup x|--watchAll|--resolver=x|--transform=x"


def spellings(text: str) -> list[str]:
    return [each.strip() for line in text.strip().splitlines() for each in line.split("|")]


@pytest.mark.parametrize(
    "command",
    [
        f"{tool} {options}"
        for tool, text in (
            ("pytest", PYTEST),
            ("python -m pytest", "-p foo|--rootd=x|@x"),
            ("npm test", NPM),
            ("go test", GO),
            ("mvn test", MAVEN),
            ("cargo test", CARGO),
            ("cargo nextest run", "--config-file x|--tool-config-file x|--archive-file x|--extract-to x"),
            ("jest", JEST),
        )
        for options in spellings(text)
    ],
)
def test_dangerous_options_are_refused_in_every_spelling(command: str) -> None:
    assert isinstance(decide(command.split()), Refused)


@pytest.mark.parametrize("tool", ["pytest", "npm test --", "go test", "cargo test", "jest", "python -m pytest"])
@pytest.mark.parametrize(
    "path",
    [
        "/etc",
        "../x",
        "a/../../x",
        "..",
        "~/x",
        "~root",
        "file:///etc",
        "a::/etc",
        "a,/etc",
        "a=../x",
        "a:~/x",
        "a=[/etc]",
    ],
)
def test_paths_that_lead_outside_are_refused(tool: str, path: str) -> None:
    assert "outside of the working directory" in reason([*tool.split(), path])


@pytest.mark.parametrize(
    "command",
    [
        "pytest --junitxml=/etc/x",
        "pytest --junit-xml ../x.xml",
        "pytest --cov-report=html:/tmp/x",
        "pytest --log-file=../x",
        "pytest -k/x",
        "go test -coverprofile=/tmp/x",
        "go test -outputdir ../x",
        "go test ./... -args -test.outputdir=/tmp",
        "npm test -w ../other",
        "mvn test -pl ../other",
        "jest --outputFile=/tmp/x",
        "jest --outputFile=http://../../x",
        "jest --outputFile=http://a/../../../x",
        "npx mocha -R../x.js",
        "npx mocha -bR../x.js",
        "npx mocha -R..",
    ],
)
def test_paths_in_harmless_options_are_refused_too(command: str) -> None:
    assert "outside of the working directory" in reason(command)


def test_links_are_followed_from_the_working_directory(tmp_path: Path) -> None:
    cwd = tmp_path / "work"
    (cwd / "inside").mkdir(parents=True)
    (cwd / "out").symlink_to(tmp_path)
    (cwd / "in").symlink_to("inside")
    (cwd / "loop").symlink_to("loop")

    assert isinstance(decide("pytest in loop nowhere out/work/inside", cwd=cwd), Allowed)
    for command in (
        *("pytest out", "pytest out/elsewhere", "pytest --junitxml=out/x.xml", "pytest out/x.py::test"),
        *("npx mocha -Rout/x.js", "npx mocha -bRout"),
    ):
        decision = decide(command, cwd=cwd)
        assert isinstance(decision, Refused)
        assert "symbolic link" in decision.reason


def test_an_empty_list_allows_nothing() -> None:
    assert "ALLOWED_TEST_COMMANDS is empty" in reason("pytest", allowed=())


def test_the_longest_entry_decides() -> None:
    decision = decide("pytest -p no:cacheprovider -q", allowed=("pytest", "pytest -p no:cacheprovider"))

    assert isinstance(decision, Allowed)
    assert decision.rule == "pytest -p no:cacheprovider"


def test_the_program_is_found_on_the_fixed_path_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for directory in ("ours", "theirs"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "pytest").write_text("#!/bin/sh\n")
        (tmp_path / directory / "pytest").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "theirs"))
    monkeypatch.chdir(tmp_path / "theirs")

    decision = CommandPolicy(["pytest"], path=str(tmp_path / "ours")).decide("pytest")
    nowhere = CommandPolicy(["pytest"], path=str(tmp_path)).decide("pytest")

    assert isinstance(decision, Allowed)
    assert decision.program == tmp_path / "ours" / "pytest"
    assert isinstance(nowhere, Allowed)
    assert nowhere.program is None


@given(st.text())
def test_no_text_breaks_the_policy(text: str) -> None:
    for command in (text, f"pytest {text}", f"npm test -- {text}", f"mvn test {text}"):
        assert isinstance(decide(command), Allowed | Refused)


@given(st.lists(st.text(), max_size=5))
def test_what_is_allowed_begins_with_an_entry(words: list[str]) -> None:
    for command in (words, ["pytest", *words], ["go", "test", *words]):
        decision = decide(command)
        if isinstance(decision, Allowed):
            assert any(decision.argv[: len(entry.split())] == tuple(entry.split()) for entry in EVERY)
            assert decision.argv == tuple(command)
