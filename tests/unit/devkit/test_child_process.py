"""A child process ends with its parent, however the parent ends."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from worker_agents.devkit.child_process import ChildProcess

PARENT = """
import sys
from pathlib import Path
from worker_agents.devkit.child_process import ChildProcess
child = ChildProcess([sys.executable, "-c", "import signal; signal.pause()"], log=Path(sys.argv[1]))
child.start()
print(child.pid, flush=True)
sys.stdin.read()
"""

CHILD = """
import signal, sys
signal.signal(signal.SIGTERM, {on_terminate})
open({ready!r}, "w").close()
while True:
    signal.pause()
"""


def child_that(on_terminate: str, folder: Path) -> ChildProcess:
    """A child that opens the named pipe `ready` once its signal handler is in place."""
    os.mkfifo(folder / "ready")
    code = CHILD.format(on_terminate=on_terminate, ready=str(folder / "ready"))
    return ChildProcess([sys.executable, "-c", code], log=folder / "log")


async def until_ready(folder: Path) -> None:
    await asyncio.to_thread((folder / "ready").read_bytes)


async def test_stop_lets_the_program_end_in_good_order(tmp_path: Path) -> None:
    child = child_that("lambda *_: sys.exit(print('bye'))", tmp_path)
    child.start()
    await until_ready(tmp_path)

    await child.stop(30)

    assert child.pid is None
    assert (tmp_path / "log").read_text() == "bye\n"


async def test_stop_kills_a_program_that_does_not_listen(tmp_path: Path) -> None:
    child = child_that("signal.SIG_IGN", tmp_path)
    child.start()
    await until_ready(tmp_path)
    pid = child.pid
    assert pid is not None

    await child.stop(0.05)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_program_that_ends_by_itself_tells_its_exit_code(tmp_path: Path) -> None:
    child = ChildProcess([sys.executable, "-c", "raise SystemExit(7)"], log=tmp_path / "log")
    child.start()
    assert await child.finish(30) == 7
    assert child.exit_code == 7
    child.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a child to the life of its parent")
@pytest.mark.parametrize("end", ["is killed", "exits"])
async def test_no_child_outlives_its_parent(end: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        if end == "is killed":
            parent.send_signal(signal.SIGKILL)
        parent.stdin.close()
        await until_ended(child)


async def until_ended(process: int) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(process, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 30)
    finally:
        loop.remove_reader(process)
        os.close(process)
