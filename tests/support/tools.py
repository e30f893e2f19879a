"""External programs that `make tools` and `make cluster` install."""

from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / ".tools" / "bin"


def tool(name: str, installed_by: str = "make tools") -> Path:
    """The path of an installed program; skips the test that asks where there is none."""
    path = TOOLS / name
    if not path.exists():
        pytest.skip(f"{name} is not installed: `{installed_by}` does it")
    return path
