"""The demo as a process, as `make demo` runs it."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.support.tools import tool
from worker_agents.cli.samples import SAMPLES
from worker_agents.devkit.demo.cast import cast
from worker_agents.devkit.demo.programs import OPA, TRIVY

pytest.importorskip("jgo", reason="the embedded broker needs the extra `embedded`")

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


COMMAND = (sys.executable, "-m", "worker_agents.cli")
WITHOUT_PROGRAMS = """
import sys
from worker_agents.devkit.demo import Programs, run_demo
sys.exit(run_demo(keep=False, programs=Programs()))
"""


async def started(*command: str, **environment: str) -> asyncio.subprocess.Process:
    """With settings that must not reach the demo's worker."""
    settings = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "FALLBACK_MODE": "fail", "HTTP_PORT": "1"}
    return await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **settings, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


def descendants_of(pid: int) -> list[int]:
    """Processes that it started, and those that they started, as Linux tells."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    children = [int(child) for child in path.read_text().split()] if path.exists() else []
    return [each for child in children for each in (child, *descendants_of(child))]


def watched(pid: int) -> list[int]:
    """Handles of all processes that it and its children started, by which their end is seen."""
    if not hasattr(os, "pidfd_open"):
        pytest.skip("whether other processes have ended is seen on Linux only")
    handles = []
    for each in descendants_of(pid):
        with contextlib.suppress(ProcessLookupError):
            handles.append(os.pidfd_open(each))
    return handles


async def all_ended(handles: list[int]) -> None:
    """Returns when all of them have ended, reaped or not: who they are left to may be slow at that."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        for handle in handles:
            ended = asyncio.Event()
            loop.add_reader(handle, ended.set)
            await ended.wait()
            loop.remove_reader(handle)
            os.close(handle)


async def played(process: asyncio.subprocess.Process) -> str:
    """The whole output of a demo in which everything became what it should be."""
    out, _ = await process.communicate()
    text = out.decode()
    assert process.returncode == 0, text
    table = text.partition("What became of each")[2].partition("Where to look next")[0]
    for part in cast():
        (line,) = [line for line in table.splitlines() if line.startswith(f" {part.name}  ")]
        assert line.rstrip().endswith("yes"), line
    assert "Traceback" not in text
    return text


async def test_every_ticket_becomes_what_it_should_be() -> None:
    for program in (OPA, TRIVY):
        tool(program)

    text = await played(await started(*COMMAND, "demo"))

    assert "real programs: opa, trivy, pytest\n" in text
    assert "demo-build: built image shop" in text
    assert "demo-denied: HIGH approved, shop: nobody has approved this release" in text
    assert "demo-leaky: CRITICAL github-pat, settings.py:1" in text
    assert "demo-red: test_prices.py::test_discount_lowers_the_price" in text
    assert "demo-deploy: shop is Synced and healthy" in text
    assert "demo-malformed lies at" in text
    assert "simulated=true" in text
    assert 'worker_agents_duplicates_total{kind="' in text
    assert f"all {len(cast())} tickets became what they should be" in text


async def test_without_the_programs_it_says_so_and_simulates(tmp_path: Path) -> None:
    # The worker itself needs one program.
    (tmp_path / "rm").symlink_to(shutil.which("rm") or "/bin/rm")

    text = await played(await started(sys.executable, "-c", WITHOUT_PROGRAMS, PATH=str(tmp_path)))

    assert "not found: opa (`make tools` installs it), trivy (`make tools` installs it), pytest" in text
    assert "demo-allowed: simulated=true, opa: " in text
    assert "demo-leaky: simulated=true, trivy: the program trivy is not installed" in text
    assert "demo-tested: simulated=true, test: the program 'pytest' is not found on TEST_COMMAND_PATH" in text
    assert "demo-deploy: shop is Synced and healthy" in text


async def read_until(process: asyncio.subprocess.Process, text: str) -> str:
    assert process.stdout is not None
    read = ""
    async with asyncio.timeout(120):
        while text not in read:
            line = (await process.stdout.readline()).decode()
            assert line, read
            read += line
    return read


async def submitted(sample: str, shown: str) -> tuple[int | None, str]:
    """A sample, submitted as the demo says; the exit code and what came of it."""
    exports = dict(line.split()[1].split("=") for line in shown.splitlines() if line.strip().startswith("export "))
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "submit", "--sample", sample, "--wait", "--timeout", "90"),
        env={**os.environ, **exports},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_it_stays_up_for_samples_until_ctrl_c_and_leaves_nothing() -> None:
    process = await started(*COMMAND, "demo", "--keep")
    shown = await read_until(process, "tail -f")
    handles = watched(process.pid)
    assert handles
    assert "export KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:" in shown
    assert all(f"submit --sample {name} --wait\n" in shown for name in SAMPLES)

    for code, out in await asyncio.gather(*(submitted(name, shown) for name in SAMPLES)):
        assert code == 0, out
        assert '"status": "COMPLETED"' in out

    process.send_signal(signal.SIGINT)
    rest, _ = await process.communicate()
    assert process.returncode == 0, rest.decode()
    await all_ended(handles)


@pytest.mark.parametrize(
    ("number", "moment"), [(signal.SIGINT, "starting a worker"), (signal.SIGTERM, "demo-tested           running")]
)
async def test_interrupted_in_the_middle_it_leaves_nothing(number: signal.Signals, moment: str) -> None:
    process = await started(*COMMAND, "demo")
    await read_until(process, moment)
    handles = watched(process.pid)
    assert handles

    process.send_signal(number)
    out, _ = await process.communicate()

    assert process.returncode == 130, out.decode()
    assert "everything was stopped" in out.decode()
    await all_ended(handles)
