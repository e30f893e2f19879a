"""Real programs that serve, started for a test."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(
    command: Sequence[str], health: str, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run ``command`` in ``folder``; it is there when ``health``, an address, answers. ``environment`` is added to ours."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | (environment or {}), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _await(process, health, log)
        yield
    finally:
        process.terminate()
        process.wait()


def _await(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"it ended: {log.read_text()}")
        try:
            urllib.request.urlopen(health, timeout=5).close()
        except urllib.error.HTTPError as refused:  # who refuses is there
            refused.close()
        except OSError:
            time.sleep(0.05)
            continue
        return
    raise RuntimeError(f"it did not answer: {log.read_text()}")
