"""A real registry of OCI artifacts that a Trivy database can be pushed to and mirrored in."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.programs import serving
from tests.support.tools import tool
from worker_agents.devkit.ports import free_ports


@contextmanager
def artifact_registry(folder: Path) -> Iterator[str]:
    """Its address, ``host:port``."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(tool("crane")), "registry", "serve", "--address", address]
    with serving(command, f"http://{address}/v2/", folder):
        yield address


def crane(*arguments: str) -> None:
    # No login and no proxy of whoever runs the tests.
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    command = [str(tool("crane")), *arguments]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
