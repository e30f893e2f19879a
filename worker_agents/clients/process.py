"""Runs external programs: bounded in time, output and resources, and never outliving their end.

Each run has a small supervisor of its own (``process_supervisor.py``, which says why) that starts the program and holds
its process tree together. This module talks to it, reads the output through pipes of its own and tells how the run
ended. A limit of memory or files holds for each process by itself: what bounds a tree as a whole is the container.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from worker_agents.clients.process_memory import out_of_memory_kills
from worker_agents.clients.process_output import LiveLines, Mask, OutputCollector
from worker_agents.clients.process_supervision import Supervision
from worker_agents.model.errors import IntegrationUnavailable, TaskError, WorkerStalled

RUN_VARIABLE: Final = "WORKER_AGENTS_RUN"
"""In the environment of every program: a random mark by which its processes are found if the supervisor was killed."""

_NOT_STARTABLE = frozenset(
    {errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP, errno.EPERM, errno.EISDIR}
)


def unmasked(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """``seconds`` of wall time, then SIGTERM, and after ``kill_grace`` seconds SIGKILL.

    ``silence``: SIGKILL at once when the event loop of the caller was blocked, or its process stopped, for so many seconds.
    ``None``: the program outlasts that, and the caller's lease on what it is run for.

    ``output_bytes`` are kept of each stream: head and tail. ``memory_bytes`` (private writable memory, ``RLIMIT_DATA``:
    address space alone would stop Go, Java and Node, which reserve far more than they use), ``file_bytes`` (the
    longest file) and ``open_files`` hold for each process. ``processes`` is how many processes and threads the worker's
    user may have more than at the start of the run; the kernel does not apply it to root. ``None``: no limit of ours.
    """

    seconds: float
    kill_grace: float = 5.0
    silence: float | None = None
    output_bytes: int = 1_048_576
    memory_bytes: int | None = None
    processes: int | None = None
    file_bytes: int | None = None
    open_files: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessOutcome:
    """``exit_code`` is ``None`` when a signal ended the program, ``signal`` when none did.

    ``out_of_memory``: the kernel killed in this container while the program ran, and the program ended by SIGKILL.
    A program that only could not get more memory says so itself, by its exit code and output.
    """

    exit_code: int | None
    signal: int | None
    stdout: str
    stderr: str
    timed_out: bool
    out_of_memory: bool
    duration_seconds: float
    time_limit: float
    stdout_is_cut: bool = False

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.timed_out:
            return f"time-out after {self.time_limit:g} s"
        if self.out_of_memory:
            return "out of memory"
        if self.signal is None:
            return f"exit code {self.exit_code}"
        name = signal.Signals(self.signal).name if self.signal in _SIGNALS else f"signal {self.signal}"
        return f"killed by {name} from outside" if self.killed_from_outside else f"crashed with {name}"

    @property
    def killed_from_outside(self) -> bool:
        """Somebody else ended it: neither its time limit nor a fault of its own."""
        return self.signal is not None and not self.timed_out and self.signal not in _OWN_FAULTS


_SIGNALS = frozenset(signal.Signals)
_OWN_FAULTS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP}
    | {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGXCPU}
)


class ProgramMissing(IntegrationUnavailable):
    """The program cannot be started here: not found, not executable, or for another kind of machine.

    Another attempt changes nothing.
    """

    retryable = False


async def run_process(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    limits: ProcessLimits,
    mask: Mask = unmasked,
    on_line: Callable[[str], None] | None = None,
) -> ProcessOutcome:
    """Run ``argv`` without a shell, with exactly ``env`` (and ``WORKER_AGENTS_RUN``), and with nothing on its stdin.

    A program without a slash is looked up on the PATH of ``env``, a relative one from ``cwd``. When the program ends, what
    it left running is killed; so nothing that holds its output open can delay the return. ``on_line`` gets complete
    lines of both streams while they come.

    Cancelling ends the whole tree (SIGTERM, grace, SIGKILL), and is over when the tree is gone.

    Raises :class:`ProgramMissing`, :class:`IntegrationUnavailable` when the machine lacks the resources to start it,
    :class:`TaskError` when ``cwd`` is no directory that can be entered, and :class:`WorkerStalled` when the event loop was
    blocked for ``limits.silence``: the tree was gone before it went on.
    """
    words = [*argv, str(cwd), *env, *env.values()]
    if any("\0" in word for word in words):
        raise ValueError("a NUL character cannot be part of a command, its directory or its environment")
    program = _find(argv[0], cwd, env)
    mark = secrets.token_hex(16)
    stdout, stderr = (_Stream(limits.output_bytes, mask, on_line) for _ in range(2))
    supervision = Supervision(
        {
            "program": program,
            "argv": list(argv),
            "env": {**env, RUN_VARIABLE: mark},
            "cwd": str(cwd),
            "seconds": limits.seconds,
            "grace": limits.kill_grace,
            "silence": limits.silence,
            "limits": _resource_limits(limits),
        },
        mark=f"{RUN_VARIABLE}={mark}",
        stdout=stdout.feed,
        stderr=stderr.feed,
    )
    began = time.monotonic()
    kills_before = out_of_memory_kills()
    answer = await _completed(supervision)
    kills = (out_of_memory_kills() or 0) - (kills_before or 0)
    _check_started(answer, program, cwd)
    for stream in (stdout, stderr):
        stream.finish()
    _check_heard(answer, program, limits)
    return await asyncio.to_thread(
        _outcome, answer, stdout, stderr, kills=kills, duration=time.monotonic() - began, limits=limits
    )


def _find(program: str, cwd: Path, env: Mapping[str, str]) -> str:
    if "/" in program:
        return str(cwd / program)
    path = env.get("PATH", "")
    # shutil.which falls back to the worker's own PATH for an empty one.
    found = shutil.which(program, path=path) if path else None
    if found is None:
        raise ProgramMissing(f"the program {program!r} is not found on PATH ({path or 'which is empty'})")
    return str(cwd / found)


def _resource_limits(limits: ProcessLimits) -> dict[str, int]:
    wanted = {
        "RLIMIT_DATA": limits.memory_bytes,
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NOFILE": limits.open_files,
        # A core dump would be a file of the size of the program's memory, with everything that was in it.
        "RLIMIT_CORE": 0,
    }
    return {name: limit for name, limit in wanted.items() if limit is not None}


async def _completed(supervision: Supervision) -> dict[str, Any]:
    task = asyncio.ensure_future(supervision.run())
    try:
        return await asyncio.shield(task)
    except OSError as error:
        raise IntegrationUnavailable(f"no further process can be started: {os.strerror(error.errno or 0)}") from error
    except asyncio.CancelledError:
        supervision.stop()
        # However often it is cancelled: the tree must be gone first.
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # how the run would have ended matters no more
        raise


def _check_started(answer: Mapping[str, Any], program: str, cwd: Path) -> None:
    if "failed" not in answer:
        return
    number: int = answer["errno"]
    match answer["failed"]:
        case "chdir":
            raise TaskError(f"the working directory {cwd} cannot be entered: {os.strerror(number)}")
        case "exec" if number in _NOT_STARTABLE:
            raise ProgramMissing(f"the program {program} cannot be started: {os.strerror(number)}")
        case step:
            raise IntegrationUnavailable(f"the program {program} could not be started ({step}): {os.strerror(number)}")


def _check_heard(answer: Mapping[str, Any], program: str, limits: ProcessLimits) -> None:
    """Its end by our silence says nothing about the program. One that was ending by its time limit already has its outcome."""
    if answer["worker_silent"] and not answer["timed_out"]:
        raise WorkerStalled(
            f"{Path(program).name} was killed, because this worker had stood still for {limits.silence:g} s (its event loop "
            "was blocked, or the process stopped): another worker could have owned the ticket"
        )


def _outcome(
    answer: Mapping[str, Any],
    stdout: _Stream,
    stderr: _Stream,
    *,
    kills: int,
    duration: float,
    limits: ProcessLimits,
) -> ProcessOutcome:
    code = os.waitstatus_to_exitcode(answer["status"])
    # A shell or npm in between turns the signal of its child into 128 + 9.
    was_killed = code in (-signal.SIGKILL, 128 + signal.SIGKILL) and not answer["timed_out"]
    return ProcessOutcome(
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        stdout=stdout.text(),
        stderr=stderr.text(),
        timed_out=answer["timed_out"],
        out_of_memory=was_killed and kills > 0,
        duration_seconds=duration,
        time_limit=limits.seconds,
        stdout_is_cut=stdout.is_cut,
    )


class _Stream:
    """One stream: kept for the outcome, and shown while it comes where somebody looks."""

    def __init__(self, limit: int, mask: Mask, on_line: Callable[[str], None] | None) -> None:
        self._collector = OutputCollector(limit, mask)
        self._live = LiveLines(limit, mask, on_line) if on_line is not None else None

    def feed(self, data: bytes) -> None:
        self._collector.feed(data)
        if self._live is not None:
            self._live.feed(data)

    def finish(self) -> None:
        if self._live is not None:
            self._live.feed(b"", final=True)

    @property
    def is_cut(self) -> bool:
        return self._collector.is_cut

    def text(self) -> str:
        return self._collector.text()
