"""The fuzzer finds what is there to be found: a search that cannot fail proves nothing."""

import re
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import harness
from tests.fuzz.harness import Target, assert_readable, keep, shortened, split_head
from tests.fuzz.mutation import MAX_BYTES, mutated
from tests.fuzz.search import search

ROOT = Path(__file__).parents[2]


def too_deep(content: bytes) -> None:
    assert content.count(b"[") < 100


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    monkeypatch.setattr(harness, "CORPUS", tmp_path)
    target = Target("planted", too_deep, tokens=(b"x",))
    keep(target, b'{"a": 1}', tmp_path)
    return target


def test_a_planted_defect_is_found_shortened_and_kept(broken: Target, tmp_path: Path) -> None:
    failing, tried = search(broken, seconds=60, first_seed=1)

    assert failing is not None
    assert tried > 0
    shortest = shortened(failing, broken.breaks)
    assert shortest == b"[" * 100
    kept = keep(broken, shortest, tmp_path)
    assert kept in broken.corpus()
    assert kept.read_bytes() == shortest


def test_a_sound_target_is_left_when_time_is_up(broken: Target) -> None:
    sound = Target(broken.name, lambda _: None, broken.tokens)

    failing, tried = search(sound, seconds=0.2, first_seed=1)

    assert failing is None
    assert tried > 0


def test_the_command_fuzzes_what_it_is_told_to() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--minutes", "0.01", "--engine", "hypothesis"]

    ran = subprocess.run([*command, "submissions"], cwd=ROOT, capture_output=True, text=True, check=False)
    unknown = subprocess.run([*command, "sub"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    assert re.search(r"submissions: [\d,]+ inputs, ok\nfuzz: [\d,]+ inputs, 1 targets, 0 broken", ran.stdout)
    assert unknown.returncode == 2
    assert "no such target: sub; there are tickets" in unknown.stderr


def test_an_input_that_takes_too_long_breaks_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "MAX_SECONDS", 0.05)

    def busy(_: bytes) -> None:
        ends_at = time.process_time() + 0.06
        while time.process_time() < ends_at:
            pass

    assert Target("busy", busy, ()).breaks(b"")
    assert not Target("idle", lambda _: None, ()).breaks(b"")


def test_an_input_that_takes_too_much_memory_breaks_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = iter([0, 2 * harness.MAX_GROWTH_BYTES])
    monkeypatch.setattr(harness, "_peak_bytes", lambda: next(peaks))

    assert Target("hungry", lambda _: None, ()).breaks(b"")


@pytest.mark.parametrize("message", ["", " ", "two\nlines", "\x1b[31mred", "x" * 5_000, "\ud800"])
def test_messages_for_nobody(message: str) -> None:
    with pytest.raises(AssertionError):
        assert_readable(message)


def test_changes_are_the_same_for_the_same_seed_and_never_too_long() -> None:
    base, others = b'{"a": 1, "b": [2]}', [b'{"c": "d"}']

    made = [mutated(Random(number), base, others, [b"x"]) for number in range(500)]

    assert made == [mutated(Random(number), base, others, [b"x"]) for number in range(500)]
    assert len(set(made)) > 400
    assert max(map(len, made)) <= MAX_BYTES


def test_the_head_of_an_input() -> None:
    assert split_head(b"a: 1\nb: \n\nrest\n\nmore") == ([("a", b"1"), ("b", b"")], b"rest\n\nmore")
    assert split_head(b"a: 1\nrest") == ([], b"a: 1\nrest")
