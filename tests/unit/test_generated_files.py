"""What `make generate` writes is what lies in the repository."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tools.generate.__main__ import FILES


@pytest.mark.parametrize(("path", "text"), FILES.items(), ids=[path.name for path in FILES])
def test_a_generated_file_is_up_to_date(path: Path, text: Callable[[], str]) -> None:
    assert path.read_text(encoding="utf-8") == text(), "`make generate` writes it anew"
