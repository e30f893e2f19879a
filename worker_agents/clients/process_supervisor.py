"""Runs one program and keeps its whole process tree together. A script: ``python -I -S process_supervisor.py``.

It stands between the worker and the program, and lives as long as the program does, because only a process with nothing
else to look after can hold a tree together:

- it is the tree's *subreaper* (``PR_SET_CHILD_SUBREAPER``): a descendant that leaves by ``setsid`` or a double fork,
  whatever it does to its environment, becomes a child of the supervisor instead of getting away. When the supervisor
  has no child left, nothing is left. In the worker itself the same call would mix up the orphans of all its runs and
  take their exit statuses away from asyncio;
- it ends the tree when its channel to the worker closes, so also when the worker was killed. ``PR_SET_PDEATHSIG`` alone
  is tied to the *thread* that forked and reaches direct children only; here it ties the program to the supervisor;
- it ends the tree when the worker is silent: while the worker's event loop is blocked nothing in it can stop a program
  whose lease is over, and another worker may begin the same ticket;
- limits, ``prctl`` and ``setsid`` are set after a fork of this process, which has one thread: a ``preexec_fn`` in the
  worker, which has many, may deadlock.

It costs a start of Python without ``site`` (30 ms) and 11 MB, 5 of them its own, while the program runs. It must not
import anything of the package.

The channel is a socket at descriptor 0. The worker sends one line of JSON, the request (see ``Supervisor``), then an empty
line now and then, its beat, until it wants the tree to end: ``stop`` asks for SIGTERM, grace, SIGKILL; the end of file,
and silence, for SIGKILL at once. The supervisor answers with one line of JSON: ``{"failed": step, "errno": n}`` when the
program could not be started, ``{"status": wait status, "timed_out": bool, "worker_silent": bool}`` once the whole tree is
gone, ``{"fault": text}`` for a fault of its own. It ends when the worker then closes the channel. Its descriptors 1 and 2
become the program's.

Silence is counted on the monotonic clock, which goes on while a process is stopped (SIGSTOP, a frozen cgroup). Beats that
wait in the channel are read before the clock is looked at, so a supervisor that was stopped alone accuses nobody. A worker
that was stopped, alone or with the supervisor, has what is left of its silence to beat again, and no more: its lease has
run out by the same clock, so after that it does not beat even where it wakes before the supervisor.

What it cannot hold: a program of the same user may kill the supervisor. The program then dies too, and
``process_supervision.py`` looks for the rest.
"""

# ruff: noqa: PTH123, PTH208 - pathlib would take a quarter of the start

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False  # as in `typing`, whose import would take a fifth of the start
if TYPE_CHECKING:
    from typing import Any, NoReturn

_CHANNEL = 0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_IS_LINUX = sys.platform == "linux"

_IGNORED = (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# Dead processes are collected between two rounds of killing; new ones may have been forked meanwhile.
_ROUND_SECONDS = 0.02
# The kernel counts in 32 bits of milliseconds.
_LONGEST_POLL = 3600
_BEAT = b"\n"


def main() -> None:
    request = _read_request()
    if request is None:
        return
    try:
        _answer(Supervisor(request).run())
    except Exception as error:
        _answer({"fault": f"{type(error).__name__}: {error}"})
        raise


def _read_request() -> dict[str, Any] | None:
    data = bytearray()
    while b"\n" not in data:
        chunk = os.read(_CHANNEL, 65_536)
        if not chunk:
            return None
        data += chunk
    line, _, more = data.partition(b"\n")
    request: dict[str, Any] = json.loads(line)
    # Stopped before it began: no second is left, so that it still ends in the ordinary way.
    return request | {"seconds": 0, "grace": 0} if more.strip(_BEAT) else request


def _answer(answer: dict[str, Any]) -> None:
    # The worker may be gone; then nobody needs to know.
    with contextlib.suppress(OSError):
        os.write(_CHANNEL, json.dumps(answer).encode() + b"\n")
        # To write a beat into a closed channel is an error over there, and takes the unread answer with it.
        while os.read(_CHANNEL, 4096):
            pass


class Supervisor:
    """One program from its start until its tree is gone.

    ``request``: ``program`` (a path), ``argv``, ``env``, ``cwd``, ``seconds`` and ``grace``, ``silence`` (seconds, or
    ``None``: the worker does not beat), and ``limits`` by their names in ``resource``. The limit of processes counts from
    what the user already has.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self._request = request
        self._main = 0
        self._status: int | None = None
        self._timed_out = False
        self._silence: float = float("inf") if request["silence"] is None else request["silence"]
        self._heard_at = time.monotonic()
        self._worker_silent = False
        self._wake = -1
        self._poll = select.poll()

    def run(self) -> dict[str, Any]:
        _become_subreaper()
        self._listen()
        try:
            failure = self._start()
            if failure is not None:
                return failure
            if self._watch():
                self._terminate()
        finally:
            self._kill()
        return {"status": self._status, "timed_out": self._timed_out, "worker_silent": self._worker_silent}

    def _listen(self) -> None:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        self._wake, write_end = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(_CHANNEL, select.POLLIN)

    def _start(self) -> dict[str, Any] | None:
        read_end, write_end = os.pipe()
        processes = _tasks_of_user() if "RLIMIT_NPROC" in self._request["limits"] else 0
        parent = os.getpid()
        try:
            self._main = os.fork()
        except OSError as error:
            return {"failed": "fork", "errno": error.errno}
        if self._main == 0:
            _become_program(self._request, parent, processes, write_end)
        os.close(write_end)
        # The streams belong to the tree alone, so that they end when it does.
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(null, stream)
        with os.fdopen(read_end) as pipe:
            failure = pipe.read()
        if not failure:
            return None
        os.waitpid(self._main, 0)
        step, number = failure.split()
        return {"failed": step, "errno": int(number)}

    def _watch(self) -> bool:
        """Until the program ends or the worker is gone or silent (False), or the program is to end with grace (True)."""
        deadline = time.monotonic() + self._request["seconds"]
        while self._reap() and self._status is None:
            wish = self._wait(deadline - time.monotonic())
            if wish is not None:
                return wish
            if time.monotonic() >= deadline:
                self._timed_out = True
                return True
        return False

    def _terminate(self) -> None:
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + self._request["grace"]
        while self._reap() and time.monotonic() < deadline:
            if self._wait(deadline - time.monotonic()) is False:
                return

    def _kill(self) -> None:
        while self._reap():
            self._signal_all(signal.SIGKILL)
            self._wait_for_signal(_ROUND_SECONDS)

    def _wait(self, seconds: float) -> bool | None:
        """Until something happens: ``None``, or the wish that the tree be ended, with (True) or without grace."""
        longest = min(seconds, self._silence_left(), _LONGEST_POLL)
        for descriptor, _ in self._poll.poll(max(longest, 0) * 1000):
            if descriptor == _CHANNEL:
                wish = self._hear()
                if wish is not None:
                    return wish
            elif signal.SIGTERM in os.read(self._wake, 1024):
                return True
        if self._silence_left() > 0:
            return None
        self._worker_silent = True
        return False

    def _hear(self) -> bool | None:
        """What the worker says, as :meth:`_wait` gives it; a beat is no wish."""
        said = os.read(_CHANNEL, 4096)
        if not said:
            self._poll.unregister(_CHANNEL)
            return False
        self._heard_at = time.monotonic()
        return True if said.strip(_BEAT) else None

    def _silence_left(self) -> float:
        return self._heard_at + self._silence - time.monotonic()

    def _wait_for_signal(self, seconds: float) -> None:
        if select.select([self._wake], [], [], seconds)[0]:
            os.read(self._wake, 1024)

    def _reap(self) -> bool:
        """Collect who has died; False when nobody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._main:
                self._status = status

    def _signal_all(self, number: signal.Signals) -> None:
        # By groups: the kernel signals a group in one go, so that no fork in it slips through. A descendant's group
        # has descendants only, since none of them can join a session of others.
        for group in {process.group for process in descendants(os.getpid())} | self._main_group():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)

    def _main_group(self) -> set[int]:
        """Known without /proc; once the program was collected its number may become somebody else's."""
        return {self._main} if self._status is None else set()


class Process:
    """One line of the process table."""

    __slots__ = ("group", "parent", "pid")

    def __init__(self, stat: str) -> None:
        # The name in parentheses may itself hold spaces and parentheses.
        head, _, tail = stat.rpartition(")")
        fields = tail.split()
        self.pid = int(head.split(" ", 1)[0])
        self.parent = int(fields[1])
        self.group = int(fields[2])


def descendants(root: int) -> list[Process]:
    """Processes below ``root`` as the process table shows them at this moment; none where there is no /proc."""
    children: dict[int, list[Process]] = {}
    for stat in _read_all("stat"):
        process = Process(stat)
        children.setdefault(process.parent, []).append(process)
    found = list(children.get(root, ()))
    for process in found:
        found.extend(children.get(process.pid, ()))
    return found


def _tasks_of_user() -> int:
    """Processes and threads that the kernel counts against this user's limit."""
    user = str(os.getuid())
    fields = ({line.split(":")[0]: line.split()[1:] for line in text.splitlines()} for text in _read_all("status"))
    return sum(int(each["Threads"][0]) for each in fields if each["Uid"][0] == user)


def _read_all(name: str) -> list[str]:
    texts = []
    for pid in filter(str.isdigit, os.listdir("/proc") if _IS_LINUX else ()):
        # Processes end while the table is read.
        with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", errors="replace") as file:
            texts.append(file.read())
    return [text for text in texts if text]


def _become_subreaper() -> None:
    if _IS_LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _become_program(request: dict[str, Any], parent: int, processes: int, failures: int) -> NoReturn:
    step = "start"
    try:
        os.setsid()
        _tie_to(parent)
        _set_limits(request["limits"], processes)
        _reset_signals()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        step = "chdir"
        os.chdir(_bytes(request["cwd"]))
        step = "exec"
        env = {_bytes(name): _bytes(value) for name, value in request["env"].items()}
        os.execve(_bytes(request["program"]), [_bytes(word) for word in request["argv"]], env)  # noqa: S606 - that is the point
    except OSError as error:
        os.write(failures, f"{step} {error.errno}".encode())
    finally:
        os._exit(127)


def _tie_to(parent: int) -> None:
    """Die with the supervisor, gain no rights by set-user-id programs, and be the first that runs out of memory."""
    if not _IS_LINUX:
        return
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(127)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _set_limits(limits: dict[str, int], processes: int) -> None:
    for name, wanted in limits.items():
        kind: int = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        limit = wanted + (processes if name == "RLIMIT_NPROC" else 0)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(kind, (limit, limit))


def _reset_signals() -> None:
    """What is ignored stays ignored in the program: by Python, and by whatever the worker was started from."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


if __name__ == "__main__":
    main()
