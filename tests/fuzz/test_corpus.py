"""Every kept input keeps its target's promise: what was found once is not found again."""

from pathlib import Path

import pytest

from tests.fuzz.harness import CORPUS
from tests.fuzz.targets import TARGETS

KEPT = [
    pytest.param(name, path, id=f"{name}-{path.name}") for name, target in TARGETS.items() for path in target.corpus()
]


@pytest.mark.parametrize(("name", "path"), KEPT)
def test_a_kept_input_is_read_or_refused_as_promised(name: str, path: Path) -> None:
    TARGETS[name].run(path.read_bytes())


def test_every_folder_of_the_corpus_belongs_to_a_target_and_is_small() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    for path in CORPUS.glob("*/*"):
        assert path.stat().st_size <= 16 * 1024, path
