"""A worker whose event loop is blocked, or whose process is stopped, fences nothing: its programs must not outlast its lease."""

import asyncio
import contextlib
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from worker_agents.clients import process_supervisor
from worker_agents.clients.process import ProcessLimits, ProcessOutcome, run_process
from worker_agents.model.errors import IntegrationUnavailable, Reason, WorkerStalled

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="holding a process tree together needs Linux")

Run = Callable[[Coroutine[Any, Any, Any]], Any]

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
# What asking nicely does not end, in a session of its own; each of the two holds the FIFO open.
DEAF_TREE = "trap '' TERM; exec 3> alive; setsid sleep 3600 & echo up; sleep 3600"


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Held open by programs: reading it to its end blocks until the last of them is gone."""
    os.mkfifo(tmp_path / "alive")
    return tmp_path / "alive"


@pytest.fixture
def alive(fifo: Path) -> Iterator[io.FileIO]:
    """The FIFO opened before there is a program, so that the event loop which is to start it does not block."""
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    with io.FileIO(descriptor) as reader:
        yield reader


class Program:
    """A shell script in ``cwd``, begun; its first line shows that it is up."""

    def __init__(self, script: str, cwd: Path, **limits: Any) -> None:
        self._is_up = asyncio.Event()
        self._run = asyncio.ensure_future(
            run_process(
                ["sh", "-c", script],
                cwd=cwd,
                env=ENV,
                limits=ProcessLimits(**{"seconds": 60.0} | limits),
                on_line=lambda _: self._is_up.set(),
            )
        )

    async def up(self) -> None:
        await self._is_up.wait()

    async def ended(self) -> ProcessOutcome:
        return await self._run


def test_a_blocked_event_loop_finds_the_tree_gone_when_it_wakes(run: Run, tmp_path: Path, alive: io.FileIO) -> None:
    async def blocked() -> None:
        program = Program(DEAF_TREE, tmp_path, silence=1.0, kill_grace=3600.0)
        await program.up()

        assert alive.readall() == b"", "this blocks the event loop until the whole tree is gone"

        with pytest.raises(WorkerStalled, match=r"^sh was killed, because .* 1 s") as stalled:
            await program.ended()
        assert (stalled.value.retryable, stalled.value.reason) == (True, Reason.WORKER_LOST)
        assert not isinstance(stalled.value, IntegrationUnavailable), "no outage, which could be simulated"

    run(blocked())


def test_a_program_goes_on_for_many_silences_while_the_event_loop_runs(run: Run, tmp_path: Path) -> None:
    async def long() -> ProcessOutcome:
        return await Program("sleep 2.5; echo done", tmp_path, silence=0.8).ended()

    ended = run(long())

    assert (ended.exit_code, ended.stdout) == (0, "done\n")


def test_a_program_that_ended_while_the_event_loop_was_blocked_keeps_its_outcome(
    run: Run, tmp_path: Path, alive: io.FileIO
) -> None:
    """Shorter than the silence, and long enough for a beat to be due at the wake-up, before the answer is read."""

    async def blocked() -> ProcessOutcome:
        program = Program("exec 3> alive; echo up; sleep 1.5; exit 3", tmp_path, silence=8.0)
        await program.up()
        alive.readall()
        return await program.ended()

    ended = run(blocked())

    assert (ended.exit_code, ended.stdout, ended.timed_out) == (3, "up\n", False)


def test_silence_cuts_the_grace_of_a_time_out_short(run: Run, tmp_path: Path, alive: io.FileIO) -> None:
    async def blocked() -> ProcessOutcome:
        program = Program(DEAF_TREE, tmp_path, seconds=1.0, kill_grace=3600.0, silence=1.5)
        await program.up()
        alive.readall()
        return await program.ended()

    ended = run(blocked())

    assert (ended.timed_out, ended.ending) == (True, "time-out after 1 s")


def test_without_a_silence_a_program_outlasts_a_blocked_event_loop(run: Run, tmp_path: Path, alive: io.FileIO) -> None:
    async def blocked() -> ProcessOutcome:
        program = Program("exec 3> alive; echo up; sleep 1; exit 3", tmp_path)
        await program.up()
        alive.readall()
        return await program.ended()

    assert run(blocked()).exit_code == 3


@pytest.mark.parametrize("name", ["KILL", "TERM"])
def test_a_supervisor_that_is_killed_is_no_silence(run: Run, tmp_path: Path, name: str) -> None:
    async def killed() -> ProcessOutcome:
        return await Program(f"kill -{name} $PPID; sleep 3600", tmp_path, silence=30.0).ended()

    assert run(killed()).killed_from_outside


def test_the_supervisor_keeps_its_channel_until_the_worker_has_read_the_answer() -> None:
    """A beat that meets a closed channel is an error on this side, and takes the unread answer with it."""
    request = {"program": "/bin/sh", "argv": ["sh", "-c", "exit 3"], "env": {}, "cwd": "/", "limits": {}}
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-I", "-S", process_supervisor.__file__]
    with ours, subprocess.Popen(command, stdin=theirs) as supervisor:
        theirs.close()
        ours.sendall(json.dumps(request | {"seconds": 60, "grace": 1, "silence": 60}).encode() + b"\n")
        answer = json.loads(ours.recv(4096))
        assert os.waitstatus_to_exitcode(answer["status"]) == 3

        is_closed, _, _ = select.select([ours], [], [], 0.5)
        assert not is_closed

        ours.close()
        assert supervisor.wait() == 0


# --- a worker that is stopped ------------------------------------------------------------------------------------

WORKER = """
import asyncio, sys
from pathlib import Path
from worker_agents.clients.process import ProcessLimits, run_process

async def main():
    limits = ProcessLimits(60, silence=float(sys.argv[3]))
    return await run_process(["sh", "-c", sys.argv[1]], cwd=Path(sys.argv[2]), env={"PATH": "/usr/bin:/bin"}, limits=limits)

try:
    print(asyncio.run(main()).ending)
except Exception as error:
    print(type(error).__name__)
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a worker process that runs ``script`` in ``tmp_path`` and tells how it ended."""
    with contextlib.ExitStack() as started:

        def start(script: str, silence: float) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", WORKER, script, str(tmp_path), str(silence)]
            process = started.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            started.callback(process.kill)
            return process

        yield start


def tree_of(pid: int) -> list[int]:
    """``pid`` and its descendants, of which each has one thread that forks."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in tree_of(int(child)))]


def send(number: signal.Signals, pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, number)


def test_a_stopped_worker_finds_the_tree_gone_when_it_is_continued(
    worker: Callable[..., subprocess.Popen[str]], fifo: Path
) -> None:
    process = worker(DEAF_TREE.replace("echo up", "echo up >&3"), silence=1.0)
    with fifo.open("rb", buffering=0) as alive:
        assert alive.readline() == b"up\n"
        send(signal.SIGSTOP, [process.pid])
        assert alive.readall() == b""

    send(signal.SIGCONT, [process.pid])
    assert process.communicate()[0] == "WorkerStalled\n"


@pytest.mark.parametrize("alone", [True, False], ids=["the worker alone", "with its supervisor"])
def test_a_stop_shorter_than_the_silence_ends_nothing(
    worker: Callable[..., subprocess.Popen[str]], fifo: Path, alone: bool
) -> None:
    """The program tells how time goes by: a second of stop, and then, running, more than the silence altogether."""
    process = worker("exec 3> alive; for i in 1 2 3 4 5 6 7 8; do echo tick >&3; sleep 0.5; done", silence=3.0)
    with fifo.open("rb", buffering=0) as alive:
        assert alive.readline() == b"tick\n"
        stopped = tree_of(process.pid)[: 1 if alone else 2]
        send(signal.SIGSTOP, stopped)
        assert [alive.readline() for _ in range(2)] == [b"tick\n"] * 2
        send(signal.SIGCONT, stopped)
        assert alive.readall() == b"tick\n" * 5

    assert process.communicate()[0] == "exit code 0\n"


def test_a_supervisor_that_was_stopped_alone_accuses_nobody(
    worker: Callable[..., subprocess.Popen[str]], fifo: Path
) -> None:
    process = worker("exec 3> alive; for i in 1 2 3 4 5; do echo tick >&3; sleep 1; done", silence=1.5)
    with fifo.open("rb", buffering=0) as alive:
        assert alive.readline() == b"tick\n"
        supervisor = tree_of(process.pid)[1:2]
        send(signal.SIGSTOP, supervisor)
        assert [alive.readline() for _ in range(3)] == [b"tick\n"] * 3, "more than the silence has passed"
        send(signal.SIGCONT, supervisor)
        assert alive.readall() == b"tick\n"

    assert process.communicate()[0] == "exit code 0\n"


def test_a_worker_stopped_with_its_supervisor_has_lost_the_program_when_both_are_continued(
    worker: Callable[..., subprocess.Popen[str]], fifo: Path
) -> None:
    process = worker("exec 3> alive; echo up >&3; sleep 2; echo still >&3; sleep 3600", silence=1.0)
    with fifo.open("rb", buffering=0) as alive:
        assert alive.readline() == b"up\n"
        stopped = tree_of(process.pid)[:2]
        send(signal.SIGSTOP, stopped)
        assert alive.readline() == b"still\n", "more than the silence has passed"
        # The worker first: the order in which a beat could still reach the supervisor before it looks at the clock.
        send(signal.SIGCONT, stopped)
        assert alive.readall() == b""

    assert process.communicate()[0] == "WorkerStalled\n"
