"""A real OPA, started for a test module."""

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.tools import tool
from worker_agents.devkit.ports import free_ports


@contextmanager
def running_opa(directory: Path, policies: dict[str, str], options: Sequence[str] = (), port: int = 0) -> Iterator[str]:
    """Run `opa run --server` with ``policies`` (file name to Rego); the address, once it answers."""
    program = tool("opa")
    directory.mkdir(parents=True, exist_ok=True)
    for name, rego in policies.items():
        (directory / name).write_text(rego)
    port = port or free_ports(1)[0]
    command = [str(program), "run", "--server", "--addr", f"127.0.0.1:{port}", "--disable-telemetry", *options]
    with (directory / "opa.log").open("wb") as log:
        process = subprocess.Popen([*command, *policies], cwd=directory, stdout=log, stderr=log)
    try:
        _await_answer(process, f"http://127.0.0.1:{port}", directory / "opa.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _await_answer(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"OPA ended: {log.read_text()}")
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
        except urllib.error.HTTPError as refused:  # an authorization policy may hide it: it answers
            refused.close()
        except OSError:
            time.sleep(0.05)
            continue
        return
    raise RuntimeError(f"OPA did not answer: {log.read_text()}")
