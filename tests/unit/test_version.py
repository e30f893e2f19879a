"""The version stands in `worker_agents/__init__.py`; everything else that names it agrees."""

import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.version import Version

from worker_agents import __version__

ROOT = Path(__file__).parents[2]
APP_VERSION = r"^appVersion: *[\"']?([^\"'\s]+)"
NAMED = {
    "pyproject.toml": r'^version = "(.*)"',
    "Dockerfile": r"org\.opencontainers\.image\.version=\"?([\w.+-]+)",
    "compose.yaml": r"worker-agents:(\d[\w.+-]*)",
}
"""Files that may name it, and how. A Dockerfile whose label is an argument names none."""


def test_the_version_is_one_that_python_knows() -> None:
    assert str(Version(__version__)) == __version__


def test_what_is_installed_has_it() -> None:
    assert importlib.metadata.version("worker-agents") == __version__


def test_the_chart_installs_it() -> None:
    chart = ROOT / "helm-charts" / "worker-agents" / "Chart.yaml"
    named = (
        re.findall(APP_VERSION, chart.read_text(encoding="utf-8"), re.MULTILINE) if chart.exists() else [__version__]
    )

    assert named == [__version__]


@pytest.mark.parametrize("name", NAMED)
def test_a_file_that_names_it_names_the_same(name: str) -> None:
    path = ROOT / name
    named = re.findall(NAMED[name], path.read_text(encoding="utf-8"), re.MULTILINE) if path.exists() else []

    assert set(named) <= {__version__}
