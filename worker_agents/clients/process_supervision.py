"""The worker's side of a supervised program: starts the supervisor, reads the streams, ends what must end."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from worker_agents.clients import process_supervisor

Feed = Callable[[bytes], None]

_SCRIPT: Final = Path(process_supervisor.__file__)
# What a healthy supervisor never needs: past it, it was stopped, or the kernel does not let go of a process.
_SLACK_SECONDS: Final = 10.0
_ROUND_SECONDS: Final = 0.02
# A late beat costs a program its life: several may be late, and a worker that was stopped for nearly the silence has time left.
_BEATS_A_SILENCE: Final = 8
_LONGEST_BEAT_SECONDS: Final = 1.0
_KILLED_FROM_OUTSIDE: Final = {"status": int(signal.SIGKILL), "timed_out": False, "worker_silent": False}


class Supervision:
    """One supervisor with its program. Made and used on one event loop.

    ``request`` is what ``process_supervisor.Supervisor`` documents; ``mark`` is an assignment in the program's environment
    that no other process has. ``stdout`` and ``stderr`` are fed on the event loop.
    """

    def __init__(self, request: Mapping[str, Any], *, mark: str, stdout: Feed, stderr: Feed) -> None:
        self._request = request
        self._mark = mark
        self._channel = _Channel(json.dumps(request).encode() + b"\n", request["silence"])
        self._streams = (_Stream(stdout), _Stream(stderr))
        self._process: subprocess.Popen[bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_overdue = False

    async def run(self) -> dict[str, Any]:
        """The supervisor's answer, once the program's tree is gone and its output was read.

        Never cancel it, use :meth:`stop`. Raises :class:`OSError` when not even the supervisor can be started.
        """
        process, ours = self._spawn()
        self._process = process
        transports = await self._connect(*ours)
        try:
            self._give_up_after(self._request["seconds"] + self._request["grace"])
            await self._channel.ended
            await asyncio.to_thread(process.wait)
            answer = await self._answer(process.returncode)
            # Nobody is left who could write, unless a descriptor was handed to a process of somebody else.
            await asyncio.wait([stream.ended for stream in self._streams], timeout=_SLACK_SECONDS)
            return answer
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for transport in transports:
                transport.close()
            await asyncio.wait([self._channel.ended, *(stream.ended for stream in self._streams)])

    def stop(self) -> None:
        """End the tree: SIGTERM, grace, SIGKILL. :meth:`run` then returns."""
        self._channel.send(b"stop\n")
        self._give_up_after(self._request["grace"])

    def _spawn(self) -> tuple[subprocess.Popen[bytes], tuple[socket.socket, io.FileIO, io.FileIO]]:
        with contextlib.ExitStack() as on_failure, contextlib.ExitStack() as theirs:
            channel, their_channel = socket.socketpair()
            on_failure.enter_context(channel)
            theirs.enter_context(their_channel)
            (stdout, their_stdout), (stderr, their_stderr) = (_pipe(on_failure, theirs) for _ in self._streams)
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SCRIPT)],
                stdin=their_channel.fileno(),
                stdout=their_stdout.fileno(),
                stderr=their_stderr.fileno(),
                env={},
                cwd="/",
                start_new_session=True,
            )
            on_failure.pop_all()
        return process, (channel, stdout, stderr)

    async def _connect(
        self, channel: socket.socket, stdout: io.FileIO, stderr: io.FileIO
    ) -> tuple[asyncio.BaseTransport, ...]:
        loop = asyncio.get_running_loop()
        for_stdout, for_stderr = self._streams
        out, _ = await loop.connect_read_pipe(lambda: for_stdout, stdout)
        err, _ = await loop.connect_read_pipe(lambda: for_stderr, stderr)
        talk, _ = await loop.create_unix_connection(lambda: self._channel, sock=channel)
        return out, err, talk

    async def _answer(self, supervisor_code: int) -> dict[str, Any]:
        """The supervisor's own words, or what its death means: then it cannot have ended the whole tree."""
        if self._channel.inbox.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(self._channel.inbox)
            if "fault" not in answer:
                return answer
            raise RuntimeError(f"the supervisor of a program failed: {answer['fault']}")
        await asyncio.to_thread(_kill_marked, self._mark)
        if supervisor_code >= 0:
            raise RuntimeError(f"the supervisor of a program ended with exit code {supervisor_code}")
        return _KILLED_FROM_OUTSIDE | {"timed_out": self._is_overdue}

    def _give_up_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds + _SLACK_SECONDS, self._give_up)

    def _give_up(self) -> None:
        """The supervisor does not do its work: it is killed, and what its death leaves is looked for by its mark."""
        self._is_overdue = True
        if self._process is not None:
            self._process.kill()


def _pipe(on_failure: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[io.FileIO, io.FileIO]:
    read_end, write_end = os.pipe()
    reader = on_failure.enter_context(io.FileIO(read_end, "r"))
    return reader, theirs.enter_context(io.FileIO(write_end, "w"))


class _Ending(asyncio.Protocol):
    """``ended`` is done when the other side closed, or we did."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self.ended.set_result(None)


class _Stream(_Ending):
    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed

    def data_received(self, data: bytes) -> None:
        self._feed(data)


class _Channel(_Ending):
    """Sends the request as soon as it is connected, then beats and whatever it is given, and closes upon the answer.

    The supervisor ends the tree when no beat came for ``silence`` seconds (``None``: it expects none). A beat says only
    that the event loop runs. It is sent whatever the lease of the ticket's partition: a loop that runs watches the lease
    itself, and cancels the program when it is over.
    """

    def __init__(self, request: bytes, silence: float | None) -> None:
        super().__init__()
        self.inbox = b""
        self._outbox = request
        self._silence = silence
        self._beaten_at = 0.0
        self._next_beat: asyncio.TimerHandle | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not `isinstance`: uvloop's transports are related to no class of asyncio.
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.write(self._outbox)
        self._beaten_at = time.monotonic()
        self._beat()

    def data_received(self, data: bytes) -> None:
        self.inbox += data
        if self.inbox.endswith(b"\n") and self._transport is not None:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._next_beat is not None:
            self._next_beat.cancel()
        super().connection_lost(error)

    def send(self, data: bytes) -> None:
        if self._transport is None:
            self._outbox += data
        else:
            self._transport.write(data)

    def _beat(self) -> None:
        """Beat, and again a little later, unless the silence has been too long: whoever wakes first, the tree must end."""
        if self._silence is None or (now := time.monotonic()) - self._beaten_at >= self._silence:
            return
        self._beaten_at = now
        self.send(b"\n")
        delay = min(self._silence / _BEATS_A_SILENCE, _LONGEST_BEAT_SECONDS)
        self._next_beat = asyncio.get_running_loop().call_later(delay, self._beat)


def _kill_marked(mark: str) -> None:
    """Kill every process that has ``mark`` in its environment, until there is none. Blocks."""
    deadline = time.monotonic() + _SLACK_SECONDS
    while (pids := _marked(mark.encode())) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_ROUND_SECONDS)


def _marked(mark: bytes) -> list[int]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (directory / "environ").read_bytes().split(b"\0"):
                found.append(int(directory.name))
    return found
