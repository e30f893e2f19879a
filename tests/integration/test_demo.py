"""The demo as a process, as `make demo` runs it."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from worker_agents.devkit.demo.cast import cast

pytest.importorskip("jgo", reason="the embedded broker needs the extra `embedded`")

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


async def started(*arguments: str) -> asyncio.subprocess.Process:
    """With settings that must not reach the demo's worker."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker_agents.cli", "demo", *arguments),
        env={**os.environ, "KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "FALLBACK_MODE": "fail", "HTTP_PORT": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


def children_of(pid: int) -> list[int]:
    """Processes whose parent it is; Linux tells."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_every_ticket_becomes_what_it_should_be() -> None:
    process = await started()
    out, _ = await process.communicate()
    text = out.decode()

    assert process.returncode == 0, text
    table = text.partition("What became of each")[2].partition("Where to look next")[0]
    for part in cast():
        (line,) = [line for line in table.splitlines() if line.startswith(f" {part.name}  ")]
        assert line.rstrip().endswith("yes"), line
    assert "demo-malformed lies at" in text
    assert "simulated=true" in text
    assert 'worker_agents_duplicates_total{kind="' in text
    assert f"all {len(cast())} tickets became what they should be" in text
    assert "Traceback" not in text


async def read_until(process: asyncio.subprocess.Process, text: str) -> str:
    assert process.stdout is not None
    read = ""
    async with asyncio.timeout(120):
        while text not in read:
            line = (await process.stdout.readline()).decode()
            assert line, read
            read += line
    return read


async def test_it_stays_up_until_ctrl_c_and_leaves_nothing() -> None:
    process = await started("--keep")
    shown = await read_until(process, "tail -f")
    children = children_of(process.pid)
    assert "export KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:" in shown

    process.send_signal(signal.SIGINT)
    out, _ = await process.communicate()

    assert process.returncode == 0, out.decode()
    assert not any(is_alive(child) for child in children)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_in_the_middle_it_leaves_nothing(number: signal.Signals) -> None:
    process = await started()
    await read_until(process, "starting a worker")
    children = children_of(process.pid)

    process.send_signal(number)
    out, _ = await process.communicate()

    assert process.returncode == 130, out.decode()
    assert "everything was stopped" in out.decode()
    assert not any(is_alive(child) for child in children)
