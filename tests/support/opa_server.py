"""A real OPA, started for a test module."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.programs import serving
from tests.support.tools import tool
from worker_agents.devkit.ports import free_ports


@contextmanager
def running_opa(directory: Path, policies: dict[str, str], options: Sequence[str] = (), port: int = 0) -> Iterator[str]:
    """Run `opa run --server` with ``policies`` (file name to Rego); the address, once it answers."""
    program = tool("opa")
    directory.mkdir(parents=True, exist_ok=True)
    for name, rego in policies.items():
        (directory / name).write_text(rego)
    address = f"127.0.0.1:{port or free_ports(1)[0]}"
    command = [str(program), "run", "--server", "--addr", address, "--disable-telemetry", *options, *policies]
    with serving(command, f"http://{address}/health", directory):
        yield f"http://{address}"
