"""A server run as a child process that never outlives its parent and whose output goes to a file."""

import asyncio
import atexit
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Runs before the program in the child itself: a `preexec_fn` is not safe in a parent with threads. PR_SET_PDEATHSIG (1)
# is Linux's; a parent that died before the call is noticed by its pid.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
    if os.getppid() != int(sys.argv[1]):
        sys.exit("parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class ChildProcess:
    """One program in a process group of its own, killed when this process ends in whatever way.

    Linux ties the child to the *thread* that starts it, so call `start()` in a thread that lives as long as the program
    should - the main thread, not a worker of a thread pool.
    """

    def __init__(self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        """`log` is appended to with everything the program writes; `env` is added to this process's environment."""
        self._command = list(command)
        self._log = log
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the program, or `None` when it was not started or has been stopped."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether the program was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit status if the program has ended by itself, otherwise `None`."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start the program; it is running, not yet ready, when this returns."""
        launcher = [sys.executable, "-S", "-E", "-c", _DIE_WITH_PARENT, str(os.getpid())]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*launcher, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )
        atexit.register(self.kill)

    async def finish(self, seconds: float) -> int:
        """Wait for the program to end by itself and return its exit status.

        Raises:
            TimeoutError: it did not end within `seconds`; it goes on running.
        """
        process = self._process
        if process is None:
            raise RuntimeError("the program was not started")
        try:
            return await asyncio.to_thread(process.wait, seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{self._command[0]} still runs after {seconds:g} s") from error

    async def stop(self, seconds: float) -> None:
        """Ask the program to end (SIGTERM), wait up to `seconds`, then kill what is left of it."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            if self._process is not None:
                await self.finish(seconds)
        self.kill()

    def kill(self) -> None:
        """End the program and its whole process group at once (SIGKILL); nothing happens when it is not running."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None
        atexit.unregister(self.kill)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program's process group, for instance SIGSTOP and SIGCONT."""
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
