"""Each value set is rendered once a session."""

from functools import cache
from pathlib import Path

import pytest

from tests.support.chart import Manifest, cases, render


@cache
def _rendered(case: Path) -> list[Manifest]:
    return render(case)


@pytest.fixture(params=cases(), ids=[case.stem for case in cases()])
def case(request: pytest.FixtureRequest) -> Path:
    """Each value set of tests/chart/cases in turn."""
    path: Path = request.param
    return path


@pytest.fixture
def manifests(case: Path) -> list[Manifest]:
    """What becomes of ``case``."""
    return _rendered(case)
