"""Code under test runs as the worker's user; it must not find the worker's secrets in /proc."""

import os
import subprocess
import sys

import pytest

WORKER = """
import ctypes, os, subprocess
from worker_agents.clients.process_privacy import forbid_inspection

def spy(name):
    ended = subprocess.run(["/bin/cat", f"/proc/{os.getpid()}/{name}"], capture_output=True, text=True)
    return "SECRET=hunter2" in ended.stdout if ended.returncode == 0 else ended.stderr.rsplit(": ", 1)[1].strip()

if os.getuid() == 0:
    # Root may read everything, so: somebody else, and open to inspection as an ordinary process is after its start.
    os.setgroups([]); os.setgid(54321); os.setuid(54321)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
print(spy("environ"))
forbid_inspection()
print(spy("environ"))
print(spy("mem"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_the_environment_and_memory_of_the_worker_are_closed_to_what_it_runs() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", WORKER],
        env={**os.environ, "SECRET": "hunter2"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert shown.stdout.splitlines() == ["True", "Permission denied", "Permission denied"], shown.stderr
