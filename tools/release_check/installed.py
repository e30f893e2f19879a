"""The wheel in an environment of its own, with what it needs to run and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# A licence that allows use without opening the own source. Others are to be looked at, and added here.
_PERMISSIVE = re.compile(r"\b(MIT|BSD|Apache|ISC|PSF|MPL|Mozilla Public License|Python Software Foundation)\b")

_IMPORT_EVERYTHING = """
import importlib, pkgutil, worker_agents
for module in pkgutil.walk_packages(worker_agents.__path__, "worker_agents."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
_LICENCES = """
from importlib.metadata import distributions
for each in distributions():
    kinds = [kind for kind in each.metadata.get_all("Classifier", []) if kind.startswith("License ::")]
    told = [each.metadata.get("License-Expression"), (each.metadata.get("License") or "")[:100], *kinds]
    print(each.name, " ".join(" ".join(filter(None, told)).split()), sep="\\t")
"""


@dataclass(frozen=True)
class Expected:
    """A command that ends with ``code`` and says ``words``."""

    arguments: tuple[str, ...]
    words: str
    code: int = 0


def expected_of(version: str) -> tuple[Expected, ...]:
    return (
        Expected(("--version",), f"worker-agents {version}"),
        Expected(("config",), "KAFKA_BOOTSTRAP_SERVERS"),
        Expected(("executors", "list"), "DEPLOY"),
        Expected(("executors", "schema", "BUILD"), "artifact_id"),
        Expected(("samples",), "validate-policy"),
    )


WITHOUT_EXTRA = Expected(("demo",), "worker-agents[embedded]", 1)
"""The demo's broker comes with an extra."""


def install(wheel: Path, lock: Path, folder: Path) -> Path:
    """Make an environment of ``lock`` and ``wheel``; returns its folder of programs. Raises ``CalledProcessError``."""
    _run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
    _run(*pip, "install", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", lock)
    _run(*pip, "install", "--no-deps", "--no-index", wheel)
    _run(*pip, "check")
    return folder / "bin"


def command_problems(programs: Path, commands: Sequence[Expected], folder: Path) -> Iterator[str]:
    """What each command does in an empty environment."""
    for expected in commands:
        line = " ".join(("worker-agents", *expected.arguments))
        ended = _ended(folder, programs / "worker-agents", *expected.arguments)
        said = ended.stdout + ended.stderr
        if ended.returncode != expected.code:
            yield f"{line} ended with {ended.returncode}, not {expected.code}: {said.strip()[-500:]}"
        elif "Traceback" in said:
            yield f"{line} broke: {said.strip()[-500:]}"
        elif expected.words not in said:
            yield f"{line} does not say {expected.words!r}: {said.strip()[:200]}"


def import_problems(programs: Path, folder: Path) -> Iterator[str]:
    """Every module can be imported with nothing but what the wheel asks for."""
    ended = _ended(folder, programs / "python", "-c", _IMPORT_EVERYTHING)
    if ended.returncode:
        yield f"a module cannot be imported: {ended.stderr.strip().splitlines()[-1]}"


def licence_problems(programs: Path, folder: Path) -> Iterator[str]:
    for line in _ended(folder, programs / "python", "-c", _LICENCES).stdout.splitlines():
        name, _, licence = line.partition("\t")
        if not _PERMISSIVE.search(licence):
            yield f"the licence of {name} is {licence or 'not told'}: is it one that users of this project can accept?"


def _ended(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
