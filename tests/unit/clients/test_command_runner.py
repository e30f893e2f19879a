"""A command in its surroundings: environment, directories, limits, and what it raises."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.clients.command import CommandPolicy, CommandRefused, CommandRunner
from worker_agents.clients.command.environment import build_environment, environment_problem
from worker_agents.clients.process import ProcessLimits, ProgramMissing
from worker_agents.model.errors import IntegrationUnavailable, Reason, TaskError

SYSTEM = "/usr/bin:/bin"


class Scratch:
    def __init__(self, base: Path) -> None:
        self.path = base / "scratch"
        self.is_in_use = False

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Path]:
        self.path.mkdir(exist_ok=True)
        self.is_in_use = True
        try:
            yield self.path
        finally:
            self.is_in_use = False


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path)


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    (tmp_path / "cwd").mkdir()
    return tmp_path / "cwd"


def runner(scratch: Scratch, *allowed: str, environment: tuple[str, ...] = (), path: str = SYSTEM) -> CommandRunner:
    return CommandRunner(
        CommandPolicy(allowed, path=path),
        limits=ProcessLimits(seconds=60),
        scratch=scratch.fresh,
        environment_allowed=environment,
        mask=lambda text: text.replace("secret", "***"),
    )


async def test_a_command_runs_with_its_own_home_in_its_directory(
    scratch: Scratch, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPIED", "ours")
    monkeypatch.setenv("NOT_COPIED", "ours")
    lines: list[str] = []

    ended = await runner(scratch, "env", environment=("COPIED", "ABSENT", "FROM_TICKET")).run(
        "env", cwd=cwd, seconds=60, env_vars={"FROM_TICKET": "a secret"}, on_line=lines.append
    )

    variables = dict(line.split("=", 1) for line in ended.stdout.splitlines())
    del variables["WORKER_AGENTS_RUN"]
    home = str(scratch.path)
    assert variables == {
        "LANG": "C.UTF-8", "CI": "true", "PATH": SYSTEM, "HOME": home, "TMPDIR": home,
        "COPIED": "ours", "FROM_TICKET": "a ***",
    }  # fmt: skip
    assert sorted(lines) == sorted(ended.stdout.splitlines())
    assert not scratch.is_in_use
    assert (await runner(scratch, "pwd -P").run("pwd -P", cwd=cwd, seconds=60)).stdout == f"{cwd.resolve()}\n"


async def test_the_shorter_time_limit_counts(scratch: Scratch, cwd: Path) -> None:
    ended = await runner(scratch, "sleep 3600").run("sleep 3600", cwd=cwd, seconds=0.2)

    assert ended.ending == "time-out after 0.2 s"


async def test_no_ticket_gets_more_than_the_longest_time(scratch: Scratch, cwd: Path) -> None:
    ended = await runner(scratch, "true").run("true", cwd=cwd, seconds=100_000)

    assert ended.time_limit == 60


async def test_a_refused_command(scratch: Scratch, cwd: Path) -> None:
    with pytest.raises(CommandRefused, match="test_command: it begins with none of the allowed") as raised:
        await runner(scratch, "env").run("id", cwd=cwd, seconds=60)

    assert raised.value.reason is Reason.COMMAND_REFUSED
    assert isinstance(raised.value, TaskError)
    assert not isinstance(raised.value, IntegrationUnavailable)
    assert not raised.value.retryable
    assert not scratch.path.exists()


async def test_an_allowed_command_whose_program_is_missing_is_an_outage(scratch: Scratch, cwd: Path) -> None:
    with pytest.raises(ProgramMissing, match=r"'pytest' is not found on TEST_COMMAND_PATH \(/nowhere\)"):
        await runner(scratch, "pytest", path="/nowhere").run("pytest", cwd=cwd, seconds=60)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PLAIN", "x", "PLAIN is not in TEST_ENVIRONMENT_ALLOWED"),
        ("", "x", "'' is no name"),
        ("A-B", "x", "'A-B' is no name"),
        ("A\n", "x", r"'A\\n' is no name"),
        ("LISTED", "x\0", "the value of LISTED contains a NUL"),
        ("LISTED", "x" * 40_000, "longer than 32768"),
    ],
)
def test_variables_of_tickets(name: str, value: str, words: str) -> None:
    problem = environment_problem({name: value}, ("LISTED",))

    assert problem is not None
    assert words.replace("\\\\", "\\") in problem
    assert problem.startswith("env_vars: ")


@pytest.mark.parametrize(
    "name",
    [
        "DATABASE_URL",
        "APP_ENV",
        "LOG_LEVEL",
        "FEATURE_X",
        "REDIS_HOST",
        "LOCALE",
        "TEST_DATABASE_URL",
        "PIPELINE",
        "GOOGLE_ID",
    ],
)
def test_ordinary_variables_may_be_listed(name: str) -> None:
    assert environment_problem({name: "x"}, (name,)) is None


DANGEROUS = """
    LD_LIBRARY_PATH DYLD_INSERT_LIBRARIES PYTHONPATH PYTHONSTARTUP PYTEST_PLUGINS COVERAGE_PROCESS_START NODE_PATH
    NODE_EXTRA_CA_CERTS NPM_CONFIG_PREFIX npm_config_node_options YARN_RC JAVA_HOME _JAVA_OPTIONS JDK_JAVA_OPTIONS
    MAVEN_ARGS GOPATH GOROOT GOPROXY GOWORK CGO_CFLAGS CARGO_HOME RUSTFLAGS RUSTC RUSTUP_TOOLCHAIN BASH_FUNC_x ENV IFS
    GIT_DIR GIT_CONFIG_GLOBAL PERL5LIB RUBYOPT GCONV_PATH CC XDG_CONFIG_HOME http_proxy SSL_CERT_FILE TMPDIR SHELL
    WORKER_AGENTS_RUN GLIBC_TUNABLES
"""


@pytest.mark.parametrize("name", DANGEROUS.split())
def test_dangerous_variables_are_never_set_by_tickets(name: str) -> None:
    problem = environment_problem({name: "x"}, (name,))

    assert problem is not None
    assert "no ticket may set it" in problem


@given(st.dictionaries(st.text(), st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_only_listed_names_pass(variables: dict[str, str], allowed: list[str]) -> None:
    if environment_problem(variables, allowed) is None:
        assert set(variables) <= set(allowed)


def test_what_is_ours_cannot_be_replaced(tmp_path: Path) -> None:
    built = build_environment(
        path="/p", scratch=tmp_path, allowed=["PATH", "HOME", "TMPDIR"], variables={}, own={"PATH": "/x", "HOME": "/y"}
    )

    assert (built["PATH"], built["HOME"], built["TMPDIR"]) == ("/p", str(tmp_path), str(tmp_path))
