"""Processes that run beside a measurement and say things."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[1]
LONGEST_SILENCE_SECONDS = 180.0


class TalkingProcess:
    """Says things a line at a time; it is gone when the block is left."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        """The next line; raises ``RuntimeError`` when it ended without one."""
        assert self._process.stdout is not None
        async with asyncio.timeout(LONGEST_SILENCE_SECONDS):
            line = (await self._process.stdout.readline()).decode().strip()
        if not line:
            raise RuntimeError("a process of the benchmark ended before it was done; what it said is above")
        return line

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    @property
    def resident_bytes(self) -> int:
        """Its memory that is in RAM now (Linux)."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()


async def talking_process(module: str, *arguments: str, **env: str) -> TalkingProcess:
    """Run ``module``, with ``env`` added to this process's environment."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, **env}
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE)
    return TalkingProcess(process)
