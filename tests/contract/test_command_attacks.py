"""The attack table: what a hostile ticket or a hostile test tries, and that it is refused or contained.

Refused: a sentinel shows that nothing ran - neither what the attack wanted nor the program itself, which here is one that
leaves the sentinel whenever it is started. Contained: it runs for real, real pytest where that matters, and nothing of it
is left when the run is over.
"""

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from worker_agents.clients.command import CommandPolicy, CommandRefused, CommandRunner
from worker_agents.clients.git import Git
from worker_agents.clients.process import ProcessLimits, ProcessOutcome
from worker_agents.clients.workspace import Workspaces
from worker_agents.clients.workspace_scratch import ScratchDirectories
from worker_agents.model.errors import InvalidParameters, Reason
from worker_agents.model.git_urls import AllowedGitUrls
from worker_agents.reports.files import read_report_file
from worker_agents.reports.model import ReportStale, ReportUnreadable
from worker_agents.telemetry.masking import MASK, SecretMasker

ALLOWED = ("pytest", "npm test", "go test", "mvn test", "cargo test")
SECRET = "correct-horse-battery-staple"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="holding a process tree together needs Linux")


class Range:
    """A place to attack: a working directory, stubs of the tools that tell when they ran, and a runner."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "root"
        self.cwd = self.root / "work"
        self.stubs = base / "bin"
        self.sentinel = base / "sentinel"
        self.tag = f"3600.{uuid.uuid4().int % 10**12}"
        for directory in (self.cwd, self.stubs, base / "outside", base / "scratch"):
            directory.mkdir(parents=True)
        for name in ("pytest", "pytestfoo", "npm", "go", "mvn", "cargo", "find", "sh", "env"):
            self.program(self.stubs / name, f"#!/bin/sh\ntouch {self.sentinel}\n")
        self.program(self.cwd / "pytest", f"#!/bin/sh\ntouch {self.sentinel}\n")
        (self.cwd / "out").symlink_to(base / "outside")

    @staticmethod
    def program(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        yield self.base / "scratch"

    def runner(
        self, *, path: str, allowed: tuple[str, ...] = ALLOWED, environment: tuple[str, ...] = (), **limits: Any
    ) -> CommandRunner:
        return CommandRunner(
            CommandPolicy(allowed, path=path),
            limits=ProcessLimits(**{"seconds": 60.0, "kill_grace": 0.2, "processes": 1_000} | limits),
            scratch=self.scratch,
            environment_allowed=environment,
            mask=SecretMasker([SECRET]).text,
        )

    async def refuses(
        self,
        command: str,
        *,
        env_vars: Mapping[str, str] | None = None,
        allowed: tuple[str, ...] = ALLOWED,
        environment: tuple[str, ...] = (),
    ) -> str:
        """Why it is refused; fails when anything ran."""
        runner = self.runner(path=str(self.stubs), allowed=allowed, environment=environment)
        before = sorted(self.base.rglob("*"))
        with pytest.raises(CommandRefused) as raised:
            await runner.run(command.replace("{S}", str(self.sentinel)), cwd=self.cwd, seconds=60, env_vars=env_vars)
        assert raised.value.reason is Reason.COMMAND_REFUSED
        assert not raised.value.retryable
        assert sorted(self.base.rglob("*")) == before
        return str(raised.value)

    async def runs(self, script: str, **limits: Any) -> ProcessOutcome:
        """``script`` in the place of the program ``pytest``."""
        self.program(self.stubs / "pytest", f"#!/bin/sh\n{script}\n")
        return await self.runner(path=f"{self.stubs}:/usr/bin:/bin", **limits).run("pytest", cwd=self.cwd, seconds=3600)

    async def tests(
        self,
        code: str,
        *,
        command: str = "pytest -q -s",
        env_vars: Mapping[str, str] | None = None,
        environment: tuple[str, ...] = (),
    ) -> ProcessOutcome:
        """Real pytest over a file that holds ``code``."""
        (self.cwd / "test_hostile.py").write_text(code)
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        return await self.runner(path=path, environment=environment).run(
            command, cwd=self.cwd, seconds=60, env_vars=env_vars
        )

    def left(self) -> list[str]:
        """Command lines of the processes that carry our tag."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            found += [" ".join(words)] if self.tag in words else []
        return found


@pytest.fixture
def range_(tmp_path: Path) -> Range:
    return Range(tmp_path)


REFUSED = {
    "injection: command list": ("pytest; touch {S}", "';' is for a shell"),
    "injection: glued command list": ("pytest;touch {S}", "';' is for a shell"),
    "injection: and-list": ("pytest && touch {S}", "'&' is for a shell"),
    "injection: pipe": ("pytest | tee {S}", "'|' is for a shell"),
    "injection: background": ("pytest & touch {S}", "'&' is for a shell"),
    "injection: redirect": ("pytest > {S}", "standard output and standard error are read anyway"),
    "injection: substitution": ("pytest $(touch {S})", "'$(' is for a shell"),
    "injection: quoted substitution": ('pytest "$(touch {S})"', "'$(' is for a shell"),
    "injection: backticks": ("pytest `touch {S}`", "'`' is for a shell"),
    "injection: second line": ("pytest\ntouch {S}", "control character"),
    "injection: NUL": ("pytest\0touch {S}", "control character"),
    "injection: unclosed quote": ("pytest '; touch {S}", "quotation mark is not closed"),
    "injection: assignment": ("PYTEST_ADDOPTS=-pevil pytest", "PYTEST_ADDOPTS=... in front of a program"),
    "prefix: longer name": ("pytestfoo", "begins with none"),
    "prefix: other subcommand": ("npm testing", "begins with none"),
    "prefix: other program": ("find . -exec touch {S} +", "begins with none"),
    "prefix: env": ("env pytest", "begins with none"),
    "prefix: sh -c": ("sh -c 'touch {S}'", "begins with none"),
    "program: relative path": ("./pytest", "is a path"),
    "program: absolute path": ("/usr/bin/pytest", "is a path"),
    "pytest: -p": ("pytest -p evil", "loads code"),
    "pytest: glued -p": ("pytest -xvpevil", "loads code"),
    "pytest: -c": ("pytest -c evil.ini", "configuration from elsewhere"),
    "pytest: --rootdir": ("pytest --rootdir=evil", "configuration from elsewhere"),
    "pytest: abbreviated --rootdir": ("pytest --rootd evil", "configuration from elsewhere"),
    "pytest: -o": ("pytest -o addopts=-pevil", "configuration from elsewhere"),
    "pytest: argument file": ("pytest @evil", "reads further arguments from a file"),
    "pytest: --basetemp": ("pytest --basetemp=tests", "deletes the directory"),
    "go: -exec": ("go test -exec evil ./...", "-exec"),
    "go: --exec=": ("go test --exec=evil ./...", "--exec=evil"),
    "go: -toolexec": ("go test -toolexec evil ./...", "-toolexec"),
    "go: -overlay": ("go test -overlay=evil.json ./...", "-overlay"),
    "go: -ldflags -extld": ("go test '-ldflags=-extld=evil' ./...", "-extld"),
    "npm: --script-shell": ("npm test --script-shell=./evil", "--script-shell"),
    "npm: --node-options": ("npm test --node-options=--require=./evil.js", "--node-options"),
    "npm: --globalSetup after --": ("npm test -- --globalSetup=./evil.js", "loads code"),
    "mvn: -DargLine": ("mvn test -DargLine=-javaagent:evil.jar", "-DargLine"),
    "mvn: -Djvm": ("mvn test -Djvm=evil", "-Djvm"),
    "mvn: exec:exec": ("mvn test exec:exec -Dexec.executable=touch", "exec:exec"),
    "mvn: other settings": ("mvn test -s evil.xml", "-s"),
    "cargo: --config": ("cargo test --config build.rustc-wrapper='evil'", "--config"),
    "path: parent": ("pytest ../other", "outside of the working directory"),
    "path: absolute": ("pytest /etc", "outside of the working directory"),
    "path: in an option": ("pytest --junitxml=/etc/cron.d/x", "outside of the working directory"),
    "path: symbolic link": ("pytest out/test_x.py", "by a symbolic link"),
}


@pytest.mark.parametrize(("command", "words"), REFUSED.values(), ids=REFUSED)
async def test_refused(range_: Range, command: str, words: str) -> None:
    assert words in await range_.refuses(command)


async def test_the_stubs_would_tell(range_: Range) -> None:
    """The proof that the sentinel of the table above is worth something."""
    await range_.runner(path=f"{range_.stubs}:/usr/bin:/bin").run("pytest", cwd=range_.cwd, seconds=60)

    assert range_.sentinel.exists()


async def test_refused_by_an_empty_list(range_: Range) -> None:
    assert "ALLOWED_TEST_COMMANDS is empty" in await range_.refuses("pytest", allowed=())


DANGEROUS = """
    PYTEST_ADDOPTS NODE_OPTIONS LD_PRELOAD PATH GOFLAGS JAVA_TOOL_OPTIONS RUSTC_WRAPPER BASH_ENV MAVEN_OPTS HOME
    GIT_SSH_COMMAND npm_config_script_shell HTTPS_PROXY
"""


@pytest.mark.parametrize("name", DANGEROUS.split())
async def test_a_ticket_sets_no_dangerous_variable_even_where_it_is_listed(range_: Range, name: str) -> None:
    said = await range_.refuses("pytest", env_vars={name: "evil"}, environment=(name,))

    assert f"env_vars: {name} decides which code" in said
    assert "evil" not in said


@pytest.mark.parametrize("name", ["DATABASE_URL", "A B", "A=B", "", "A\nB"])
async def test_a_ticket_sets_no_variable_that_is_not_listed(range_: Range, name: str) -> None:
    assert "env_vars: " in await range_.refuses("pytest", env_vars={name: "x"}, environment=("OTHER",))


@pytest.mark.parametrize("working_dir", ["..", "../outside", "/etc", "work/out", "work/../../outside", "loop", "gone"])
async def test_a_working_directory_outside_of_the_root(range_: Range, working_dir: str) -> None:
    (range_.root / "loop").symlink_to("loop")
    workspaces = Workspaces(
        range_.root,
        scratch=ScratchDirectories(range_.base / "checkouts"),
        allowed=AllowedGitUrls(()),
        git=Git(),
    )
    with pytest.raises(InvalidParameters, match="working_dir"):
        async with workspaces.source(working_dir=working_dir, repo_url=None, revision=None, log=lambda _: None):
            pass


async def test_the_worker_s_own_variables_do_not_reach_the_tests(
    range_: Range, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real pytest would fail to start with these options, and the others show what it got."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no_such_plugin")
    monkeypatch.setenv("NODE_OPTIONS", "--require=/nowhere.js")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", SECRET)
    monkeypatch.setenv("FOR_TESTS", "given")
    code = "import os\ndef test_it(): print('NAMES', *sorted(os.environ)); print(os.environ['FOR_TESTS'])"

    ended = await range_.tests(code, environment=("FOR_TESTS", "ALSO"), env_vars={"ALSO": "from the ticket"})

    assert ended.exit_code == 0, ended.stdout
    names = ended.stdout.split("NAMES ")[1].split("\n")[0].split()
    own = {"ALSO", "CI", "FOR_TESTS", "HOME", "LANG", "PATH", "TMPDIR", "WORKER_AGENTS_RUN"}
    assert {name for name in names if not name.startswith("PYTEST_")} - {"LC_CTYPE"} == own
    assert "\ngiven\n" in ended.stdout


ESCAPES = {
    "setsid daemon": "subprocess.Popen(['setsid', 'sleep', TAG], stdout=DEVNULL, stderr=DEVNULL)",
    "pipe holder": "subprocess.Popen(['setsid', 'sleep', TAG])",
    "double fork without environment": "subprocess.Popen(['setsid', 'sh', '-c', 'sleep ' + TAG + ' &'], env={})",
    "deaf to signals": "signal.signal(signal.SIGTERM, signal.SIG_IGN); subprocess.Popen(['setsid', 'sleep', TAG])",
    "stopped": "os.kill(subprocess.Popen(['setsid', 'sleep', TAG]).pid, signal.SIGSTOP)",
}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
async def test_what_a_test_leaves_behind_ends_with_it(range_: Range, escape: str) -> None:
    code = f"import os, signal, subprocess\nfrom subprocess import DEVNULL\nTAG = {range_.tag!r}\ndef test_it():\n {escape}"

    ended = await range_.tests(code)

    assert ended.exit_code == 0, ended.stdout
    assert not range_.left()


async def test_a_test_that_kills_its_supervisor_kills_itself(range_: Range) -> None:
    ended = await range_.runs(f"setsid sleep {range_.tag} & kill -9 $PPID; sleep {range_.tag}")

    assert ended.exit_code is None
    assert not range_.left()


async def test_a_hang_that_ignores_being_asked(range_: Range) -> None:
    ended = await range_.runs(f"trap '' TERM; while :; do setsid sleep {range_.tag}; done", seconds=0.5)

    assert ended.timed_out
    assert not range_.left()


BOMB = """
import os, resource, sys
if os.getuid() == 0:  # the kernel limits nobody who is root
    os.setgroups([]); os.setgid(54321); os.setuid(54321)
assert os.getuid() != 0 and 0 < resource.getrlimit(resource.RLIMIT_NPROC)[0] < 20_000
print("lit", flush=True)
while True:
    try:
        {body}
    except BlockingIOError:
        os.write(1, b"refused" + os.linesep.encode())
"""


@pytest.mark.parametrize(
    "body",
    ["os.fork()", "os.fork() or os.setsid()", "os.fork() and os._exit(0)", "os.fork() and os._exit(0); os.setsid()"],
    ids=["group", "sessions", "comet", "comet of sessions"],
)
async def test_a_fork_bomb(range_: Range, body: str) -> None:
    """The comets never grow: each process lives only until its child runs, which makes them hard to hit."""
    (range_.cwd / "bomb.py").write_text(BOMB.format(body=body))

    ended = await range_.runs(
        f"exec {sys.executable} -I -S bomb.py {range_.tag}", seconds=1.0, kill_grace=0.1, processes=40
    )

    assert ended.stdout.startswith("lit\n"), ended.stderr
    assert ("refused" in ended.stdout) == ("_exit" not in body)
    assert not range_.left()


async def test_a_memory_hog(range_: Range) -> None:
    ended = await range_.runs(f"exec {sys.executable} -I -c 'x = b\"x\" * 10**9'", memory_bytes=200 * 2**20)

    assert ended.exit_code == 1
    assert "MemoryError" in ended.stderr


async def test_a_file_that_grows(range_: Range) -> None:
    ended = await range_.runs("yes > big", file_bytes=100_000)

    assert ended.ending != "exit code 0"
    assert (range_.cwd / "big").stat().st_size == 100_000


async def test_output_without_end(range_: Range) -> None:
    ended = await range_.runs("yes", seconds=1.0, output_bytes=10_000)

    assert ended.timed_out
    assert len(ended.stdout) < 10_100
    assert "bytes left out" in ended.stdout


async def test_a_read_from_the_terminal(range_: Range) -> None:
    ended = await range_.tests("def test_it():\n    try: input()\n    except EOFError: print('closed')")

    assert ended.exit_code == 0
    assert "closed" in ended.stdout


async def test_secrets_in_the_output_also_where_it_comes_in_pieces(range_: Range) -> None:
    code = f"""
import sys
def test_it():
    for each in {SECRET!r}:
        sys.stdout.write(each); sys.stdout.flush()
    print({SECRET[:7]!r} + "\\x1b[0m" + {SECRET[7:]!r})
    assert {SECRET!r} == "x"
"""
    ended = await range_.tests(code)

    assert ended.exit_code == 1
    assert SECRET not in ended.stdout + ended.stderr
    assert ended.stdout.startswith(MASK * 2)


async def test_control_characters_in_the_output(range_: Range) -> None:
    ended = await range_.runs(r"printf 'a\033]0;owned\007\033[2Jb\b\000c\r\nd\n'")

    assert ended.stdout == "abc\nd\n"


async def test_cancelled_in_the_middle(range_: Range) -> None:
    range_.program(range_.stubs / "pytest", f"#!/bin/sh\ntrap '' TERM\nsetsid sleep {range_.tag} & echo up; wait\n")
    is_up = asyncio.Event()
    runner = range_.runner(path=f"{range_.stubs}:/usr/bin:/bin")
    task = asyncio.ensure_future(runner.run("pytest", cwd=range_.cwd, seconds=60, on_line=lambda _: is_up.set()))
    await is_up.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert not range_.left()


REPORTS = {
    "FIFO": ("mkfifo report.json", ReportUnreadable),
    "stale": ("touch -d '1 hour ago' report.json", ReportStale),
    "symbolic link": ("ln -s /etc/passwd report.json", ReportUnreadable),
    "directory linked outside": ("rm -rf d; ln -s /etc d; mv -T d reports", ReportUnreadable),
    "device": ("ln -s /dev/zero report.json", ReportUnreadable),
    "huge": ("truncate -s 10G report.json", ReportUnreadable),
}


@pytest.mark.parametrize(("script", "error"), REPORTS.values(), ids=REPORTS)
async def test_a_report_that_is_none(range_: Range, script: str, error: type[Exception]) -> None:
    began = time.time()
    ended = await range_.runs(script)
    assert ended.exit_code == 0, ended.stderr
    name = "reports/passwd" if (range_.cwd / "reports").exists() else "report.json"

    with pytest.raises(error):
        read_report_file(name, root=range_.cwd, newer_than=began, max_bytes=1_000_000)


def test_the_table_is_as_long_as_promised() -> None:
    assert len(REFUSED) + len(ESCAPES) + len(REPORTS) >= 38
